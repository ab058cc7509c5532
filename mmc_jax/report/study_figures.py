"""The figures of a study, each readable without the text beside it.

M models, X texts, F frontier points.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mmc_jax import law
from mmc_jax.frontier import Frontier, Routed
from mmc_jax.report import figures, labels

_MARKERS = "osD^vP*X<>"
_POOL_COLOR = "black"
_SINGLE_COLOR = "0.5"
# Families that a legend inside the axes can hold. More stand beside them, so
# many in a column of so many inches.
_MOST_INSIDE, _ROWS, _COLUMN_INCHES = 12, 30, 1.7
# Characters of a domain above its panel.
_DOMAIN = 18


def laws(
    single_costs: np.ndarray,
    single_losses: np.ndarray,
    families: Sequence[str],
    pool: Frontier,
    single_law: law.Fit | None,
    pool_law: law.Fit | None,
    *,
    cost_label: str,
    loss_label: str,
) -> Figure:
    """Returns the single models, the oracle frontier, and both laws.

    Args:
      single_costs: Cost of each model, [M].
      single_losses: Mean loss of each model, [M].
      families: Family of each model, [M]; each has a colour and a marker.
      pool: The oracle frontier.
      single_law: Law of the best single models; None where it was not fitted.
      pool_law: Law of the frontier; None where it was not fitted.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    num_families = len(set(families))
    num_columns = 0
    if num_families > _MOST_INSIDE:
        num_columns = -(-num_families // _ROWS)
    figure = Figure(
        figsize=(8.5 + _COLUMN_INCHES * num_columns, 5.5), layout="constrained"
    )
    axes = figure.add_subplot()
    points = _scatter_families(axes, single_costs, single_losses, families)
    label = f"oracle frontier ({len(pool.costs)} subsets)"
    figures.draw_frontier(axes, pool, label, _POOL_COLOR)
    costs = np.concatenate([single_costs, pool.costs])
    for name, fit, color in (
        ("single models", single_law, _SINGLE_COLOR),
        ("pool", pool_law, _POOL_COLOR),
    ):
        if fit is not None:
            figures.draw_law(axes, fit, name, costs, pool.losses[-1], color)
    figures.label_laws(axes, cost_label, loss_label)
    if num_columns:
        lines = [
            handle
            for handle in axes.get_legend_handles_labels()[0]
            if handle not in points
        ]
        axes.legend(handles=lines, fontsize=8, frameon=False)
        figure.legend(
            handles=points,
            loc="outside right upper",
            ncols=num_columns,
            fontsize=7,
            frameon=False,
        )
    axes.set_title(
        "Best loss at each budget: one model, and an ideal choice from a pool"
    )
    return figure


def routed(
    pool: Frontier,
    expected_costs: np.ndarray,
    route: Routed,
    *,
    cost_label: str,
    loss_label: str,
) -> Figure:
    """Returns what loss costs in memory and what it costs to run.

    Args:
      pool: The oracle frontier.
      expected_costs: Expected cost of a text with each subset of the
        frontier, [F].
      route: The routed frontier.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(
        pool.costs,
        pool.losses,
        where="post",
        color=_POOL_COLOR,
        label="oracle frontier: all of the subset is held",
    )
    axes.plot(
        expected_costs,
        pool.losses,
        ".",
        color=_SINGLE_COLOR,
        label="its subsets: only the best model runs",
    )
    axes.plot(
        route.costs,
        route.losses,
        color=figures.COLORS[0],
        label="routed by loss + price x cost, all models held",
    )
    figures.label_laws(
        axes, f"{cost_label}: sum, or expected for a text", loss_label
    )
    axes.set_title("Best loss at each cost: of holding models, of running one")
    return figure


def domains(
    costs: np.ndarray,
    losses: np.ndarray,
    text_domains: Sequence[str],
    families: Sequence[str],
    *,
    cost_label: str,
    loss_label: str,
) -> Figure:
    """Returns one panel a domain: each model's mean loss, and the oracle's.

    Args:
      costs: Cost of each model, [M].
      losses: Loss of each text under each model, [M, X].
      text_domains: Domain of each text, [X].
      families: Family of each model, [M].
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    names = sorted(set(text_domains))
    num_columns = min(4, len(names))
    num_rows = -(-len(names) // num_columns)
    legend_columns = min(len(set(families)), 1 + int(1.5 * num_columns))
    legend_rows = -(-len(set(families)) // legend_columns)
    figure = Figure(
        figsize=(
            0.8 + 3.0 * num_columns,
            3.4 * num_rows + 0.2 * max(legend_rows - 2, 0),
        ),
        layout="constrained",
    )
    grid = figure.subplots(
        num_rows, num_columns, sharex=True, sharey=True, squeeze=False
    )
    panels = list(grid.flat)
    of_domain = np.array(text_domains)
    for name, axes in zip(names, panels, strict=False):
        inside = losses[:, of_domain == name]
        _scatter_families(axes, costs, inside.mean(axis=1), families)
        oracle_loss = inside.min(axis=0).mean()
        axes.axhline(oracle_loss, color=_POOL_COLOR, linewidth=1)
        axes.annotate(
            f"oracle of all: {oracle_loss:.2f}",
            (0, oracle_loss),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=8,
        )
        axes.set_title(
            f"{labels.shown(name, _DOMAIN) or 'no domain'} "
            f"({inside.shape[1]} texts)"
        )
        figures.short_costs(axes)
        axes.tick_params(axis="x", labelbottom=True, labelsize=8)
        axes.grid(alpha=0.25)
    for axes in panels[len(names) :]:
        axes.remove()
    figure.supxlabel(cost_label)
    figure.supylabel(loss_label, fontsize=9)
    handles, titles = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        titles,
        loc="outside upper center",
        ncols=legend_columns,
        fontsize=9 if legend_rows > 2 else None,
        frameon=False,
    )
    return figure


def membership(
    frontier: Frontier,
    models: Sequence[str],
    families: Sequence[str],
    costs: np.ndarray,
    *,
    cost_label: str,
) -> Figure:
    """Returns which models each subset of the frontier uses.

    Args:
      frontier: The frontier, F points.
      models: Name of each model, [M].
      families: Family of each model, [M].
      costs: Cost of each model, [M], by which a family is ordered.
      cost_label: What the costs are.
    """
    index = _family_index(families)
    # Of very many models those that are in the most subsets, the first of ties.
    num_subsets = frontier.masks.sum(axis=0)
    shown = np.argsort(-num_subsets, kind="stable")[: figures.MOST_ROWS]
    order = sorted(
        shown.tolist(), key=lambda m: (index[families[m]], costs[m], m)
    )
    cells = np.zeros((len(order), len(frontier.costs)), int)
    for row, m in enumerate(order):
        cells[row] = np.where(
            frontier.masks[:, m],
            1 + index[families[m]] % len(figures.COLORS),
            0,
        )
    figure = Figure(figsize=(9, 1.4 + 0.22 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(
        cells,
        cmap=ListedColormap([(1, 1, 1), *figures.COLORS]),
        vmin=0,
        vmax=len(figures.COLORS),
        aspect="auto",
        interpolation="nearest",
    )
    names = [labels.shown(models[m]) for m in order]
    axes.set_yticks(range(len(order)), names, fontsize=8)
    points = np.unique(
        np.linspace(0, len(frontier.costs) - 1, 8).round().astype(int)
    )
    short = EngFormatter(places=1, sep="")
    axes.set_xticks(points, [short(frontier.costs[i]) for i in points])
    axes.set_xlabel(f"{cost_label} of the subset, least first")
    title = "Models in each subset of the oracle frontier, by family"
    if len(order) < len(models):
        title += (
            f"\nthe {len(order)} of {len(models):,} models that are in the "
            "most subsets"
        )
    axes.set_title(title)
    for row in range(1, len(order)):
        axes.axhline(row - 0.5, color="0.9", linewidth=0.5)
    return figure


def _family_index(families: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(dict.fromkeys(families))}


def _scatter_families(
    axes: Axes, costs: np.ndarray, losses: np.ndarray, families: Sequence[str]
) -> list[Artist]:
    """Returns the points of each family, which it draws."""
    of_model = np.array(families)
    points = []
    for name, i in _family_index(families).items():
        chosen = of_model == name
        # A hundred families have a colour and a marker of their own.
        marker = _MARKERS[(i + i // len(figures.COLORS)) % len(_MARKERS)]
        title = labels.shown(name) or "no family"
        points.append(
            axes.scatter(
                costs[chosen],
                losses[chosen],
                s=22,
                color=figures.COLORS[i % len(figures.COLORS)],
                marker=marker,
                # Matplotlib leaves labels out that begin with an underscore.
                label=f" {title}" if title.startswith("_") else title,
                zorder=3,
            )
        )
    return points
