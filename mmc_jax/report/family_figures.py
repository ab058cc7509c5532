"""The figures of one family against mixed families.

Each can be read without the text beside it.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmc_jax import diversity
from mmc_jax.diversity.family_studies import line_name
from mmc_jax.report import figures, labels

# Pools of one family, and mixed ones.
_SAME, _MIXED = figures.COLORS[1], figures.COLORS[0]
# Share of the least loss down to which axes go to show a floor.
_SHOWN_BELOW = 0.8

# Claims on each size, after the one on all models.
_CLAIMS_OF_SIZE = 4
_VERDICT_COLORS = {"yes": "tab:green", "no": "tab:red", "open": "0.45"}


def frontiers(
    found: diversity.FamilyStudy, *, cost_label: str, loss_label: str
) -> Figure:
    """Returns the frontiers of one family and of mixed pools, with laws.

    There is a panel for each size of the subsets.

    Args:
      found: Study of one table.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figure, panels = figures.row_of_panels(len(found.comparisons), 5.2, 4.6)
    for (size, compared), axes in zip(
        found.comparisons.items(), panels, strict=True
    ):
        losses = []
        for kind, line, color, marker in (
            ("same family", compared.homogeneous, _SAME, "s"),
            ("mixed", compared.heterogeneous, _MIXED, "o"),
        ):
            losses.append(line.losses)
            label = f"{kind} ({len(line.costs)} subsets)"
            figures.draw_frontier(
                axes, line, label, color, marker=marker, marker_size=3
            )
            of_line = found.laws.get(line_name(kind, size))
            if of_line is not None:
                figures.draw_law(
                    axes,
                    of_line.fit,
                    f"{kind} pools",
                    line.costs,
                    line.losses.min(),
                    color,
                )
        figures.label_laws(axes, cost_label, loss_label)
        axes.legend(fontsize=7, frameon=False, loc="upper right")
        # A floor far below the points would squeeze them.
        losses = np.concatenate(losses)
        if losses.min() > 0:
            axes.set_ylim(_SHOWN_BELOW * losses.min(), 1.08 * losses.max())
        axes.set_title(_size(size))
    figure.suptitle("Best loss at each budget, models of one family or mixed")
    return figure


def differences(
    found: diversity.FamilyStudy, *, cost_label: str, unit: str
) -> Figure:
    """Returns what mixing families gains at each budget, with its interval.

    Args:
      found: Study of one table.
      cost_label: What the costs are.
      unit: Unit of the losses.
    """
    figure, panels = figures.row_of_panels(len(found.comparisons), 4.6, 3.8)
    for (size, compared), axes in zip(
        found.comparisons.items(), panels, strict=True
    ):
        axes.axhline(0, color="0.6", linewidth=1)
        axes.fill_between(
            compared.budgets,
            compared.held_out.low,
            compared.held_out.high,
            color=_MIXED,
            alpha=0.25,
            linewidth=0,
            step="post",
            label="95 percent interval",
        )
        axes.step(
            compared.budgets,
            compared.held_out.value,
            where="post",
            color=_MIXED,
            marker="o",
            markersize=3,
            label="on texts that did not choose",
        )
        axes.step(
            compared.budgets,
            compared.in_sample,
            where="post",
            color="black",
            linestyle=":",
            label="on the texts that chose",
        )
        figures.short_costs(axes)
        axes.set_xlabel(cost_label)
        axes.grid(alpha=0.25)
        axes.set_title(_size(size))
    panels[0].set_ylabel(f"Loss, same family less mixed\n({unit})", fontsize=9)
    panels[0].legend(fontsize=7, frameon=False)
    figure.suptitle("Above 0 mixing families is the better use of the budget")
    return figure


def claims(studies: Mapping[str, diversity.FamilyStudy]) -> Figure:
    """Returns each claim with its interval, table by table.

    Args:
      studies: Studies of the same sizes, by the name of the table.
    """
    rows = list(zip(*(found.claims for found in studies.values()), strict=True))
    # The first claim is on all models; so many of each size follow.
    num_columns = _CLAIMS_OF_SIZE
    rows[1:1] = [None] * (num_columns - 1)
    num_rows = len(rows) // num_columns
    figure = Figure(
        figsize=(
            1.5 + 3.1 * num_columns,
            1 + (1 + 0.22 * len(studies)) * num_rows,
        ),
        layout="constrained",
    )
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, axes in zip(rows, grid.flat, strict=True):
        if row is None:
            axes.remove()
            continue
        axes.axvline(0, color="0.6", linewidth=1)
        for y, claim in enumerate(row):
            if claim.verdict == "-":
                axes.annotate(
                    "no number",
                    (0.5, y),
                    xycoords=("axes fraction", "data"),
                    fontsize=7,
                    ha="center",
                    va="center",
                    color="0.5",
                )
                continue
            color = _VERDICT_COLORS[claim.verdict]
            low, high = claim.estimate.low, claim.estimate.high
            axes.plot([low, high], [y, y], color=color)
            axes.plot(claim.estimate.value, y, "o", markersize=4, color=color)
        axes.set_ylim(len(row) - 0.5, -0.5)
        first = axes.get_subplotspec().is_first_col()
        axes.set_yticks(
            range(len(row)),
            [labels.shown(name) for name in studies]
            if first
            else [""] * len(row),
        )
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(_wrapped(row[0].claim), fontsize=8)
        axes.grid(alpha=0.25, axis="x")
    figure.suptitle(
        "Right of 0 the claim holds (green), left of it the reverse (red); "
        "grey is open",
        fontsize=10,
    )
    return figure


def _size(size: int | None) -> str:
    return "Any number of models" if size is None else f"{size} models"


def _wrapped(claim: str) -> str:
    """Returns a claim in two lines of about one length."""
    words = claim.split()
    half = len(words) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])
