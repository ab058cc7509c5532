"""From a score table to a report: losses, frontier, laws, figures."""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import frontier, law, oracle
from mmc_jax.report import figures, honest, proof, result
from mmc_jax.scores import NORMALISATIONS, ScoreTable


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


METHODS = {
    "pruned": frontier.pruned,
    "polished": functools.partial(frontier.pruned, polish=True),
    "exhaustive": frontier.exhaustive,
    "certified": _certified,
}
_NUM_ROUTED = 200  # Points of the routed frontier that go into a report.
_MOST_DOMAINS = 32  # Panels that can still be drawn and read.
COST_LABELS = {
    "num_params": "Total parameters",
    "num_active_params": "Active parameters",
    "flops_per_token": "FLOPs per token",
    "flops_per_byte": "FLOPs per byte",
}


class Study(NamedTuple):
    """What one table says at one normalisation and one cost.

    Attributes:
      losses: Of each text under each model, float64 [M, X].
      costs: Of each model, float64 [M].
      single: Frontier of the single models.
      pool: Frontier of the oracle over subsets.
      single_law: Fit to `single`; None where it cannot be fitted.
      pool_law: Fit to `pool`; None where it cannot be fitted.
      reasons: Why a law was not fitted, by "single" and "pool".
      routed: Frontier of the expected cost; None where it was not asked for.
      proven: What is proven of `pool`; None but with method "certified".
    """

    losses: np.ndarray
    costs: np.ndarray
    single: frontier.Frontier
    pool: frontier.Frontier
    single_law: law.Fit | None
    pool_law: law.Fit | None
    reasons: dict[str, str]
    routed: frontier.Routed | None
    proven: frontier.Certified | None


def study(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    method: str = "pruned",
    max_size: int | None = None,
    routed: bool = False,
    prove: Callable[..., frontier.Certified] = frontier.certified,
) -> Study:
    """Returns the frontiers and the laws of a score table.

    Args:
      table: The scores.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.
      method: "pruned", "polished" (with a local search), "certified" (with a
        proof), or "exhaustive" for up to 2^24 subsets.
      max_size: The most models in a subset; all if left out.
      routed: Whether the frontier of the expected cost is asked for.
      prove: With method "certified": what proves, of losses and costs.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs;
        method "certified" with a max_size.
    """
    losses, costs = table.losses(normalisation), table.costs(cost)
    proven = None
    if method == "certified" and max_size is None:
        proven = prove(losses, costs)
        pool = proven.frontier
    else:
        pool = METHODS[method](losses, costs, max_size=max_size)
    points = {"single": frontier.single_models(losses, costs), "pool": pool}
    laws: dict[str, law.Fit | None] = {}
    reasons = {}
    for name, line in points.items():
        try:
            laws[name] = law.fit(line.costs, line.losses)
        except ValueError as error:
            laws[name], reasons[name] = None, str(error)
    return Study(
        losses,
        costs,
        points["single"],
        points["pool"],
        laws["single"],
        laws["pool"],
        reasons,
        frontier.routed(losses, costs, lambdas=_NUM_ROUTED) if routed else None,
        proven,
    )


