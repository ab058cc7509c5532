"""What the models of a pool bring, what is wrong with it, and selection bias.

M models.
"""

import functools
import math
from typing import Any

import numpy as np

from mmc_jax.diversity import (
    Elimination,
    Finding,
    Gain,
    Optimism,
    Shapley,
    Summary,
)
from mmc_jax.report import diversity_figures, labels
from mmc_jax.report.sections import Section

# Characters of the longest name that keeps its column.
_NAME = 24
_LARGEST = {
    "pair_gains": "pairs that gain most over the better of the two",
    "equal_cost_gains": "over the best single model of their {cost}",
}


def diversity_sections(found: Summary) -> list[Section]:
    """Returns what the models of a pool bring, alone and in pairs.

    Args:
      found: What `diversity.summary` returns.
    """
    order = _order(found)
    return [
        Section(
            {
                "loss_unit": found.table.loss_unit(found.normalisation),
                "cost": found.cost,
                "num_texts": len(found.table.texts),
            }
        ),
        _models_section(found, order),
        _pairs_section(found, order),
        _families_section(found),
    ]


def gain_numbers(gain: Gain) -> dict[str, float]:
    """Returns a gain with its interval and standard error as JSON.

    Args:
      gain: Gain with its interval.
    """
    return {
        "bonus": gain.estimate.value,
        "low": gain.estimate.low,
        "high": gain.estimate.high,
        "standard_error": gain.standard_error,
    }


def diagnosis_section(
    findings: list[Finding],
    dropped: Elimination,
    names: list[str],
    unit: str,
) -> Section:
    """Returns what is wrong with a pool and its texts.

    Args:
      findings: What `diversity.diagnosis` returns.
      dropped: What `diversity.elimination` returns of the same losses.
      names: Name of each model, [M].
      unit: Unit of the losses in words, as `ScoreTable.loss_unit` returns it.
    """
    return Section(
        {
            "loss_unit": unit,
            "findings": findings,
            "elimination": {
                "models": [names[m] for m in dropped.order],
                "losses": dropped.losses,
            },
        },
        figures={
            "elimination": functools.partial(
                diversity_figures.elimination,
                dropped,
                names,
                labels.loss_label(unit),
            )
        },
        sentences=[f"{finding.about}: {finding.words}" for finding in findings],
    )


def optimism_section(
    found: Optimism, *, unit: str, cost: str, num_samples: int
) -> Section:
    """Returns how much of a pool's gain is selection bias.

    Args:
      found: What `diversity.optimism` returns.
      unit: Unit of the losses in words, as `ScoreTable.loss_unit` returns it.
      cost: Name of the cost.
      num_samples: Number of samples of the texts, for each number of them.
    """
    lines = [
        f"{'texts that choose':>18}{'gain there':>12}{'elsewhere':>12}"
        f"{'share that is selection bias':>30}"
    ]
    for number, here, there, share, deviation in zip(
        found.num_texts,
        found.gain_in_sample,
        found.gain_held_out,
        found.share,
        found.share_std,
        strict=True,
    ):
        shown = (
            f"{'no gain':>30}"
            if math.isnan(share)
            else f"{share:21.1%} +- {deviation:.1%}"
        )
        lines.append(f"{number:18,d}{here:12.4g}{there:12.4g}{shown}")
    lines += [
        "gain over the best single model of the same budget, mean over "
        f"{len(found.budgets)} budgets, in {unit};",
        f"+- is the standard deviation over {num_samples} samples of the texts",
    ]
    return Section(
        {"loss_unit": unit, "cost": cost, **found._asdict()},
        figures={
            "optimism": functools.partial(
                diversity_figures.optimism,
                found,
                cost_label=labels.cost_label(cost),
                unit=unit,
            )
        },
        sentences=lines,
    )


