"""How far a study's frontier can be trusted: what `trace_frontier` may add.

M models, X texts, F frontier points.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmc_jax import frontier
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics.resampling import held_out_texts

_LEVEL = 0.95  # Of all intervals.
_IN_SAMPLE, _BAND, _ANEW = "black", "0.8", "tab:orange"
_HELD_OUT, _HALVES = "tab:red", "tab:blue"


class Checks(NamedTuple):
    """What is asked for beside a frontier; nothing by default.

    Attributes:
      held_out: The share of the texts that are kept away from the search, to
        evaluate its subsets on.
      num_splits: Of the texts into halves, one of which chooses for the other.
      num_resamples: Of the texts, with the frontier's subsets fixed.
      num_searches: Of the texts, with the frontier traced anew.
      fail_above: A model fails on a text if its loss is above this.
      by_domain: Whether texts of one domain stay together.
      seed: Of all draws.
    """

    held_out: float = 0.0
    num_splits: int = 0
    num_resamples: int = 0
    num_searches: int = 0
    fail_above: float | None = None
    by_domain: bool = False
    seed: int = 0


class Honest(NamedTuple):
    """The answers; None where one was not asked for.

    Attributes:
      checks: What was asked for.
      num_kept: Texts that were kept away from the search.
      held_out: The frontier's subsets on them.
      cross_fitted: Halves of the other texts.
      band: Resamples of them, the subsets fixed.
      anew: Resamples of them, each with a frontier of its own.
      co_failures: Texts on which every model fails.
    """

    checks: Checks
    num_kept: int
    held_out: frontier.HeldOut | None
    cross_fitted: frontier.CrossFitted | None
    band: frontier.Band | None
    anew: frontier.Band | None
    co_failures: frontier.CoFailures | None


def divided(
    table: ScoreTable, checks: Checks
) -> tuple[ScoreTable, ScoreTable | None]:
    """Returns the table to search, and that of the texts kept away from it.

    Raises:
      ValueError: A share that is negative, or 1 or more; fewer than 2 texts or
        domains.
    """
    if checks.held_out == 0:
        return table, None
    if not 0 < checks.held_out < 1:
        raise ValueError(
            f"held_out is {checks.held_out}; a share of the texts, between 0 "
            "and 1, is needed."
        )
    kept = held_out_texts(
        len(table.texts), _clusters(table, checks), checks.held_out, checks.seed
    )
    return table.select(texts=~kept), table.select(texts=kept)


def honest(
    table: ScoreTable,
    kept: ScoreTable | None,
    pool: frontier.Frontier,
    search: frontier.Search,
    checks: Checks,
    *,
    normalisation: str,
    cost: str,
) -> Honest:
    """Returns what was asked for beside a frontier.

    Args:
      table: The scores that were searched.
      kept: Those of other texts; None where none were kept.
      pool: The frontier of the table.
      search: What found it.
      checks: What is asked for.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.

    Raises:
      ValueError: Fewer than 2 texts or domains where they are to be drawn; a
        negative number of draws.
    """
    losses, costs = table.losses(normalisation), table.costs(cost)
    drawn = {"clusters": _clusters(table, checks), "seed": checks.seed}
    band, anew = (
        frontier.bootstrap_band(
            losses,
            costs,
            pool.masks,
            search=way,
            num_resamples=number,
            level=_LEVEL,
            **drawn,
        )
        if number
        else None
        for way, number in (
            (None, checks.num_resamples),
            (search, checks.num_searches),
        )
    )
    return Honest(
        checks,
        0 if kept is None else len(kept.texts),
        None
        if kept is None
        else frontier.held_out(pool.masks, kept.losses(normalisation), costs),
        frontier.cross_fitted(
            losses,
            costs,
            search=search,
            num_splits=checks.num_splits,
            budgets=pool.costs,
            **drawn,
        )
        if checks.num_splits
        else None,
        band,
        anew,
        None
        if checks.fail_above is None
        else frontier.co_failures(losses, checks.fail_above, _LEVEL),
    )


def numbers(found: Honest) -> dict[str, Any]:
    """Returns the answers as JSON, but for those of single points."""
    content = {}
    if found.held_out is not None:
        content["held_out"] = {
            "num_texts": found.num_kept,
            "share_non_dominated": found.held_out.share,
        }
    if found.cross_fitted is not None:
        halves = found.cross_fitted
        content["cross_fitted"] = {
            "num_splits": found.checks.num_splits,
            "share_non_dominated": halves.share_of_split.mean(),
            "budgets": [
                {
                    "budget": halves.budgets[b],
                    "in_sample": halves.in_sample[b],
                    "held_out": halves.held_out[b],
                    "in_sample_std": halves.in_sample_std[b],
                    "held_out_std": halves.held_out_std[b],
                    "optimism_std": halves.optimism_std[b],
                }
                for b in range(len(halves.budgets))
            ],
        }
    band = found.band or found.anew
    if band is not None:
        content["all_models"] = {
            "loss": band.all_models,
            "low": band.all_models_low,
            "high": band.all_models_high,
            "level": _LEVEL,
        }
    if found.co_failures is not None:
        content["co_failures"] = {
            "fail_above": found.checks.fail_above,
            **found.co_failures._asdict(),
            "level": _LEVEL,
        }
    return content


def points(found: Honest, num_points: int) -> list[dict[str, float]]:
    """Returns what is known of each frontier point: [F]."""
    columns = {}
    if found.held_out is not None:
        columns["held_out_loss"] = found.held_out.losses
    for band, prefix in ((found.band, "loss"), (found.anew, "searched_loss")):
        if band is not None:
            columns[f"{prefix}_low"] = band.low
            columns[f"{prefix}_high"] = band.high
    return [
        {name: column[f] for name, column in columns.items()}
        for f in range(num_points)
    ]


def arrays(found: Honest) -> dict[str, np.ndarray]:
    """Returns all arrays of the answers, by answer and field."""
    return {
        f"{name}_{field}": values
        for name in ("held_out", "cross_fitted", "band", "anew")
        if getattr(found, name) is not None
        for field, values in getattr(found, name)._asdict().items()
        if isinstance(values, np.ndarray)
    }


def words(found: Honest, pool: frontier.Frontier) -> list[str]:
    """Returns the answers for the terminal, a line each."""
    lines = []
    if found.held_out is not None:
        rise = (found.held_out.losses - pool.losses).mean()
        lines.append(
            f"held out: on {found.num_kept:,} other texts the subsets lose "
            f"{abs(rise):.4f} {'more' if rise > 0 else 'less'} in the mean, "
            f"{found.held_out.losses[-1]:.4f} at the largest budget; "
            f"{found.held_out.share:.0%} of them stay non-dominated"
        )
    if found.cross_fitted is not None:
        halves = found.cross_fitted
        optimism = halves.held_out - halves.in_sample
        most = optimism.argmax()
        lines.append(
            f"halves ({found.checks.num_splits} splits): the choice flatters "
            f"by {optimism.mean():.4f} in the mean over budgets, most by "
            f"{optimism[most]:.4f} at {halves.budgets[most]:,.4g}; "
            f"{halves.share_of_split.mean():.0%} of the subsets stay "
            "non-dominated on the other half"
        )
    for band, how in (
        (found.band, "the subsets fixed"),
        (found.anew, "the subsets chosen anew"),
    ):
        if band is not None:
            lines.append(
                f"other texts, {how}: {_LEVEL:.0%} interval of the loss at the "
                f"largest budget [{band.low[-1]:.4f}, {band.high[-1]:.4f}], at "
                f"the least [{band.low[0]:.4f}, {band.high[0]:.4f}]"
            )
    band = found.band or found.anew
    if band is not None:
        lines.append(
            f"no subset of this pool goes below {band.all_models:.4f} "
            f"[{band.all_models_low:.4f}, {band.all_models_high:.4f}], the "
            "loss of all models together"
        )
    if found.co_failures is not None:
        fails = found.co_failures
        lines.append(
            f"all models fail (loss above {found.checks.fail_above:g}) on "
            f"{fails.num_failures:,} of {fails.num_texts:,} texts, "
            f"{fails.share:.1%} [{fails.low:.1%}, {fails.high:.1%}]: no choice "
            f"among them solves more than {1 - fails.share:.1%}"
        )
    return lines


def figures(
    found: Honest,
    pool: frontier.Frontier,
    *,
    cost_label: str,
    loss_label: str,
) -> dict[str, Figure]:
    """Returns the frontier with what other texts say of it, if anything does.

    Above the losses, below how much more is lost on texts that did not choose.

    Args:
      found: The answers.
      pool: The frontier.
      cost_label: What the costs are.
      loss_label: What the losses are, with their unit.
    """
    has_rises = found.held_out is not None or found.cross_fitted is not None
    if not has_rises and found.band is None and found.anew is None:
        return {}
    figure = Figure(
        figsize=(8.5, 7.5 if has_rises else 5.5), layout="constrained"
    )
    if has_rises:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        _draw_rises(below, found, pool)
    else:
        axes = below = figure.add_subplot()
    _draw_losses(axes, found, pool)
    axes.set_ylabel(loss_label)
    axes.set_title("What the frontier is worth on other texts")
    below.set_xlabel(cost_label)
    return {"honest": figure}


def _draw_losses(axes: Axes, found: Honest, pool: frontier.Frontier) -> None:
    """Draws the frontier, its bands, the held-out lines and the floor."""
    for band, color, how, number in (
        (found.band, _BAND, "subsets fixed", found.checks.num_resamples),
        (found.anew, _ANEW, "chosen anew", found.checks.num_searches),
    ):
        if band is not None:
            axes.fill_between(
                band.costs,
                band.low,
                band.high,
                step="post",
                color=color,
                alpha=0.6 if band is found.band else 0.3,
                linewidth=0,
                label=f"{_LEVEL:.0%} of {number} resamples of the texts, {how}",
            )
    axes.step(
        pool.costs,
        pool.losses,
        where="post",
        color=_IN_SAMPLE,
        linewidth=1.3,
        label=f"frontier, in sample ({len(pool.costs):,} subsets)",
    )
    if found.held_out is not None:
        axes.step(
            pool.costs,
            found.held_out.losses,
            where="post",
            color=_HELD_OUT,
            linewidth=1,
            label=f"the same subsets on {found.num_kept:,} held-out texts",
        )
    if found.cross_fitted is not None:
        halves = found.cross_fitted
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
    band = found.band or found.anew
    if band is not None:
        axes.axhspan(
            band.all_models_low,
            band.all_models_high,
            color="tab:green",
            alpha=0.15,
            linewidth=0,
        )
        axes.axhline(
            band.all_models,
            color="tab:green",
            linewidth=1,
            label="all models together: the floor of the pool, and its "
            "interval",
        )
    axes.set_xscale("log")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)


def _draw_rises(axes: Axes, found: Honest, pool: frontier.Frontier) -> None:
    """Draws how much more the subsets lose where they were not chosen."""
    if found.held_out is not None:
        axes.step(
            pool.costs,
            found.held_out.losses - pool.losses,
            where="post",
            color=_HELD_OUT,
            linewidth=1,
            label="held-out texts",
        )
    if found.cross_fitted is not None:
        halves = found.cross_fitted
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


def _clusters(table: ScoreTable, checks: Checks) -> Sequence[str] | None:
    return table.texts.domains if checks.by_domain else None
