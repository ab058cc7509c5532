"""What a certified frontier proves, in numbers, words and a figure."""

import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tqdm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmc_jax import frontier

_BAND_COLOR, _GAP_COLOR = "0.75", "tab:red"


class Limits(NamedTuple):
    """When a certified search may stop before all is proven.

    Attributes:
      seconds: For the trees; None for no limit, 0 for the roots alone.
      gap: The share of a point's loss that a better subset may lie below.
    """

    seconds: float | None = None
    gap: float = 0.0


def certified(
    losses: np.ndarray,
    costs: np.ndarray,
    out: str | os.PathLike[str],
    limits: Limits,
) -> frontier.Certified:
    """Returns the certified frontier, and writes `certificate.npz` into out.

    A killed run goes on where it was, and so does one that ran out of time:
    what is proven stays in `certificate.parts` until all is.
    """
    parts = pathlib.Path(out, "certificate.parts")
    with tqdm.tqdm(desc="proving", unit="point") as bar:
        found = frontier.certified(
            losses,
            costs,
            time_limit=limits.seconds,
            gap_limit=limits.gap,
            work_dir=parts,
            on_progress=_shown_on(bar),
        )
    frontier.write_certificate(
        found.certificate, pathlib.Path(out, "certificate.npz")
    )
    if found.proven.all():
        shutil.rmtree(parts)
    return found


def _shown_on(bar: tqdm.tqdm) -> Callable[[frontier.Progress], None]:
    def show(progress):
        bar.total = progress.num_points
        bar.n = progress.num_proven
        speed = progress.num_nodes / max(progress.seconds, 1e-9)
        bar.set_postfix_str(
            f"gap at most {progress.largest_gap:.3%}, "
            f"{progress.num_nodes:,} nodes, {speed:,.0f}/s"
        )

    return show


def numbers(found: frontier.Certified) -> dict[str, Any]:
    """Returns what is proven, as JSON."""
    return {
        "certified": {
            "num_points": len(found.proven),
            "num_proven": int(found.proven.sum()),
            "mean_gap": found.gaps.mean(),
            "largest_gap": found.gaps.max(),
            "resolution": found.resolution,
            "num_nodes": found.num_nodes,
        }
    }


def points(found: frontier.Certified) -> list[dict[str, Any]]:
    """Returns what is proven of each point, as JSON."""
    return [
        {"lower_bound": bound, "proven": bool(proven), "gap": gap}
        for bound, proven, gap in zip(
            found.bounds, found.proven, found.gaps, strict=True
        )
    ]


def words(found: frontier.Certified, num_models: int, cost: str) -> list[str]:
    """Returns what is proven, in sentences."""
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


def band(
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
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
    return figure
