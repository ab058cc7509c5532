"""What other texts say of a study's frontier: numbers, sentences, a figure.

F frontier points, B budgets.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmc_jax.frontier import Band, Frontier
from mmc_jax.frontier.generalisation.checks import LEVEL, Generalisation
from mmc_jax.report.figures import set_log_scale
from mmc_jax.report.sections import Section

_IN_SAMPLE, _FIXED, _SEARCHED = "black", "0.8", "tab:orange"
_HELD_OUT, _HALVES = "tab:red", "tab:blue"


def generalisation_section(
    found: Generalisation,
    line: Frontier,
    *,
    cost_label: str,
    loss_label: str,
) -> Section:
    """Returns what other texts say of a frontier; empty if nothing was asked.

    Args:
      found: The answers of other texts.
      line: The frontier, F points.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    figures: dict[str, Callable[[], Figure]] = {}
    if found.held_out or found.cross_fitted or found.band:
        figures["generalisation"] = functools.partial(
            _figure, found, line, cost_label=cost_label, loss_label=loss_label
        )
    return Section(
        _numbers(found),
        _point_columns(found),
        _arrays(found),
        figures,
        _sentences(found, line),
    )


def _numbers(found: Generalisation) -> dict[str, Any]:
    """Returns the answers as JSON, but for those of single points."""
    content = {}
    if found.held_out is not None:
        content["held_out"] = {
            "num_texts": found.num_held_out,
            "share_non_dominated": found.held_out.share,
        }
    halves = found.cross_fitted
    if halves is not None:
        columns = {
            "budget": halves.budgets,
            "in_sample": halves.in_sample,
            "held_out": halves.held_out,
            "in_sample_std": halves.in_sample_std,
            "held_out_std": halves.held_out_std,
            "optimism_std": halves.optimism_std,
        }
        content["cross_fitted"] = {
            "num_splits": found.checks.num_splits,
            "share_non_dominated": halves.share_of_split.mean(),
            "budgets": [
                dict(zip(columns, row, strict=True))
                for row in zip(*columns.values(), strict=True)
            ],
        }
    if found.width is not None:
        content["most_subsets_of_a_size"] = found.width
    if found.band is not None:
        content["all_models"] = {
            "loss": found.band.all_models.value,
            "low": found.band.all_models.low,
            "high": found.band.all_models.high,
            "level": LEVEL,
        }
    if found.co_failures is not None:
        content["co_failures"] = {
            "fail_above": found.checks.fail_above,
            **found.co_failures._asdict(),
            "level": LEVEL,
        }
    return content


def _point_columns(found: Generalisation) -> dict[str, np.ndarray]:
    """Returns what is known of each frontier point, [F] each."""
    columns = {}
    if found.held_out is not None:
        columns["held_out_loss"] = found.held_out.losses
    for band, prefix in (
        (found.fixed_band, "loss"),
        (found.searched_band, "searched_loss"),
    ):
        if band is not None:
            columns[f"{prefix}_low"] = band.low
            columns[f"{prefix}_high"] = band.high
    return columns


def _arrays(found: Generalisation) -> dict[str, np.ndarray]:
    """Returns all arrays of the answers, by answer and field."""
    answers = {
        "held_out": found.held_out,
        "cross_fitted": found.cross_fitted,
        "band": found.fixed_band,
        "anew": found.searched_band,
    }
    return {
        f"{name}_{field}": values
        for name, answer in answers.items()
        if answer is not None
        for field, values in answer._asdict().items()
        if isinstance(values, np.ndarray)
    }


def _sentences(found: Generalisation, line: Frontier) -> list[str]:
    lines = []
    if found.held_out is not None:
        rise = (found.held_out.losses - line.losses).mean()
        lines.append(
            f"held out: on {found.num_held_out:,} other texts the subsets lose "
            f"{abs(rise):.4f} {'more' if rise > 0 else 'less'} in the mean, "
            f"{found.held_out.losses[-1]:.4f} at the largest budget; "
            f"{found.held_out.share:.0%} of them stay non-dominated"
        )
    halves = found.cross_fitted
    if halves is not None:
        optimism = halves.held_out - halves.in_sample
        most = optimism.argmax()
        lines.append(
            f"halves ({found.checks.num_splits} splits): selection bias is "
            f"{optimism.mean():.4f} in the mean over budgets, at most "
            f"{optimism[most]:.4f}, at {halves.budgets[most]:,.4g}; "
            f"{halves.share_of_split.mean():.0%} of the subsets stay "
            "non-dominated on the other half"
        )
    if found.width is not None:
        lines.append(
            "levels of the pruning on halves or resamples are cut to "
            f"{found.width:,} subsets: they may miss a little of what the "
            "frontier's own search finds"
        )
    for band, how in (
        (found.fixed_band, "the subsets fixed"),
        (found.searched_band, "the subsets chosen anew"),
    ):
        if band is not None:
            lines.append(
                f"other texts, {how}: {LEVEL:.0%} interval of the loss at the "
                f"largest budget [{band.low[-1]:.4f}, {band.high[-1]:.4f}], at "
                f"the least [{band.low[0]:.4f}, {band.high[0]:.4f}]"
            )
    if found.band is not None:
        lines.append(
            "no subset of this pool goes below "
            f"{found.band.all_models.text('.4f')}, the loss of all models "
            "together"
        )
    fails = found.co_failures
    if fails is not None:
        lines.append(
            f"all models fail (loss above {found.checks.fail_above:g}) on "
            f"{fails.num_failures:,} of {fails.num_texts:,} texts, "
            f"{fails.share:.1%} [{fails.low:.1%}, {fails.high:.1%}]: no choice "
            f"among them solves more than {1 - fails.share:.1%}"
        )
    return lines


