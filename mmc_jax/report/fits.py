"""Points of cost and loss in; what they say of their laws out.

M models, X texts, F frontier points.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mmc_jax import frontier, law, oracle
from mmc_jax.scores import ScoreTable

Points = tuple[np.ndarray, np.ndarray]


class GroupLaw(NamedTuple):
    """The law of one group of points, and what it leaves open.

    Attributes:
      costs: [F].
      losses: [F].
      fit: The law.
      least_squares: That of least squares on log L, of which the profiles are.
      profiles: Of "alpha" and "L_inf".
      draws: Laws of resampled texts; or of resampled points, by least squares,
        where the texts are not known.
      drawn: What was resampled, "texts" or "points".
      variants: Laws of the same points looked at in other ways, by name.
      forms: Other forms, by name.
      reasons: Why a variant or a form is missing, by name.
      num_rises: Points that lose more than the next cheaper one.
    """

    costs: np.ndarray
    losses: np.ndarray
    fit: law.Fit
    least_squares: law.Fit
    profiles: dict[str, law.Profile]
    draws: law.Fits
    drawn: str
    variants: dict[str, law.Fit]
    forms: dict[str, law.FormScore]
    reasons: dict[str, str]
    num_rises: int

    @property
    def center(self) -> law.Fit:
        """The law around which the draws lie."""
        return self.fit if self.drawn == "texts" else self.least_squares


class Chain(NamedTuple):
    """What other texts and other models would have made of the pool's law.

    Attributes:
      best_model: That of the least mean loss, by name.
      best_loss: Its mean loss.
      all_models: The loss of all models together.
      full: Laws of resampled texts with the frontier traced anew.
      models: Laws without one model.
      families: Laws without one family; None where there is only one.
      held_out: The law on texts that did not choose the subsets.
      reasons: Why one of these is missing, by name.
    """

    best_model: str
    best_loss: float
    all_models: float
    full: law.Bootstrap | None
    models: law.Jackknife | None
    families: law.Jackknife | None
    held_out: law.HeldOut | None
    reasons: dict[str, str]


def read_points(path: str | os.PathLike[str]) -> dict[str, Points]:
    """Returns (costs, losses) of each group of points, float64 [X] each.

    Args:
      path: A result folder with arrays.npz (groups `single models` and `pool`),
        or a CSV file with columns `cost`, `loss` and perhaps `group`.

    Raises:
      FileNotFoundError: Neither is there.
      ValueError: A column is missing or a cell is no number.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        file = path / "arrays.npz"
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: missing; give a folder that trace_frontier wrote"
            )
        with np.load(file, allow_pickle=False) as arrays:
            return {
                "single models": (
                    arrays["single_costs"],
                    arrays["single_losses"],
                ),
                "pool": (arrays["frontier_costs"], arrays["frontier_losses"]),
            }
    columns = read_columns(path, ("cost", "loss"), ("group",))
    groups = columns.get("group", np.full(len(columns["cost"]), "points"))
    return {
        str(name): (
            columns["cost"][groups == name],
            columns["loss"][groups == name],
        )
        for name in dict.fromkeys(groups)
    }


def read_columns(
    path: str | os.PathLike[str],
    numbers: Sequence[str],
    names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Returns columns of a CSV file: float64 [X], or strings [X].

    Args:
      path: The file.
      numbers: Columns of numbers, all needed.
      names: Columns of strings, left out where the file has none.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: A column is missing or a cell is no number.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    try:
        table = pyarrow.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not readable as CSV ({error})") from error
    columns = {}
    for name in numbers:
        if name not in table.column_names:
            raise ValueError(
                f"{path}: no column {name!r}; it has "
                f"{', '.join(map(repr, table.column_names))}"
            )
        try:
            columns[name] = table[name].cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}, column {name!r}: {error}") from error
    for name in names:
        if name in table.column_names:
            columns[name] = np.array(table[name].cast(pa.string()).to_pylist())
    return columns