def write_study(
    table: ScoreTable,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    cost: str = "num_params",
    method: str = "pruned",
    max_size: int | None = None,
    routed: bool = False,
    checks: honest.Checks | None = None,
    limits: proof.Limits | None = None,
) -> str:
    """Writes a study's result folder and returns a short table of it in words.

    Args:
      table: The scores.
      out: The result folder.
      flags: What the program was called with.
      normalisation: As for `study`.
      cost: As for `study`.
      method: As for `study`.
      max_size: As for `study`.
      routed: As for `study`.
      checks: How far the frontier can be trusted: what is asked for, if
        anything. Texts that it keeps away from the search are in no other
        number.
      limits: When a certified search may stop; it goes on where it was.

    Raises:
      ValueError: As for `study`; texts too few for the checks.
    """
    checks = checks or honest.Checks()
    table, kept = honest.divided(table, checks)
    found = study(
        table,
        normalisation=normalisation,
        cost=cost,
        method=method,
        max_size=max_size,
        routed=routed,
        prove=functools.partial(
            proof.certified, out=out, limits=limits or proof.Limits()
        ),
    )
    unit = NORMALISATIONS[normalisation]
    names = [model.name for model in table.models]
    families = [model.family for model in table.models]
    labels = {
        "cost_label": COST_LABELS.get(cost, cost),
        "loss_label": f"Loss ({unit})",
    }
    mean_losses = oracle.exact_means(found.losses)
    drawn = {
        "laws": figures.laws(
            found.costs,
            mean_losses,
            families,
            found.pool,
            found.single_law,
            found.pool_law,
            **labels,
        ),
        "membership": figures.membership(
            found.pool,
            names,
            families,
            found.costs,
            cost_label=labels["cost_label"],
        ),
    }
    if 1 < len(set(table.texts.domains)) <= _MOST_DOMAINS:
        drawn["domains"] = figures.domains(
            found.costs, found.losses, table.texts.domains, families, **labels
        )
    numbers = {
        "num_models": len(names),
        "num_texts": len(table.texts),
        "chars_per_token": table.chars_per_token,
        "normalisation": normalisation,
        "loss_unit": unit,
        "cost": cost,
        "models": [
            {
                "name": model.name,
                "family": model.family,
                "cost": found.costs[m],
                "loss": mean_losses[m],
            }
            for m, model in enumerate(table.models)
        ],
        "loss_of_all_models": _loss_of_all_models(found.losses),
        "single": _points(found.single, names),
        "frontier": _points(found.pool, names),
        "laws": {
            "single": _law(found.single_law, found.reasons.get("single")),
            "pool": _law(found.pool_law, found.reasons.get("pool")),
        },
    }
    arrays = {
        "costs": found.costs,
        "frontier_costs": found.pool.costs,
        "frontier_losses": found.pool.losses,
        "frontier_masks": found.pool.masks,
        "single_costs": found.single.costs,
        "single_losses": found.single.losses,
    }
    if found.routed is not None:
        expected = frontier.expected_costs(
            found.losses, found.costs, found.pool.masks
        )
        drawn["routed"] = figures.routed(
            found.pool, expected, found.routed, **labels
        )
        for point, expected_cost in zip(
            numbers["frontier"], expected, strict=True
        ):
            point["expected_cost"] = expected_cost
        numbers["routed"] = [
            {"expected_cost": c, "loss": loss}
            for c, loss in zip(
                found.routed.costs, found.routed.losses, strict=True
            )
        ]
        arrays |= {
            "routed_lambdas": found.routed.lambdas,
            "routed_costs": found.routed.costs,
            "routed_losses": found.routed.losses,
            "routed_shares": found.routed.shares,
        }
    sentences = []
    if found.proven is not None:
        sentences = proof.words(
            found.proven, len(names), COST_LABELS.get(cost, cost).lower()
        )
        numbers |= proof.numbers(found.proven)
        _join(numbers["frontier"], proof.points(found.proven))
        drawn["proof"] = proof.band(found.proven, **labels)
        arrays["frontier_bounds"] = found.proven.bounds
    trust = honest.honest(
        table,
        kept,
        found.pool,
        functools.partial(METHODS[method], max_size=max_size),
        checks,
        normalisation=normalisation,
        cost=cost,
    )
    numbers |= honest.numbers(trust)
    _join(numbers["frontier"], honest.points(trust, len(found.pool.costs)))
    arrays |= honest.arrays(trust)
    drawn |= honest.figures(trust, found.pool, **labels)
    result.write_result(out, numbers, flags=flags, arrays=arrays, figures=drawn)
    return _summary(
        found,
        names,
        unit,
        cost,
        sentences + honest.words(trust, found.pool),
        pathlib.Path(out),
    )


def _loss_of_all_models(losses: np.ndarray) -> float:
    return float(oracle.exact_means(losses.min(axis=0)))


def _points(line: frontier.Frontier, names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "cost": cost,
            "loss": loss,
            "models": [names[m] for m in np.flatnonzero(mask)],
        }
        for cost, loss, mask in zip(*line, strict=True)
    ]


def _join(points: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    for point, fields in zip(points, more, strict=True):
        point |= fields


def _law(fit: law.Fit | None, reason: str | None) -> dict[str, Any]:
    return {"not_fitted": reason} if fit is None else result.law_numbers(fit)


def _summary(
    found: Study,
    names: list[str],
    unit: str,
    cost: str,
    words: list[str],
    out: pathlib.Path,
) -> str:
    """Returns the study's frontier and laws as a table for the terminal."""
    lines = [f"{'budget (' + cost + ')':>22}  {'loss':>8}  subset"]
    num_points = len(found.pool.costs)
    # Ten points, the first and the last among them, say where it goes.
    shown = np.unique(np.linspace(0, num_points - 1, 10).round().astype(int))
    for i in shown:
        subset = ", ".join(
            names[m] for m in np.flatnonzero(found.pool.masks[i])
        )
        subset = subset if len(subset) <= 60 else subset[:57] + "..."
        lines.append(
            f"{found.pool.costs[i]:22,.6g}  {found.pool.losses[i]:8.4f}  "
            f"{subset}"
        )
    lines.append(
        f"{len(shown)} of the {num_points} subsets of the oracle frontier; "
        f"loss in {unit}"
    )
    lines.append("")
    for key, name, fit in (
        ("single", "single models", found.single_law),
        ("pool", "pool", found.pool_law),
    ):
        lines.append(
            f"law of the {name}: not fitted: {found.reasons[key]}"
            if fit is None
            else f"law of the {name}: L(P) = {fit.A:.4g} P^-{fit.alpha:.4f} + "
            f"{fit.L_inf:.4f}, {fit.num_points} points, R^2 {fit.r_squared:.4f}"
            + ("" if fit.converged else " (the fit did not converge)")
        )
    lines.append(
        f"loss of all models together: {_loss_of_all_models(found.losses):.4f}"
    )
    lines.extend(words)
    lines.append("")
    lines.append(f"numbers: {out / 'result.json'}; figures: {out}/*.png, *.svg")
    return "\n".join(lines)
