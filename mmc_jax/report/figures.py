"""What the figures of studies share: colours, scales, laws and floors."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from mmc_jax import law
from mmc_jax.frontier import Frontier

COLORS = matplotlib.colormaps["tab10"].colors
# Models that have a row with their name: more would be no page but a roll.
MOST_ROWS = 120

# A floor below this share of the least loss is not shown: the axis would have
# to reach down to it, and the data do not say where it lies.
_FLOOR_SHARE = 0.1
# Size of a floor's label and its distance from lines, in points of print; the
# name by which the labels are found again.
_FLOOR_SIZE, _FLOOR_GAP, _FLOOR = 8, 2, "_floor"
# Losses that can be told apart, and read, with two digits after the point.
_TWO_DIGITS = 0.1, 1e5


def draw_law(
    axes: Axes,
    fit: law.Fit,
    name: str,
    costs: np.ndarray,
    least_loss: float,
    color: str | tuple[float, ...],
) -> None:
    """Draws a law up to ten times the largest cost, and its floor.

    Args:
      axes: Where to draw.
      fit: Law that is drawn.
      name: Name of what the law describes, such as "pool".
      costs: Costs of the points, which set the range.
      least_loss: Least loss of the points; a floor far below it is not drawn.
      color: Color of the law, as Matplotlib names it.
    """
    budgets = np.geomspace(costs.min(), 10 * costs.max(), 300)
    fitted = law.power_law(
        budgets / fit.scale, fit.A_at_scale, fit.alpha, fit.L_inf
    )
    has_floor = fit.L_inf > _FLOOR_SHARE * least_loss
    floor = f"floor {fit.L_inf:.2f}" if has_floor else "no floor in sight"
    axes.plot(
        budgets,
        fitted,
        color=color,
        linestyle="--",
        linewidth=1.5,
        label=f"law of the {name}: alpha {fit.alpha:.3g}, {floor}",
    )
    if not has_floor:
        return
    axes.axhline(fit.L_inf, color=color, linestyle=":", linewidth=1)
    # At the small budgets, above which all curves are still high.
    axes.annotate(
        f"floor of the {name}: {fit.L_inf:.2f}",
        (0.01, fit.L_inf),
        xycoords=("axes fraction", "data"),
        xytext=(0, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=_FLOOR_SIZE,
        color=color,
        label=_FLOOR,
        annotation_clip=True,
    )


def _place_floor_labels(axes: Axes) -> None:
    """Puts the label of each floor below its line, or apart from the others.

    The axis grows where the lowest label has no room.
    """
    texts = [text for text in axes.texts if text.get_label() == _FLOOR]
    if not texts:
        return
    texts.sort(key=lambda text: text.xy[1])
    height = axes.get_position().height * axes.figure.get_figheight() * 72
    room = _FLOOR_SIZE + 2 * _FLOOR_GAP
    scale = axes.yaxis.get_transform()
    floors = scale.transform(np.array([text.xy[1] for text in texts]))
    low, high = scale.transform(np.array(axes.get_ylim()))
    share = min(room / height, 0.5)
    low = min(low, floors[0] - share / (1 - share) * (high - floors[0]))
    axes.set_ylim(bottom=scale.inverted().transform(low))
    places = (floors - low) / (high - low) * height
    taken = free = -np.inf
    for text, place in zip(texts, places, strict=True):
        bottom = place - _FLOOR_GAP - _FLOOR_SIZE
        if bottom < max(taken, free) + _FLOOR_GAP:
            bottom = max(place, taken) + _FLOOR_GAP
        text.set_position((0, bottom - place))
        taken, free = bottom + _FLOOR_SIZE, place


def draw_frontier(
    axes: Axes,
    line: Frontier,
    label: str,
    color: str | tuple[float, ...],
    *,
    marker: str = ".",
    marker_size: float = 4,
) -> None:
    """Draws a frontier as steps, with a mark at each point.

    Args:
      axes: Where to draw.
      line: Frontier that is drawn.
      label: The frontier's line in the legend.
      color: Color of the frontier, as Matplotlib names it.
      marker: Mark of a point, as Matplotlib names it.
      marker_size: Size of a mark, in points of print.
    """
    axes.step(
        line.costs,
        line.losses,
        where="post",
        color=color,
        linewidth=1,
        marker=marker,
        markersize=marker_size,
        label=label,
    )


def set_log_scale(axes: Axes, which: str) -> bool:
    """Gives an axis a log scale, as far as its values allow it.

    Args:
      axes: Axes that hold all their lines and points.
      which: "x" or "y".

    Returns:
      Whether the scale is log. Where some values are 0 it is linear from 0 to
      the least positive value and log above; where some are negative, or all
      are 0, it stays linear.
    """
    low = min(getattr(axes.dataLim, f"interval{which}"))
    least = getattr(axes.dataLim, f"minpos{which}")
    set_scale = getattr(axes, f"set_{which}scale")
    if low > 0:
        set_scale("log")
    elif low == 0 and np.isfinite(least):
        set_scale("symlog", linthresh=least)
    return low > 0


def label_laws(axes: Axes, cost_label: str, loss_label: str) -> None:
    """Gives log axes their labels, grid and legend.

    Args:
      axes: Axes that show costs and losses.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    set_log_scale(axes, "x")
    least, largest = sorted(axes.dataLim.intervaly)
    readable = _TWO_DIGITS[0] <= least and largest <= _TWO_DIGITS[1]
    if set_log_scale(axes, "y") and readable:
        axes.yaxis.set_major_formatter("{x:.2f}")
        axes.yaxis.set_minor_formatter("{x:.2f}")
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.set_xlabel(cost_label)
    axes.set_ylabel(loss_label)
    _place_floor_labels(axes)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)


def row_of_panels(
    number: int, width: float, height: float
) -> tuple[Figure, Sequence[Axes]]:
    """Returns a figure and its panels, side by side.

    Args:
      number: Number of panels.
      width: Width of a panel in inches.
      height: Height of a panel in inches.
    """
    figure = Figure(
        figsize=(1 + width * number, 0.6 + height), layout="constrained"
    )
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def short_costs(axes: Axes) -> None:
    """Gives an axis of costs a log scale with short labels, such as 30M.

    Args:
      axes: Axes that hold all their lines and points, costs in the horizontal.
    """
    if set_log_scale(axes, "x"):
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
