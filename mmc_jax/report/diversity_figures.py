"""The figures of diversity, each readable without the text beside it.

M models, X texts, B budgets.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from mmc_jax import diversity
from mmc_jax.frontier import Frontier
from mmc_jax.report import figures

# Of one family, mixed, and single models.
_SAME, _MIXED, _SINGLE = figures.COLORS[1], figures.COLORS[0], "0.5"
# Of the least loss: how far down axes go for floors.
_SHOWN_BELOW = 0.8

# Conclusions of each size, after the one on all models.
_CLAIMS_OF_SIZE = 4
_VERDICT_COLORS = {"yes": "tab:green", "no": "tab:red", "open": "0.45"}


def family_frontiers(
    part: diversity.Part, *, cost_label: str, loss_label: str
) -> Figure:
    """Returns the frontiers of one family and of mixed pools, with laws.

    A panel for each size of the subsets.
    """
    figure, panels = _panels(len(part.comparisons), 5.2, 4.6)
    for (size, compared), axes in zip(
        part.comparisons.items(), panels, strict=True
    ):
        losses = []
        for kind, line, color, marker in (
            ("same family", compared.homogeneous, _SAME, "s"),
            ("mixed", compared.heterogeneous, _MIXED, "o"),
        ):
            losses.append(line.losses)
            axes.step(
                line.costs,
                line.losses,
                where="post",
                color=color,
                linewidth=1,
                marker=marker,
                markersize=3,
                label=f"{kind} ({len(line.costs)} subsets)",
            )
            found = part.laws.get(diversity.line_name(kind, size))
            if found is not None:
                figures.draw_law(
                    axes,
                    found.fit,
                    f"{kind} pools",
                    line.costs,
                    line.losses.min(),
                    color,
                )
        figures.label_laws(axes, cost_label, loss_label)
        axes.legend(fontsize=7, frameon=False, loc="upper right")
        # A floor far below the points would squeeze them.
        losses = np.concatenate(losses)
        axes.set_ylim(_SHOWN_BELOW * losses.min(), 1.08 * losses.max())
        axes.set_title(_size(size))
    figure.suptitle("Best loss at each budget, models of one family or mixed")
    return figure


def family_differences(
    part: diversity.Part, *, cost_label: str, unit: str
) -> Figure:
    """Returns what mixing families buys at each budget, with its interval."""
    figure, panels = _panels(len(part.comparisons), 4.6, 3.8)
    for (size, compared), axes in zip(
        part.comparisons.items(), panels, strict=True
    ):
        axes.axhline(0, color="0.6", linewidth=1)
        axes.fill_between(
            compared.budgets,
            compared.low,
            compared.high,
            color=_MIXED,
            alpha=0.25,
            linewidth=0,
            step="post",
            label="95 percent interval",
        )
        axes.step(
            compared.budgets,
            compared.held_out,
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
        _log_costs(axes, compared.budgets)
        axes.set_xlabel(cost_label)
        axes.grid(alpha=0.25)
        axes.set_title(_size(size))
    panels[0].set_ylabel(f"Loss, same family less mixed\n({unit})", fontsize=9)
    panels[0].legend(fontsize=7, frameon=False)
    figure.suptitle("Above 0 mixing families is the better use of the budget")
    return figure


def conclusions(parts: Mapping[str, diversity.Part]) -> Figure:
    """Returns each conclusion with its interval, part by part."""
    rows = list(
        zip(*(part.conclusions for part in parts.values()), strict=True)
    )
    # The first is of all models, then so many of each size.
    num_columns = _CLAIMS_OF_SIZE
    rows[1:1] = [None] * (num_columns - 1)
    num_rows = len(rows) // num_columns
    figure = Figure(
        figsize=(
            1.5 + 3.1 * num_columns,
            1 + (1 + 0.22 * len(parts)) * num_rows,
        ),
        layout="constrained",
    )
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, axes in zip(rows, grid.flat, strict=True):
        if row is None:
            axes.remove()
            continue
        axes.axvline(0, color="0.6", linewidth=1)
        for y, found in enumerate(row):
            if found.value is None:
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
            color = _VERDICT_COLORS[found.verdict]
            axes.plot([found.low, found.high], [y, y], color=color)
            axes.plot(found.value, y, "o", markersize=4, color=color)
        axes.set_ylim(len(row) - 0.5, -0.5)
        first = axes.get_subplotspec().is_first_col()
        axes.set_yticks(
            range(len(row)), list(parts) if first else [""] * len(row)
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


def matrix(
    values: np.ndarray,
    names: Sequence[str],
    families: Sequence[str],
    title: str,
    *,
    diverging: bool = False,
) -> Figure:
    """Returns a number for each pair of models, in the order given.

    Args:
      values: [M, M]; NaN is left white.
      names: [M].
      families: [M]; lines part the families where one ends.
      title: What the numbers are, with their unit.
      diverging: Whether 0 is the middle.
    """
    num_models = len(names)
    figure = Figure(
        figsize=(3.4 + 0.2 * num_models, 2.2 + 0.2 * num_models),
        layout="constrained",
    )
    axes = figure.add_subplot()
    shown = np.where(np.eye(num_models, dtype=bool), np.nan, values)
    options = {"cmap": "viridis"}
    if diverging:
        most = np.nanmax(np.abs(shown)) if np.isfinite(shown).any() else 1.0
        options = {"cmap": "RdBu", "vmin": -most, "vmax": most}
    image = axes.imshow(shown, interpolation="nearest", **options)
    figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set_xticks(range(num_models), names, rotation=90, fontsize=7)
    axes.set_yticks(range(num_models), names, fontsize=7)
    for m in range(1, num_models):
        if families[m] != families[m - 1]:
            axes.axhline(m - 0.5, color="black", linewidth=0.8)
            axes.axvline(m - 0.5, color="black", linewidth=0.8)
    axes.set_title(title, fontsize=10)
    return figure


def contributions(
    names: Sequence[str],
    win_shares: np.ndarray,
    shapley: diversity.Shapley,
    marginal: np.ndarray,
    unit: str,
) -> Figure:
    """Returns what each model wins and brings, in the order given."""
    num_models = len(names)
    figure = Figure(figsize=(10, 1.6 + 0.2 * num_models), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    places = np.arange(num_models)
    for axes, values, errors, title in (
        (panels[0], 100 * win_shares, None, "Texts won (percent)"),
        (
            panels[1],
            shapley.values,
            1.96 * shapley.standard_errors,
            f"Shapley value\n({unit})",
        ),
        (panels[2], marginal, None, f"Lost without it\n({unit})"),
    ):
        axes.barh(places, values, xerr=errors, color=_MIXED, ecolor="0.3")
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25, axis="x")
        axes.tick_params(axis="x", labelsize=8)
    panels[0].set_yticks(places, names, fontsize=7)
    panels[0].set_ylim(num_models - 0.5, -0.5)
    figure.suptitle("What each model brings to the pool")
    return figure


def elimination(
    dropped: diversity.Elimination, names: Sequence[str], loss_label: str
) -> Figure:
    """Returns the loss of a pool whose models are dropped one by one."""
    num_models = len(names)
    figure = Figure(figsize=(8, 1.8 + 0.17 * num_models), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(dropped.losses, range(num_models), ".-", color="black")
    axes.set_yticks(
        range(num_models), [names[m] for m in dropped.order], fontsize=7
    )
    axes.set_ylim(num_models - 0.5, -0.5)
    axes.set_xlabel(f"{loss_label} of the models from here on")
    axes.grid(alpha=0.25)
    axes.set_title("Least missed models are dropped first, the last one stays")
    return figure


def optimism(
    found: diversity.Optimism, *, cost_label: str, unit: str
) -> Figure:
    """Returns the gain where it was chosen and elsewhere, and what parts them.

    Left against the number of texts, right against the budget.
    """
    figure, panels = _panels(2, 5, 4)
    axes = panels[0]
    axes.plot(
        found.num_texts,
        found.gain_in_sample,
        "o-",
        color="black",
        label="on the texts that chose",
    )
    axes.plot(
        found.num_texts,
        found.gain_held_out,
        "o-",
        color=_MIXED,
        label="on other texts",
    )
    axes.set_xscale("log")
    axes.set_xticks(found.num_texts, [f"{n:,}" for n in found.num_texts])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8, rotation=45)
    axes.set_xlabel("Texts that choose the subsets")
    axes.set_ylabel(f"Gain over the best single model ({unit})", fontsize=9)
    axes.set_title("Mean over the budgets")
    axes = panels[1]
    axes.plot(found.budgets, found.in_sample[-1], color="black")
    axes.plot(found.budgets, found.held_out[-1], color=_MIXED)
    axes.plot(
        found.budgets,
        found.held_out[0],
        color=_MIXED,
        linestyle=":",
        label=f"on other texts, {found.num_texts[0]} choose",
    )
    _log_costs(axes, found.budgets)
    axes.set_xlabel(cost_label)
    axes.set_title(f"At each budget, {found.num_texts[-1]:,} texts choose")
    axes.axhline(0, color="0.6", linewidth=1)
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    figure.suptitle("How much of the gain is the choice on finite texts")
    return figure


def token_effect(
    effect: diversity.TokenEffect, pair: tuple[str, str], unit: str
) -> Figure:
    """Returns both losses of two models, text by text and in the mean."""
    figure, (bars, dots) = _panels(2, 4.8, 4.2)
    places = np.arange(2)
    for shift, values, color, label in (
        (-0.2, effect.per_token, "0.6", "nats per token, not fair"),
        (0.2, effect.fair, _MIXED, unit),
    ):
        drawn = bars.bar(places + shift, values, 0.38, color=color, label=label)
        bars.bar_label(drawn, fmt="%.3f", fontsize=8)
    bars.set_xticks(
        places,
        [
            f"{name}\n{length:.2f} characters a token"
            for name, length in zip(pair, effect.chars_per_token, strict=True)
        ],
        fontsize=8,
    )
    bars.margins(y=0.25)
    bars.set_ylabel("Mean loss")
    bars.legend(fontsize=8, frameon=False)
    dots.scatter(
        effect.differences_per_token,
        effect.differences_fair,
        s=8,
        color=_MIXED,
        alpha=0.6,
    )
    dots.axhline(0, color="0.6", linewidth=1)
    dots.axvline(0, color="0.6", linewidth=1)
    dots.set_xlabel(f"Lead of {pair[0]}, nats per token", fontsize=9)
    dots.set_ylabel(f"Lead of {pair[0]}, {unit}", fontsize=9)
    dots.set_title(
        f"{100 * effect.share_turned:.0f} percent of the texts change winner",
        fontsize=10,
    )
    dots.grid(alpha=0.25)
    figure.suptitle("The same scores, per token and per length of the text")
    return figure


def pair_test(
    found: diversity.PairTest,
    pair: tuple[str, str],
    nearest: str,
    unit: str,
) -> Figure:
    """Returns a pair, its two models, and the nearest single model."""
    figure, (bars, gains) = _panels(2, 5, 4)
    names = [*pair, f"nearest: {nearest}", "the pair"]
    values = [*found.losses, found.nearest_loss, found.pair_loss]
    colors = [_SINGLE, _SINGLE, _SAME, _MIXED]
    drawn = bars.barh(range(4), values, color=colors)
    bars.bar_label(drawn, fmt="%.4f", fontsize=8, padding=2)
    bars.set_yticks(range(4), names, fontsize=8)
    bars.invert_yaxis()
    bars.margins(x=0.2)
    bars.set_xlabel(f"Loss ({unit})", fontsize=9)
    gains.axvline(0, color="0.6", linewidth=1)
    for y, bonus in enumerate((found.against_better, found.against_nearest)):
        gains.plot([bonus.low, bonus.high], [y, y], color=_MIXED)
        gains.plot(bonus.bonus, y, "o", color=_MIXED)
    gains.set_yticks(
        [0, 1], ["over the better\nof the two", "over the\nnearest"]
    )
    gains.set_ylim(1.6, -0.6)
    gains.set_xlabel(f"What the pair gains ({unit})", fontsize=9)
    gains.grid(alpha=0.25, axis="x")
    figure.suptitle(
        "Two models of two families against one model of their cost"
    )
    return figure


def all_subsets(
    costs: np.ndarray,
    losses: np.ndarray,
    sizes: np.ndarray,
    line: Frontier,
    *,
    cost_label: str,
    loss_label: str,
) -> Figure:
    """Returns every subset of a few models, and the frontier among them.

    Args:
      costs: Of each subset, [S].
      losses: Of each subset, [S].
      sizes: How many models it has, [S].
      line: The frontier.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(
        line.costs,
        line.losses,
        where="post",
        color="black",
        linewidth=1,
        label=f"frontier ({len(line.costs)} subsets)",
    )
    for size in np.unique(sizes):
        chosen = sizes == size
        axes.scatter(
            costs[chosen],
            losses[chosen],
            s=24,
            color=figures.COLORS[(size - 1) % len(figures.COLORS)],
            label=f"{size} model" + ("" if size == 1 else "s"),
            zorder=3,
        )
    figures.label_laws(axes, cost_label, loss_label)
    axes.set_title("Every subset of the models, and what a budget can buy")
    return figure


def _panels(
    number: int, width: float, height: float
) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(
        figsize=(1 + width * number, 0.6 + height), layout="constrained"
    )
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _log_costs(axes: Axes, costs: np.ndarray) -> None:
    if costs[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _size(size: int | None) -> str:
    return "Any number of models" if size is None else f"{size} models"


def _wrapped(claim: str) -> str:
    """Returns a claim in two lines of about one length."""
    words = claim.split()
    half = len(words) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])
