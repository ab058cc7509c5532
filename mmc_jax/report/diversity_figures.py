"""The figures of diversity, each readable without the text beside it.

M models, X texts, B budgets.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from mmc_jax import diversity
from mmc_jax.frontier import Frontier
from mmc_jax.report import figures, labels

# Pools of one family, mixed pools, and single models.
_SAME, _MIXED, _SINGLE = figures.COLORS[1], figures.COLORS[0], "0.5"


def matrix(
    values: np.ndarray,
    names: Sequence[str],
    families: Sequence[str],
    title: str,
    *,
    diverging: bool = False,
) -> Figure:
    """Returns a number for each pair of models, in the order given.

    Models beyond `figures.MOST_ROWS` make the cells smaller, without names.

    Args:
      values: Number of each pair, [M, M]; NaN is left white.
      names: Name of each model, [M].
      families: Family of each model, [M]. A line separates two families.
      title: What the numbers are, with their unit.
      diverging: Whether 0 is the middle of the colours.
    """
    num_models = len(names)
    size = 0.2 * min(num_models, figures.MOST_ROWS)
    figure = Figure(figsize=(3.4 + size, 2.2 + size), layout="constrained")
    axes = figure.add_subplot()
    cells = np.where(np.eye(num_models, dtype=bool), np.nan, values)
    options = {"cmap": "viridis"}
    if diverging:
        most = np.nanmax(np.abs(cells)) if np.isfinite(cells).any() else 1.0
        options = {"cmap": "RdBu", "vmin": -most, "vmax": most}
    image = axes.imshow(cells, interpolation="nearest", **options)
    shown = list(map(labels.shown, names))
    figure.colorbar(image, ax=axes, shrink=0.8)
    if num_models > figures.MOST_ROWS:
        axes.set_xlabel(f"{num_models:,} models, by family")
    else:
        axes.set_xticks(range(num_models), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(num_models), shown, fontsize=7)
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
    """Returns what each model wins and brings, in the order given.

    Of very many models the first `figures.MOST_ROWS` are shown.

    Args:
      names: Name of each model, [M].
      win_shares: Share of the texts on which each model is the best, [M].
      shapley: Shapley value of each model.
      marginal: Loss that is added without each model, [M].
      unit: Unit of the losses.
    """
    num_models = min(len(names), figures.MOST_ROWS)
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
        values = values[:num_models]
        errors = None if errors is None else errors[:num_models]
        axes.barh(places, values, xerr=errors, color=_MIXED, ecolor="0.3")
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25, axis="x")
        axes.tick_params(axis="x", labelsize=8)
    shown = list(map(labels.shown, names[:num_models]))
    panels[0].set_yticks(places, shown, fontsize=7)
    panels[0].set_ylim(num_models - 0.5, -0.5)
    title = "What each model brings to the pool"
    if num_models < len(names):
        title += f": {num_models} of {len(names):,} models"
    figure.suptitle(title)
    return figure


def elimination(
    dropped: diversity.Elimination, names: Sequence[str], loss_label: str
) -> Figure:
    """Returns the loss of a pool whose models are dropped one by one.

    Of very many models the last `figures.MOST_ROWS` to be dropped are shown.

    Args:
      dropped: What `diversity.elimination` returns.
      names: Name of each model, [M].
      loss_label: What the losses are, with their unit.
    """
    num_models = min(len(names), figures.MOST_ROWS)
    figure = Figure(figsize=(8, 1.8 + 0.17 * num_models), layout="constrained")
    axes = figure.add_subplot()
    losses = dropped.losses[-num_models:]
    axes.plot(losses, range(num_models), ".-", color="black")
    axes.set_yticks(
        range(num_models),
        [labels.shown(names[m]) for m in dropped.order[-num_models:]],
        fontsize=7,
    )
    axes.set_ylim(num_models - 0.5, -0.5)
    axes.set_xlabel(f"{loss_label} of the models from here on")
    axes.grid(alpha=0.25)
    title = "Dropped first: the model without which least is lost"
    if num_models < len(names):
        title += f"\nthe last {num_models} of {len(names):,} models"
    axes.set_title(title)
    return figure


def optimism(
    found: diversity.Optimism, *, cost_label: str, unit: str
) -> Figure:
    """Returns the gain in sample and on other texts.

    The left panel is against the number of texts, the right one against the
    budget.

    Args:
      found: What `diversity.optimism` returns.
      cost_label: What the costs are.
      unit: Unit of the losses.
    """
    figure, panels = figures.row_of_panels(2, 5, 4)
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
    figures.short_costs(axes)
    axes.set_xlabel(cost_label)
    axes.set_title(f"At each budget, {found.num_texts[-1]:,} texts choose")
    axes.axhline(0, color="0.6", linewidth=1)
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    figure.suptitle("How much of the gain is selection bias")
    return figure


def token_effect(
    effect: diversity.TokenEffect, pair: tuple[str, str], unit: str
) -> Figure:
    """Returns both losses of two models, text by text and in the mean.

    Args:
      effect: What `diversity.token_effect` returns.
      pair: Names of the two models.
      unit: Unit of the fair losses.
    """
    figure, (bars, dots) = figures.row_of_panels(2, 4.8, 4.2)
    places = np.arange(2)
    for shift, values, color, label in (
        (-0.2, effect.per_token, "0.6", "nats per token, not fair"),
        (0.2, effect.fair, _MIXED, unit),
    ):
        boxes = bars.bar(places + shift, values, 0.38, color=color, label=label)
        bars.bar_label(boxes, fmt="%.3f", fontsize=8)
    bars.set_xticks(
        places,
        [
            f"{labels.shown(name)}\n{length:.2f} characters a token"
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
    dots.set_xlabel(
        f"Lead of {labels.shown(pair[0])}, nats per token", fontsize=9
    )
    dots.set_ylabel(f"Lead of {labels.shown(pair[0])}, {unit}", fontsize=9)
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
    """Returns a pair, its two models, and the nearest single model.

    Args:
      found: What `diversity.pair_test` returns.
      pair: Names of the two models.
      nearest: Name of the nearest model.
      unit: Unit of the losses.
    """
    figure, (bars, gains) = figures.row_of_panels(2, 5, 4)
    names = [
        *map(labels.shown, pair),
        f"nearest: {labels.shown(nearest)}",
        "the pair",
    ]
    values = [*found.losses, found.nearest_loss, found.pair_loss]
    colors = [_SINGLE, _SINGLE, _SAME, _MIXED]
    boxes = bars.barh(range(4), values, color=colors)
    bars.bar_label(boxes, fmt="%.4f", fontsize=8, padding=2)
    bars.set_yticks(range(4), names, fontsize=8)
    bars.invert_yaxis()
    bars.margins(x=0.2)
    bars.set_xlabel(f"Loss ({unit})", fontsize=9)
    gains.axvline(0, color="0.6", linewidth=1)
    for y, gain in enumerate((found.against_better, found.against_nearest)):
        value, low, high, _ = gain.estimate
        gains.plot([low, high], [y, y], color=_MIXED)
        gains.plot(value, y, "o", color=_MIXED)
    gains.set_yticks(
        [0, 1], ["over the better\nof the two", "over the\nnearest"]
    )
    gains.set_ylim(1.6, -0.6)
    gains.set_xlabel(f"What the pair gains\n({unit})", fontsize=9)
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
      costs: Cost of each subset, [S].
      losses: Oracle loss of each subset, [S].
      sizes: Number of models of each subset, [S].
      line: Frontier among these subsets.
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