def laws_of_points(
    groups: Mapping[str, Points],
    *,
    delta: float = law.HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
    forms: Sequence[str] = law.ONE_BUDGET,
) -> tuple[dict[str, GroupLaw], dict[str, str]]:
    """Returns the law of each group of points, and why one has none.

    Args:
      groups: As `read_points` returns them.
      delta: As for `law.fit`.
      num_starts: Of each fit.
      num_resamples: Of the residuals of each law.
      seed: Of the resamples.
      forms: To compare with one another.
    """
    laws, reasons = {}, {}
    for name, (costs, losses) in groups.items():
        try:
            fit = law.fit(costs, losses, delta=delta, num_starts=num_starts)
        except ValueError as error:
            reasons[name] = str(error)
            continue
        draws = law.residual_bootstrap(
            costs,
            losses,
            num_resamples=num_resamples,
            seed=seed,
            num_starts=num_starts,
        )
        laws[name] = _group_law(costs, losses, fit, draws, "points", forms)
    return laws, reasons


def laws_of_table(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: law.Search = frontier.pruned,
    by_domain: bool = False,
    delta: float = law.HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    num_searches: int = 20,
    seed: int = 0,
    forms: Sequence[str] = law.ONE_BUDGET,
) -> tuple[dict[str, GroupLaw], dict[str, str], Chain]:
    """Returns the laws of a score table, why one is missing, and the chain's.

    Args:
      table: The scores.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.
      search: Finds the frontier.
      by_domain: Whether texts of one domain are drawn together.
      delta: As for `law.fit`.
      num_starts: Of each fit.
      num_resamples: Of the texts, with the frontier's subsets fixed.
      num_searches: Of the texts, with the frontier traced anew.
      seed: Of the resamples.
      forms: To compare with one another.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs.
    """
    losses, costs = table.losses(normalisation), table.costs(cost)
    clusters = table.texts.domains if by_domain else None
    options = {"delta": delta, "num_starts": num_starts}
    lines = {
        "single models": frontier.single_models(losses, costs),
        "pool": search(losses, costs),
    }
    laws, reasons = {}, {}
    for name, line in lines.items():
        try:
            fit = law.fit(line.costs, line.losses, **options)
            draws = law.text_bootstrap(
                losses,
                line.costs,
                line.masks,
                clusters=clusters,
                num_resamples=num_resamples,
                seed=seed,
                **options,
            ).laws
        except ValueError as error:
            reasons[name] = str(error)
            continue
        laws[name] = _group_law(
            line.costs, line.losses, fit, draws, "texts", forms
        )
    ways = {
        "full": lambda: law.full_bootstrap(
            losses,
            costs,
            search=search,
            clusters=clusters,
            num_resamples=num_searches,
            seed=seed,
            **options,
        ),
        "models": lambda: law.jackknife(
            losses,
            costs,
            [model.name for model in table.models],
            search=search,
            **options,
        ),
        "families": lambda: law.jackknife(
            losses,
            costs,
            [model.family for model in table.models],
            search=search,
            **options,
        ),
        "held_out": lambda: law.held_out(
            losses,
            costs,
            search=search,
            clusters=clusters,
            seed=seed,
            delta=delta,
        ),
    }
    found, missing = dict.fromkeys(ways), {}
    for name, way in ways.items():
        try:
            found[name] = way()
        except ValueError as error:
            missing[name] = str(error)
    means = oracle.exact_means(losses)
    best = int(means.argmin())
    chain = Chain(
        best_model=table.models[best].name,
        best_loss=float(means[best]),
        all_models=float(oracle.exact_means(losses.min(axis=0))),
        **found,
        reasons=missing,
    )
    return laws, reasons, chain


def _group_law(costs, losses, fit, draws, drawn, forms) -> GroupLaw:
    variants, reasons = law.variants(costs, losses, delta=fit.delta)
    scores, of_forms = law.compare_forms(costs, losses, forms=forms)
    rises = np.diff(np.asarray(losses)[np.argsort(costs, kind="stable")]) > 0
    return GroupLaw(
        costs=np.asarray(costs),
        losses=np.asarray(losses),
        fit=fit,
        least_squares=law.fit(costs, losses, delta=law.LEAST_SQUARES),
        profiles={
            name: law.profile(costs, losses, parameter=name)
            for name in ("alpha", "L_inf")
        },
        draws=draws,
        drawn=drawn,
        variants=variants,
        forms=scores,
        reasons={**reasons, **of_forms},
        num_rises=int(rises.sum()),
    )
