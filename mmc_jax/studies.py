"""One score table, one study: losses, frontiers, laws, other texts.

M models, X texts, F frontier points, S subsets.
"""

import functools
import itertools
import os
import pathlib
import shutil
from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, law, oracle, stages
from mmc_jax.frontier.generalisation.checks import (
    Checks,
    Generalisation,
    generalisation,
    texts_to_hold_out,
)
from mmc_jax.frontier.pareto import subset_costs
from mmc_jax.frontier.pruning import quick
from mmc_jax.scores import ScoreTable


def _certified(losses, costs, weights=None, max_size=None):
    """Returns the certified frontier alone, as the other searches do theirs.

    Raises:
      ValueError: max_size is given.
    """
    if max_size is not None:
        raise ValueError(
            "a certified frontier is over subsets of all sizes: leave max_size "
            "out, or take method exhaustive or pruned."
        )
    return frontier.certified(losses, costs, weights).frontier


# Searches by name, each of (losses [M, X], costs [M], weights [X], max_size).
METHODS = {
    "pruned": frontier.pruned,
    "polished": functools.partial(frontier.pruned, polish=True),
    "exhaustive": frontier.exhaustive,
    "certified": _certified,
}
_PARTS = "certificate.parts"
# Points of the routed frontier that are evaluated.
_NUM_ROUTED = 200
# Models of which all subsets can be shown.
_MOST_SHOWN = 10


class Study(NamedTuple):
    """What one table says at one normalisation and one cost.

    Attributes:
      table: The scores of the texts that were searched.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost.
      losses: Loss of each searched text under each model, float64 [M, X].
      costs: Cost of each model, float64 [M].
      mean_losses: Mean loss of each model, float64 [M].
      loss_of_all_models: Oracle loss of all models together.
      single: Frontier of the single models.
      pool: Frontier of the oracle over subsets.
      single_law: Law of `single`; None where it cannot be fitted.
      pool_law: Law of `pool`; None where it cannot be fitted.
      reasons: Why a law was not fitted, by "single" and "pool".
      routed: Frontier of the expected cost; None where it was not asked for.
      expected_costs: Expected cost of a text with each subset of `pool`, where
        its best model alone runs, [F]; None where `routed` is None.
      proven: What is proven of `pool`; None but with method "certified".
      other_texts: What other texts say of `pool`.
    """

    table: ScoreTable
    normalisation: str
    cost: str
    losses: np.ndarray
    costs: np.ndarray
    mean_losses: np.ndarray
    loss_of_all_models: float
    single: frontier.Frontier
    pool: frontier.Frontier
    single_law: law.Fit | None
    pool_law: law.Fit | None
    reasons: dict[str, str]
    routed: frontier.Routed | None
    expected_costs: np.ndarray | None
    proven: frontier.Certified | None
    other_texts: Generalisation


class Subsets(NamedTuple):
    """Every subset of a few models, cheapest first, then of least loss.

    Attributes:
      study: Study of the models, of method "exhaustive".
      costs: Cost of each subset, float64 [S].
      losses: Oracle loss of each subset, float64 [S].
      masks: Models of each subset, bool [S, M].
      on_frontier: Whether the subset is a point of the frontier, bool [S].
    """

    study: Study
    costs: np.ndarray
    losses: np.ndarray
    masks: np.ndarray
    on_frontier: np.ndarray


class Limits(NamedTuple):
    """When a certified search may stop before all is proven.

    Attributes:
      seconds: Time for the search trees in seconds; None for no limit, 0 to
        bound their roots alone.
      gap: Share of a point's loss that a better subset may lie below it.
    """

    seconds: float | None = None
    gap: float = 0.0


