"""What pruning misses: heuristic frontiers beside exact ones, as a section.

M models of a synthetic pool.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmc_jax.frontier.generalisation.synthetic_pools import HEURISTICS
from mmc_jax.report.sections import Section


def search_errors_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Returns what the heuristics miss on synthetic pools.

    Args:
      rows: What `frontier.search_errors` returns, those of a kind together.
    """
    return Section(
        {"cases": rows},
        figures={"missed": functools.partial(_figure, rows)},
        sentences=[
            "",
            *search_error_table(rows).splitlines(),
            "",
            *_answers(rows),
        ],
    )


def pool_sentence(row: Mapping[str, Any]) -> str:
    """Returns what the heuristics miss on one pool, in a sentence.

    Args:
      row: What `frontier.search_errors` returns.
    """
    misses = ", ".join(
        f"{name} misses {row[name]['num_missed']} "
        f"(excess {row[name]['excess']:.3%})"
        for name in HEURISTICS
    )
    return (
        f"{row['num_models']} models, {row['num_texts']:,} texts, noise "
        f"{row['noise']:g}, seed {row['seed']}: {row['num_proven']} of "
        f"{row['num_points']} points proven; {misses}"
    )


def _groups(
    rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[int, int, float], list[Mapping[str, Any]]]:
    """Returns the rows of all seeds, by models, texts and noise."""
    groups: dict[tuple[int, int, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["num_models"], row["num_texts"], row["noise"])
        groups.setdefault(key, []).append(row)
    return groups


def search_error_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table in Markdown with a row for each kind of pool.

    Args:
      rows: What `frontier.search_errors` returns, those of a kind together.
    """
    head = ["models", "texts", "noise", "pools", "points", "proven"]
    for name in HEURISTICS:
        head += [f"missed, {name}", f"largest excess, {name}"]
    head.append("stay on new texts")
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    for (num_models, num_texts, noise), group in _groups(rows).items():
        cells = [
            f"{num_models}",
            f"{num_texts:,}",
            f"{noise:g}",
            f"{len(group)}",
            f"{sum(row['num_points'] for row in group):,}",
            f"{sum(row['num_proven'] for row in group):,}",
        ]
        for name in HEURISTICS:
            num_missed = sum(row[name]["num_missed"] for row in group)
            excess = max(row[name]["excess"] for row in group)
            cells += [f"{num_missed:,}", f"{excess:.3%}"]
        shares = [
            row["share_non_dominated_on_new_texts"]
            for row in group
            if row["num_new_texts"]
        ]
        cells.append(f"{np.mean(shares):.0%}" if shares else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _answers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what pruning misses in one sentence a heuristic."""
    num_points = sum(row["num_proven"] for row in rows)
    # The cost of a point that is not proven may hide more.
    where = (
        "at no budget"
        if all(row["num_proven"] == row["num_points"] for row in rows)
        else "at the cost of none of them"
    )
    lines = []
    for name in HEURISTICS:
        num_missed = sum(row[name]["num_missed"] for row in rows)
        worst = max(rows, key=lambda row: row[name]["excess"])
        lines.append(
            f"{name}: {num_missed:,} of {num_points:,} proven points missed "
            f"({num_missed / num_points:.2%}) over {len(rows)} pools; "
            f"{where} more than {worst[name]['excess']:.3%} above the least "
            "loss"
        )
    return lines


def _figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Returns the shares missed and the largest excess against M."""
    noises = sorted({row["noise"] for row in rows})
    figure = Figure(figsize=(4.4 * len(noises) + 1, 7), layout="constrained")
    grid = figure.subplots(
        2, len(noises), sharex=True, sharey="row", squeeze=False
    )
    ticks = sorted({row["num_models"] for row in rows})
    for column, noise in enumerate(noises):
        _draw_noise(grid[:, column], rows, noise)
        grid[0, column].set_title(f"Noise {noise:g}")
        grid[1, column].set(xlabel="Models", xscale="log")
        grid[1, column].set_xticks(ticks, [str(tick) for tick in ticks])
        grid[1, column].minorticks_off()
    for axes in grid.flat:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.25)
    grid[0, 0].set_ylabel("Points of the exact frontier missed")
    grid[1, 0].set_ylabel("Largest excess loss at any budget")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len({row["num_texts"] for row in rows}),
        fontsize=8,
        frameon=False,
    )
    return figure


def _draw_noise(
    panels: Sequence[Axes], rows: Sequence[Mapping[str, Any]], noise: float
) -> None:
    """Draws the pools of one noise: shares missed, and the largest excess."""
    groups = _groups(rows)
    for color, num_texts in enumerate(
        sorted({row["num_texts"] for row in rows})
    ):
        for name, style in zip(HEURISTICS, ("o-", "s:"), strict=True):
            line = sorted(
                (m, group)
                for (m, x, e), group in groups.items()
                if (x, e) == (num_texts, noise)
            )
            models = [m for m, _ in line]
            shares = [
                sum(row[name]["num_missed"] for row in group)
                / sum(row["num_proven"] for row in group)
                for _, group in line
            ]
            worst = [
                max(row[name]["excess"] for row in group) for _, group in line
            ]
            for axes, values in zip(panels, (shares, worst), strict=True):
                axes.plot(
                    models,
                    values,
                    style,
                    color=f"C{color}",
                    markersize=4,
                    label=f"{name}, {num_texts:,} texts",
                )
