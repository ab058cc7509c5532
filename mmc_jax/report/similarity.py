"""What makes models complement each other: numbers, a table and a figure."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmc_jax import diversity, oracle
from mmc_jax.diversity import PairGroup
from mmc_jax.report import figures, result
from mmc_jax.scores import NORMALISATIONS, ScoreTable

_MEASURES = ("bonus", "relative", "by_domain", "centred", "above_seed")


def write_similarity(
    table: ScoreTable,
    levels: Mapping[str, Sequence[str]],
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    training: Mapping[str, Mapping[str, Any]],
    normalisation: str = "bits_per_byte",
    num_resamples: int = 1000,
) -> str:
    """Writes the result folder and returns a short table of it in words.

    Args:
      table: The models' scores on held-out texts.
      levels: Of each factor, the level of each model, as for
        `diversity.similarity`.
      out: The result folder.
      flags: What the program was called with.
      training: By model, the facts that `mmc_jax.training.save_folder` wrote.
      normalisation: One of `scores.NORMALISATIONS`.
      num_resamples: Of the texts.

    Raises:
      ValueError: As for `diversity.similarity`.
    """
    losses = table.losses(normalisation)
    groups = diversity.similarity(
        losses, levels, table.texts.domains, num_resamples=num_resamples
    )
    unit = NORMALISATIONS[normalisation]
    minutes = sum(facts["seconds"] for facts in training.values()) / 60
    means = oracle.exact_means(losses)
    numbers = {
        "num_texts": len(table.texts),
        "loss_unit": unit,
        "minutes_of_training": minutes,
        "groups": [_numbers(group) for group in groups],
        "models": [
            {
                "name": model.name,
                "levels": {factor: of[m] for factor, of in levels.items()},
                "num_params": model.costs["num_params"],
                "loss": means[m],
                **training[model.name],
            }
            for m, model in enumerate(table.models)
        ],
    }
    drawn = {"similarity": similarity_figure(groups, unit)}
    result.write_result(out, numbers, flags=flags, figures=drawn)
    return _summary(groups, unit, pathlib.Path(out))


def similarity_figure(groups: Sequence[PairGroup], loss_unit: str) -> Figure:
    """Returns the bonus of each group of pairs, and what the seed changes.

    Args:
      groups: As `diversity.similarity` returns them.
      loss_unit: Of the losses.
    """
    rows = {group.factors: _others(group.factors) for group in groups}
    names = list(dict.fromkeys(rows.values()))
    figure = Figure(figsize=(10, 1.9 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, measure, title in zip(
        panels,
        ("bonus", "centred"),
        ("As they are", "If both models were equally good"),
        strict=True,
    ):
        for group in groups:
            _draw(axes, group, measure, names.index(rows[group.factors]))
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


def _draw(axes: Axes, group: PairGroup, measure: str, row: int) -> None:
    """Draws the interval of a group, and a dot for each seed."""
    estimate = getattr(group, measure)
    other_seed = "seed" in group.factors
    y = row + (0.14 if other_seed else -0.22)
    color = figures.COLORS[1 if other_seed else 0]
    by_seed = list(getattr(group, f"{measure}_by_seed").values())
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
    for measure in _MEASURES:
        if numbers[measure] is not None:
            numbers[measure] = numbers[measure]._asdict()
    return numbers


def _summary(groups: Sequence[PairGroup], unit: str, out: pathlib.Path) -> str:
    lines = [
        f"{'differ in':42} {'pairs':>5} {'better':>7} {'other':>7}  "
        f"{'bonus':24} {'share':>6} {'domain':>7}  {'equally good':24}"
    ]
    for group in groups:
        lines.append(
            f"{', '.join(group.factors):42} {group.num_pairs:5} "
            f"{group.better_loss:7.3f} {group.other_loss:7.3f}  "
            f"{_interval(group.bonus):24} {group.relative.value:6.1%} "
            f"{group.by_domain.value:7.4f}  {_interval(group.centred):24}"
        )
    lines += [
        f"losses in {unit}; in brackets 95 percent over seeds and texts",
        "share: the bonus over the better model's loss; domain: the bonus of a "
        "choice by domain; equally good: the bonus without the difference of "
        "the two means",
        f"numbers: {out / 'result.json'}; figure: {out}/similarity.png, .svg",
    ]
    return "\n".join(lines)


def _interval(estimate: diversity.Estimate) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