def study(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    method: str = "pruned",
    max_size: int | None = None,
    routed: bool = False,
    checks: Checks = Checks(),  # noqa: B008  It is immutable.
    limits: Limits = Limits(),  # noqa: B008
    folder: str | os.PathLike[str] | None = None,
) -> Study:
    """Returns the frontiers and the laws of a score table.

    Args:
      table: Score table of the models and texts.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      method: One of METHODS: "pruned", "polished" (with a local search),
        "certified" (with a proof), or "exhaustive" for up to 2^24 subsets.
      max_size: Largest number of models in a subset; None for all models.
      routed: Whether the frontier of the expected cost is asked for.
      checks: What is asked of other texts. Texts that are held out are in no
        other number of the study.
      limits: When method "certified" may stop before all is proven.
      folder: Result folder in which method "certified" keeps what it has
        proven, in `certificate.parts`. A run that was killed or ran out of time
        goes on where it was. `delete_parts` removes it once the result is
        written. None to keep nothing.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs;
        method "certified" with a max_size; too few texts for the checks.
    """
    held_out = texts_to_hold_out(table.texts.domains, checks, table.clusters())
    held_out_losses = held_out_weights = None
    if held_out.any():
        held_out_losses, held_out_weights = table.select(
            texts=held_out
        ).weighted_losses(normalisation)
        table = table.select(texts=~held_out)
    with stages.stage("normalising the scores"):
        costs = table.costs(cost)
        by_length, weights = table.weighted_losses(normalisation)
        # Of texts that weigh the same they are equal: one copy.
        losses = by_length if weights is None else table.losses(normalisation)
    proven = None
    with stages.stage(f"searching the frontier ({method})"):
        if method == "certified" and max_size is None:
            proven = _certify(losses, costs, limits, folder)
            pool = proven.frontier
        else:
            pool = METHODS[method](losses, costs, max_size=max_size)
        lines = {"single": frontier.single_models(losses, costs), "pool": pool}
    with stages.stage("fitting the laws"):
        laws, reasons = law.fit_each(
            {name: (line.costs, line.losses) for name, line in lines.items()}
        )
        laws = {name: found.fit for name, found in laws.items()}
    with stages.stage("looking at other texts"):
        other_texts = generalisation(
            by_length,
            costs,
            table.texts.domains,
            pool,
            quick(functools.partial(METHODS[method], max_size=max_size)),
            checks,
            held_out_losses,
            weights=weights,
            held_out_weights=held_out_weights,
            clusters=table.clusters(),
        )
    with stages.stage("averaging the losses"):
        mean_losses = oracle.exact_means(losses)
        loss_of_all_models = float(oracle.exact_means(losses.min(axis=0)))
    routes = expected = None
    if routed:
        with stages.stage("routing each text to its best model"):
            routes = frontier.routed(
                losses,
                # What each call costs, where the subset spends its mean.
                table.query_costs
                if cost == "mean_query_cost" and table.query_costs is not None
                else costs,
                lambdas=_NUM_ROUTED,
            )
            expected = frontier.expected_costs(losses, costs, pool.masks)
    return Study(
        table=table,
        normalisation=normalisation,
        cost=cost,
        losses=losses,
        costs=costs,
        mean_losses=mean_losses,
        loss_of_all_models=loss_of_all_models,
        **lines,
        single_law=laws.get("single"),
        pool_law=laws.get("pool"),
        reasons=reasons,
        routed=routes,
        expected_costs=expected,
        proven=proven,
        other_texts=other_texts,
    )


def every_subset(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
) -> Subsets:
    """Returns every subset of a few models, with their study.

    Args:
      table: The scores of up to 10 models.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.

    Raises:
      ValueError: More than 10 models; the table lacks what the normalisation
        or the cost needs.
    """
    num_models = len(table.models)
    if num_models > _MOST_SHOWN:
        raise ValueError(
            f"{num_models} models have {2**num_models - 1:,} subsets; give up "
            f"to {_MOST_SHOWN} of them, or take trace_frontier."
        )
    found = study(
        table, normalisation=normalisation, cost=cost, method="exhaustive"
    )
    masks = np.array(
        list(itertools.product([False, True], repeat=num_models))[1:]
    )
    losses = oracle.exact_losses(found.losses, masks)
    costs = subset_costs(masks, found.costs)
    order = np.lexsort((losses, costs))
    kept = {mask.tobytes() for mask in found.pool.masks}
    return Subsets(
        found,
        costs[order],
        losses[order],
        masks[order],
        np.array([mask.tobytes() in kept for mask in masks[order]]),
    )


def delete_parts(found: Study, folder: str | os.PathLike[str]) -> None:
    """Deletes what a certified search keeps, if it has proven all points.

    Call it once the result is written: until then a run that is killed needs
    them to go on.

    Args:
      found: What `study` returned.
      folder: Result folder that `study` was given.
    """
    if found.proven is not None and found.proven.proven.all():
        # Another search of the same numbers may still use it.
        shutil.rmtree(pathlib.Path(folder, _PARTS), ignore_errors=True)


def _certify(
    losses: np.ndarray,
    costs: np.ndarray,
    limits: Limits,
    folder: str | os.PathLike[str] | None,
) -> frontier.Certified:
    """Searches the certified frontier and says how far it is."""
    parts = None if folder is None else pathlib.Path(folder, _PARTS)
    found = frontier.certified(
        losses,
        costs,
        time_limit=limits.seconds,
        gap_limit=limits.gap,
        work_dir=parts,
        on_progress=_say,
    )
    return found


def _say(progress: frontier.Progress) -> None:
    speed = progress.num_nodes / max(progress.seconds, 1e-9)
    stages.say(
        f"{progress.num_proven:,} of {progress.num_points:,} points proven, "
        f"gap at most {progress.largest_gap:.3%}, "
        f"{progress.num_nodes:,} nodes, {speed:,.0f}/s"
    )