def _figure(
    found: Generalisation,
    line: Frontier,
    *,
    cost_label: str,
    loss_label: str,
) -> Figure:
    """Returns the losses above, and below how much more other texts lose."""
    has_rises = found.held_out is not None or found.cross_fitted is not None
    figure = Figure(
        figsize=(8.5, 7.5 if has_rises else 5.5), layout="constrained"
    )
    if has_rises:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        _draw_rises(below, found, line)
    else:
        axes = below = figure.add_subplot()
    _draw_bands(axes, found)
    _draw_losses(axes, found, line)
    if found.band is not None:
        _draw_all_models(axes, found.band)
    set_log_scale(axes, "x")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
    axes.set_ylabel(loss_label)
    axes.set_title("Losses of the frontier on other texts")
    below.set_xlabel(cost_label)
    return figure


def _draw_bands(axes: Axes, found: Generalisation) -> None:
    """Draws the intervals over resampled texts."""
    for band, color, alpha, how, number in (
        (
            found.fixed_band,
            _FIXED,
            0.6,
            "subsets fixed",
            found.checks.num_resamples,
        ),
        (
            found.searched_band,
            _SEARCHED,
            0.3,
            "chosen anew",
            found.checks.num_searches,
        ),
    ):
        if band is not None:
            axes.fill_between(
                band.costs,
                band.low,
                band.high,
                step="post",
                color=color,
                alpha=alpha,
                linewidth=0,
                label=f"{LEVEL:.0%} of {number} resamples of the texts, {how}",
            )


def _draw_losses(axes: Axes, found: Generalisation, line: Frontier) -> None:
    """Draws the frontier, and its subsets on texts that did not choose."""
    axes.step(
        line.costs,
        line.losses,
        where="post",
        color=_IN_SAMPLE,
        linewidth=1.3,
        label=f"frontier, in sample ({len(line.costs):,} subsets)",
    )
    if found.held_out is not None:
        axes.step(
            line.costs,
            found.held_out.losses,
            where="post",
            color=_HELD_OUT,
            linewidth=1,
            label=f"the same subsets on {found.num_held_out:,} held-out texts",
        )
    halves = found.cross_fitted
    if halves is not None:
        for values, style, where in (
            (halves.in_sample, ":", "that chose"),
            (halves.held_out, "-", "that did not choose"),
        ):
            axes.plot(
                halves.budgets,
                values,
                color=_HALVES,
                linestyle=style,
                drawstyle="steps-post",
                linewidth=1.2,
                label=f"halves {where} (mean of {found.checks.num_splits} "
                "splits)",
            )


def _draw_all_models(axes: Axes, band: Band) -> None:
    """Draws the loss of all models together, and its interval."""
    axes.axhspan(
        band.all_models.low,
        band.all_models.high,
        color="tab:green",
        alpha=0.15,
        linewidth=0,
    )
    axes.axhline(
        band.all_models.value,
        color="tab:green",
        linewidth=1,
        label="all models together: the floor of the pool, and its interval",
    )


def _draw_rises(axes: Axes, found: Generalisation, line: Frontier) -> None:
    """Draws how much more the subsets lose where they were not chosen."""
    if found.held_out is not None:
        axes.step(
            line.costs,
            found.held_out.losses - line.losses,
            where="post",
            color=_HELD_OUT,
            linewidth=1,
            label="held-out texts",
        )
    halves = found.cross_fitted
    if halves is not None:
        optimism = halves.held_out - halves.in_sample
        axes.fill_between(
            halves.budgets,
            optimism - halves.optimism_std,
            optimism + halves.optimism_std,
            color=_HALVES,
            step="post",
            alpha=0.2,
            linewidth=0,
        )
        axes.step(
            halves.budgets,
            optimism,
            where="post",
            color=_HALVES,
            linewidth=1.2,
            label="the other half; one standard deviation over splits",
        )
    axes.axhline(0, color=_IN_SAMPLE, linewidth=0.8)
    axes.set_ylabel("More loss than in sample", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
