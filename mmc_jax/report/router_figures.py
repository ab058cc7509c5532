"""The figures of routers, each readable without the text beside it.

M models.
"""

import numpy as np
from matplotlib.figure import Figure

from mmc_jax.realizable import Evaluation, RouterLaw, RouterStudy
from mmc_jax.report import figures, labels

# What bounds a router, and it: title and colour of each line.
LINES = {
    "single": ("single models", "0.5"),
    "routed": ("routed", figures.COLORS[3]),
    "mixture": ("mixtures", figures.COLORS[0]),
    "oracle": ("oracle", "black"),
}
# Models of a confusion that a figure can name.
_MOST_NAMED = 30


def closed_gaps(found: RouterStudy) -> Figure:
    """Returns the closed gap of each router with its interval, beside noise.

    Args:
      found: What `realizable.router_study` returns.
    """
    names = [n for n in found.entries if n not in ("best_single", "random")]
    figure = Figure(figsize=(7.5, 1.6 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for y, name in enumerate(names):
        entry = found.entries[name]
        for estimate, color, marker, shift in (
            (entry.evaluation.closed_gap, figures.COLORS[0], "o", 0.0),
            (
                None if entry.on_noise is None else entry.on_noise.closed_gap,
                "0.6",
                "x",
                0.25,
            ),
        ):
            if estimate is None or np.isnan(estimate.value):
                continue
            if estimate.has_interval:
                ends = 100 * np.array([estimate.low, estimate.high])
                axes.plot(ends, [y + shift] * 2, color=color, linewidth=2)
            axes.plot(100 * estimate.value, y + shift, marker, color=color)
    for e in [entry.evaluation for entry in found.entries.values()][:1]:
        axes.axvline(
            100 * e.domain_closed_gap.value,
            color=figures.COLORS[2],
            linestyle=":",
            label="best model of each domain, known in hindsight",
        )
    axes.axvline(0, color="0.3", linewidth=1, label="best single model")
    axes.plot([], [], "x", color="0.6", label="the same router on noise")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("Share of the gap to the oracle that is closed (percent)")
    axes.legend(fontsize=8, frameon=False, loc="best")
    axes.grid(alpha=0.25, axis="x")
    axes.set_title("Routers between the best single model and the oracle")
    return figure


def costs(found: RouterStudy, unit: str) -> Figure:
    """Returns the loss of each router against its expected cost.

    Args:
      found: What `realizable.router_study` returns.
      unit: Unit of the losses.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for (name, entry), color in zip(
        found.entries.items(), 2 * figures.COLORS, strict=False
    ):
        e = entry.evaluation
        if name == "random" or not e.curve_costs.size:
            continue
        axes.plot(
            e.curve_costs,
            e.curve_losses,
            color="black" if name == "best_single" else color,
            linestyle="--" if name == "best_single" else "-",
            marker=".",
            markersize=4,
            label=f"{name}, mean {e.area:.4g}",
        )
    for e in [entry.evaluation for entry in found.entries.values()][:1]:
        axes.axhline(e.oracle.value, color="black", linestyle=":")
        axes.annotate(
            "oracle",
            (1, e.oracle.value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
        )
    figures.short_costs(axes)
    axes.set_xlabel("Expected cost of a text")
    axes.set_ylabel(f"Loss ({unit})")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
    axes.set_title("What routers buy, from the cheapest model to the dearest")
    return figure


def confusion(found: Evaluation, router: str, names: list[str]) -> Figure:
    """Returns how many texts go to each model, by the model that is the best.

    Args:
      found: What the router is worth.
      router: Name of the router.
      names: Name of each model, [M].
    """
    size = 2.5 + 0.3 * min(len(names), _MOST_NAMED)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(found.confusion, cmap="Blues")
    figure.colorbar(image, label="Texts")
    axes.set_xlabel("Best model")
    axes.set_ylabel("Chosen model")
    if len(names) <= _MOST_NAMED:
        shown = [labels.shown(name, 20) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), shown, fontsize=7)
    axes.set_title(f"Where {router} sends texts", fontsize=10)
    return figure


def laws(law: RouterLaw, *, cost_label: str, loss_label: str) -> Figure:
    """Returns the realized frontier beside single models, mixtures and oracle.

    Args:
      law: What `realizable.router_law` returns.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    least = law.oracle.losses[-1]
    for name, (title, color) in LINES.items():
        line = getattr(law, name)
        if line is None:
            continue
        title = law.router if name == "routed" else title
        label = f"{title} ({len(line.costs)} points)"
        figures.draw_frontier(axes, line, label, color)
        if name in law.laws:
            figures.draw_law(
                axes, law.laws[name], title, line.costs, least, color
            )
    figures.label_laws(axes, cost_label, loss_label)
    axes.set_title("What a budget buys: a router beside what bounds it")
    return figure