def _models_section(found: Summary, order: list[int]) -> Section:
    """Returns what each model wins and brings."""
    names = [model.name for model in found.table.models]
    unit = found.table.loss_unit(found.normalisation)
    losses, oracle_loss = found.mean_losses, found.loss_of_all_models
    values, errors = found.shapley
    lines = [
        f"{'model':<{_NAME}}{'loss':>9}{'texts won':>11}"
        f"{'Shapley value':>22}{'lost without it':>17}"
    ]
    for m in order:
        # One text has no standard error.
        error = "" if math.isnan(errors[m]) else f" +- {errors[m]:.4f}"
        lines.append(
            f"{names[m]:<{_NAME}}{losses[m]:9.4f}{found.win_shares[m]:11.1%}"
            f"{values[m]:13.4f}{error:<10}{found.marginal[m]:17.4g}"
        )
    lines.append(
        f"loss in {unit}; the Shapley values sum to {values.sum():.4f}, what "
        "all models gain over the worst one of each text"
        + (
            "; one text has no standard error"
            if np.isnan(errors).any()
            else "; +- is one standard error over texts"
        )
    )
    return Section(
        {
            "loss_of_all_models": oracle_loss,
            "gain_over_the_best_model": losses.min() - oracle_loss,
            "gain_over_the_worst_of_each_text": values.sum(),
            "models": [
                {
                    "name": names[m],
                    "family": model.family,
                    "loss": losses[m],
                    "win_share": found.win_shares[m],
                    "shapley": values[m],
                    "shapley_standard_error": errors[m],
                    "marginal_contribution": found.marginal[m],
                }
                for m, model in enumerate(found.table.models)
            ],
        },
        figures={
            "contributions": functools.partial(
                diversity_figures.contributions,
                [names[m] for m in order],
                found.win_shares[order],
                Shapley(values[order], errors[order]),
                found.marginal[order],
                unit,
            )
        },
        sentences=lines,
    )


def _pairs_section(found: Summary, order: list[int]) -> Section:
    """Returns the gains and correlations of pairs, the largest in words."""
    models = found.table.models
    lines = []
    for name, pairs in found.largest.items():
        title = _LARGEST[name].format(cost=found.cost)
        lines += ["", f"{title}, the best of all pairs (with selection bias)"]
        lines += [
            f"  {models[i].name} and {models[j].name}: "
            f"{gain.estimate.text('.4g')}"
            for (i, j), gain in pairs
        ] or ["  no pair gains anything"]
    return Section(
        {
            "largest": {
                name: [
                    {
                        "pair": [models[i].name, models[j].name],
                        **gain_numbers(gain),
                    }
                    for (i, j), gain in pairs
                ]
                for name, pairs in found.largest.items()
            }
        },
        arrays=found.matrices,
        figures=_matrix_figures(found, order),
        sentences=lines,
    )


def _families_section(found: Summary) -> Section:
    """Returns means within and across families, and what is missing."""
    lines = []
    if found.means:
        lines += ["", f"{'mean over pairs':<26}{'one family':>12}{'two':>12}"]
        for name, mean in found.means.items():
            cells = "".join(
                f"{'not defined' if math.isnan(value) else f'{value:.4g}':>12}"
                for value in mean
            )
            lines.append(f"{name.replace('_', ' '):<26}{cells}")
    lines += [f"no {what}: {why}" for what, why in found.reasons.items()]
    return Section(
        {"means_over_pairs": found.means, "not_there": found.reasons},
        sentences=lines,
    )


def _matrix_figures(found: Summary, order: list[int]) -> dict[str, Any]:
    """Returns functions that draw the matrices, models in an order."""
    unit = found.table.loss_unit(found.normalisation)
    cost = labels.shown(found.cost)
    titles = {
        "pair_gains": f"Gain of the pair over its better model\n({unit})",
        "residual_correlations": (
            "Correlation of losses beyond the difficulty of the texts"
        ),
        "equal_cost_gains": (
            f"Gain of the pair over one model of its {cost}\n({unit})"
        ),
    }
    return {
        name: functools.partial(
            diversity_figures.matrix,
            found.matrices[name][np.ix_(order, order)],
            [found.table.models[m].name for m in order],
            [found.table.models[m].family for m in order],
            title,
            diverging=name != "pair_gains",
        )
        for name, title in titles.items()
        if name in found.matrices
    }


def _order(found: Summary) -> list[int]:
    """Returns the models by family, then by cost, or by loss without one."""
    models = found.table.models
    first = {}
    for m, model in enumerate(models):
        first.setdefault(model.family, m)
    within = found.costs
    if within is None:
        within = -found.mean_losses
    return sorted(
        range(len(models)), key=lambda m: (first[models[m].family], within[m])
    )
