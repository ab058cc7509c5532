"""A study of one score table as sections.

M models, X texts, F frontier points.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax import frontier, law, studies
from mmc_jax.report import (
    generalisation,
    labels,
    proof,
    result,
    study_figures,
)
from mmc_jax.report.sections import Section

# Domains of which a figure can still be read.
_MOST_DOMAINS = 32
# Points of the frontier that are printed, and characters of a subset.
_NUM_PRINTED, _SUBSET = 10, 60
_LAWS = {"single": "single models", "pool": "pool"}


def study_sections(found: studies.Study) -> list[Section]:
    """Returns all that a study says, in the order in which it is read.

    Args:
      found: What `studies.study` returns.
    """
    axes = _axes(found)
    sections = [
        pool_section(found),
        frontier_section(found, **axes),
        laws_section(found, **axes),
    ]
    if found.routed is not None:
        sections.append(_routed_section(found, **axes))
    if found.proven is not None:
        sections.append(
            proof.proof_section(found.proven, len(found.costs), **axes)
        )
    sections.append(
        generalisation.generalisation_section(
            found.other_texts, found.pool, **axes
        )
    )
    return sections


def law_sections(found: studies.Study) -> list[Section]:
    """Returns the two laws of a study and their figure, and nothing else.

    Args:
      found: What `studies.study` returns.
    """
    return [pool_section(found), laws_section(found, **_axes(found))]


def pool_section(found: studies.Study) -> Section:
    """Returns what was looked at: models, texts, units.

    Args:
      found: What `studies.study` returns.
    """
    table = found.table
    return Section(
        {
            "num_models": len(table.models),
            "num_texts": len(table.texts),
            "chars_per_token": table.chars_per_token,
            "normalisation": found.normalisation,
            "loss_unit": table.loss_unit(found.normalisation),
            "cost": found.cost,
            "models": [
                {
                    "name": model.name,
                    "family": model.family,
                    "cost": found.costs[m],
                    "loss": found.mean_losses[m],
                }
                for m, model in enumerate(table.models)
            ],
            "loss_of_all_models": found.loss_of_all_models,
        }
    )


def frontier_section(
    found: studies.Study, *, cost_label: str, loss_label: str
) -> Section:
    """Returns the oracle frontier and the frontier of the single models.

    Args:
      found: What `studies.study` returns.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    names, families = _names(found), _families(found)
    panels = {
        "membership": functools.partial(
            study_figures.membership,
            found.pool,
            names,
            families,
            found.costs,
            cost_label=cost_label,
        )
    }
    if 1 < len(set(found.table.texts.domains)) <= _MOST_DOMAINS:
        panels["domains"] = functools.partial(
            study_figures.domains,
            found.costs,
            found.losses,
            found.table.texts.domains,
            families,
            cost_label=cost_label,
            loss_label=loss_label,
        )
    return Section(
        {"single": labels.points(found.single, names)},
        {
            "cost": found.pool.costs,
            "loss": found.pool.losses,
            "models": labels.subsets(found.pool.masks, names),
        },
        {
            "costs": found.costs,
            "frontier_costs": found.pool.costs,
            "frontier_losses": found.pool.losses,
            "frontier_masks": found.pool.masks,
            "single_costs": found.single.costs,
            "single_losses": found.single.losses,
        },
        panels,
        _printed_points(
            found.pool,
            names,
            found.cost,
            found.table.loss_unit(found.normalisation),
        ),
    )


def laws_section(
    found: studies.Study, *, cost_label: str, loss_label: str
) -> Section:
    """Returns the laws of the single models and of the pool.

    Args:
      found: What `studies.study` returns.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    laws = {"single": found.single_law, "pool": found.pool_law}
    lines = [""]
    for key, fit in laws.items():
        lines.append(
            f"law of the {_LAWS[key]}: not fitted: {found.reasons[key]}"
            if fit is None
            else f"law of the {_LAWS[key]}: L(P) = {fit.A:.4g} "
            f"P^-{fit.alpha:.4f} + {fit.L_inf:.4f}, {fit.num_points} points, "
            f"R^2 {fit.r_squared:.4f}"
            + ("" if fit.converged else " (the fit did not converge)")
        )
    lines.append(f"loss of all models together: {found.loss_of_all_models:.4f}")
    return Section(
        {"laws": laws_as_numbers(laws, found.reasons)},
        figures={
            "laws": functools.partial(
                study_figures.laws,
                found.costs,
                found.mean_losses,
                _families(found),
                found.pool,
                found.single_law,
                found.pool_law,
                cost_label=cost_label,
                loss_label=loss_label,
            )
        },
        sentences=lines,
    )


def laws_as_numbers(
    laws: Mapping[str, law.Fit | None], reasons: Mapping[str, str]
) -> dict[str, Any]:
    """Returns laws as JSON, or why one was not fitted, by name.

    Args:
      laws: Law by name; None where it was not fitted.
      reasons: Why a law was not fitted, by name.
    """
    return {
        name: {"not_fitted": reasons[name]}
        if fit is None
        else result.law_numbers(fit)
        for name, fit in laws.items()
    }


def _routed_section(
    found: studies.Study, *, cost_label: str, loss_label: str
) -> Section:
    """Returns what a text costs where one model of many runs."""
    return Section(
        {
            "routed": [
                {"expected_cost": cost, "loss": loss}
                for cost, loss in zip(
                    found.routed.costs, found.routed.losses, strict=True
                )
            ]
        },
        {"expected_cost": found.expected_costs},
        {
            "routed_lambdas": found.routed.lambdas,
            "routed_costs": found.routed.costs,
            "routed_losses": found.routed.losses,
            "routed_shares": found.routed.shares,
        },
        {
            "routed": functools.partial(
                study_figures.routed,
                found.pool,
                found.expected_costs,
                found.routed,
                cost_label=cost_label,
                loss_label=loss_label,
            )
        },
    )


def _printed_points(
    line: frontier.Frontier,
    names: Sequence[str],
    cost: str,
    unit: str,
) -> list[str]:
    """Returns a few points of a frontier as a table for the terminal."""
    num_points = len(line.costs)
    # The first and the last are among them.
    chosen = np.linspace(0, num_points - 1, _NUM_PRINTED).round().astype(int)
    chosen = np.unique(chosen)
    lines = [f"{'budget (' + cost + ')':>22}  {'loss':>8}  subset"]
    for i, models in zip(
        chosen, labels.subsets(line.masks[chosen], names), strict=True
    ):
        subset = ", ".join(models)
        if len(subset) > _SUBSET:
            subset = subset[: _SUBSET - 3] + "..."
        lines.append(f"{line.costs[i]:22,.6g}  {line.losses[i]:8.4f}  {subset}")
    lines.append(
        f"{len(chosen)} of the {num_points} subsets of the oracle frontier; "
        f"loss in {unit}"
    )
    return lines


def _axes(found: studies.Study) -> dict[str, str]:
    return {
        "cost_label": labels.cost_label(found.cost),
        "loss_label": labels.loss_label(
            found.table.loss_unit(found.normalisation)
        ),
    }


def _names(found: studies.Study) -> list[str]:
    return [model.name for model in found.table.models]


def _families(found: studies.Study) -> list[str]:
    return [model.family for model in found.table.models]
