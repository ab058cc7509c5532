"""What a certified frontier proves, in numbers, sentences and a figure.

F frontier points.
"""

import functools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmc_jax import frontier
from mmc_jax.report.figures import set_log_scale
from mmc_jax.report.sections import Section

_BAND_COLOR, _GAP_COLOR = "0.75", "tab:red"


def proof_section(
    found: frontier.Certified,
    num_models: int,
    *,
    cost_label: str,
    loss_label: str,
) -> Section:
    """Returns what is proven of a frontier.

    Args:
      found: The certified frontier, F points.
      num_models: Number of models M of the pool.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    gaps = found.gaps
    return Section(
        {
            "certified": {
                "num_points": len(found.proven),
                "num_proven": int(found.proven.sum()),
                "mean_gap": gaps.mean(),
                "largest_gap": gaps.max(),
                "resolution": found.resolution,
                "num_nodes": found.num_nodes,
            }
        },
        {"lower_bound": found.bounds, "proven": found.proven, "gap": gaps},
        {"frontier_bounds": found.bounds},
        {
            "proof": functools.partial(
                _band, found, cost_label=cost_label, loss_label=loss_label
            )
        },
        _sentences(found, num_models, cost_label.lower()),
        {
            "certificate.npz": functools.partial(
                frontier.write_certificate, found.certificate
            )
        },
    )


def _sentences(
    found: frontier.Certified, num_models: int, cost: str
) -> list[str]:
    """Returns what is proven of all points, and of two of them."""
    num_points = len(found.proven)
    num_proven = int(found.proven.sum())
    if num_proven == num_points:
        lines = [f"proven: all {num_points} points; no subset is better"]
    else:
        lines = [
            f"proven: {num_proven} of {num_points} points; elsewhere a better "
            f"subset lies at most {found.gaps.max():.3%} below, "
            f"{found.gaps.mean():.4%} in the mean over all points"
        ]
    if found.resolution:
        lines.append(
            f"  losses that differ by less than {2 * found.resolution:.2g} are "
            "not told apart"
        )
    line = found.frontier
    for k in np.unique([num_points // 2, num_points - 1]):
        # Between this point and the next no budget buys more.
        budget = (
            f"with less than {line.costs[k + 1]:,.6g} {cost} "
            if k + 1 < num_points
            else ""
        )
        lines.append(
            f"  no subset of these {num_models} models {budget}has an oracle "
            f"loss below {found.bounds[k]:.6f} on these texts"
        )
    return lines


def _band(
    found: frontier.Certified, *, cost_label: str, loss_label: str
) -> Figure:
    """Returns the frontier over its lower bounds, and the gap between them.

    Args:
      found: The certified frontier.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figure = Figure(figsize=(8.5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    line = found.frontier
    upper.fill_between(
        line.costs,
        found.bounds,
        line.losses,
        step="post",
        color=_BAND_COLOR,
        label="where a better subset could lie",
    )
    upper.step(
        line.costs,
        line.losses,
        where="post",
        color="black",
        linewidth=1,
        label=f"frontier: {found.proven.sum()} of {len(found.proven)} points "
        "proven",
    )
    upper.set_ylabel(loss_label)
    upper.legend(frameon=False)
    upper.set_title("The oracle frontier and what is proven of it")
    lower.step(line.costs, found.gaps, where="post", color=_GAP_COLOR)
    lower.set_ylabel("Gap")
    lower.set_ylim(bottom=0, top=max(1.1 * found.gaps.max(), 1e-4))
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    lower.set_xlabel(cost_label)
    for axes in (upper, lower):
        set_log_scale(axes, "x")
        axes.grid(alpha=0.25)
    return figure
