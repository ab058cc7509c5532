"""What makes models complement each other, as a section.

M models.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmc_jax.diversity import PairGroup, PairMean
from mmc_jax.report import figures
from mmc_jax.report.sections import Section
from mmc_jax.scores import ScoreTable

_PAIR_MEANS = ("bonus", "relative", "by_domain", "centred", "above_seed")


def similarity_section(
    table: ScoreTable,
    groups: Sequence[PairGroup],
    levels: Mapping[str, Sequence[str]],
    training: Mapping[str, Mapping[str, Any]],
    mean_losses: np.ndarray,
    normalisation: str,
) -> Section:
    """Returns what models gain from each other by what they differ in.

    Args:
      table: The models' scores on held-out texts.
      groups: What `diversity.similarity` returns.
      levels: Level of each model, [M], by factor.
      training: Facts that `mmc_jax.training.save_folder` wrote, by model.
      mean_losses: Mean loss of each model, [M].
      normalisation: One of `scores.NORMALISATIONS`.
    """
    unit = table.loss_unit(normalisation)
    return Section(
        {
            "num_texts": len(table.texts),
            "loss_unit": unit,
            "minutes_of_training": (
                sum(facts["seconds"] for facts in training.values()) / 60
            ),
            "groups": [_numbers(group) for group in groups],
            "models": [
                {
                    "name": model.name,
                    "levels": {
                        factor: of_models[m]
                        for factor, of_models in levels.items()
                    },
                    "num_params": model.costs["num_params"],
                    "loss": mean_losses[m],
                    **training[model.name],
                }
                for m, model in enumerate(table.models)
            ],
        },
        figures={
            "similarity": functools.partial(_figure, groups, unit),
        },
        sentences=_sentences(groups, unit),
    )


def _figure(groups: Sequence[PairGroup], loss_unit: str) -> Figure:
    """Returns the bonus of each group of pairs, and what the seed changes."""
    rows = {group.factors: _others(group.factors) for group in groups}
    names = list(dict.fromkeys(rows.values()))
    figure = Figure(figsize=(10, 1.9 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, title in zip(
        panels,
        ("bonus", "centred"),
        ("As they are", "If both models were equally good"),
        strict=True,
    ):
        for group in groups:
            _draw(axes, group, name, names.index(rows[group.factors]))
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25)
    panels[0].set_xlim(left=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    panels[0].set_ylabel("The models of a pair differ in")
    figure.supxlabel(f"Gain over the better model ({loss_unit})", fontsize=10)
    figure.legend(
        *_legend(panels[0]),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw(axes: Axes, group: PairGroup, name: str, row: int) -> None:
    """Draws the interval of a group, and a mark for each seed."""
    estimate = getattr(group, name).estimate
    other_seed = "seed" in group.factors
    y = row + (0.14 if other_seed else -0.22)
    color = figures.COLORS[1 if other_seed else 0]
    by_seed = list(getattr(group, f"{name}_by_seed").values())
    # Below the interval: nearly equal seeds would hide behind its marker.
    axes.plot(
        by_seed,
        [y + 0.1] * len(by_seed),
        marker="|",
        markersize=5,
        linestyle="",
        color="0.3",
        label="mean of a seed's pairs",
    )
    axes.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=2)
    axes.plot(
        estimate.value,
        y,
        marker="o",
        markersize=5,
        linestyle="",
        color=color,
        markerfacecolor="white" if other_seed else color,
        label=f"{'another seed' if other_seed else 'the same seed'}, "
        "95 percent interval",
    )


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    order = sorted(by_label, reverse=True)  # The interval of one seed first.
    return [by_label[label] for label in order], order


def _others(factors: tuple[str, ...]) -> str:
    """Returns the factors beside the seed, in words."""
    return ", ".join(f for f in factors if f != "seed") or "the seed alone"


def _numbers(group: PairGroup) -> dict[str, Any]:
    numbers = group._asdict()
    for name in _PAIR_MEANS:
        if numbers[name] is not None:
            numbers[name] = _pair_mean(numbers[name])
    return numbers


def _pair_mean(mean: PairMean) -> dict[str, float]:
    return {
        "value": mean.estimate.value,
        "low": mean.estimate.low,
        "high": mean.estimate.high,
        "seed_error": mean.seed_error,
        "text_error": mean.text_error,
    }


def _sentences(groups: Sequence[PairGroup], unit: str) -> list[str]:
    lines = [
        f"{'differ in':42} {'pairs':>5} {'better':>7} {'other':>7}  "
        f"{'bonus':24} {'share':>6} {'domain':>7}  {'equally good':24}"
    ]
    for group in groups:
        lines.append(
            f"{', '.join(group.factors):42} {group.num_pairs:5} "
            f"{group.better_loss:7.3f} {group.other_loss:7.3f}  "
            f"{group.bonus.estimate.text('.4f'):24} "
            f"{group.relative.estimate.value:6.1%} "
            f"{group.by_domain.estimate.value:7.4f}  "
            f"{group.centred.estimate.text('.4f'):24}"
        )
    return [
        *lines,
        f"losses in {unit}; in brackets 95 percent over seeds and texts",
        "share: the bonus over the better model's loss; domain: the bonus of a "
        "choice by domain; equally good: the bonus without the difference of "
        "the two means",
    ]
