"""The law of granularity in numbers, sentences and figures.

L granularities.
"""

import functools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from mmc_jax.realizable import Controls, GranularityStudy, Level
from mmc_jax.report.result import interval_numbers, law_numbers
from mmc_jax.report.sections import Section
from mmc_jax.scores import NORMALISATIONS

# Each line of the figure: label, colour, style.
_LINES = {
    "best_single": ("best single model", "0.5", "--"),
    "bayes_mixture": ("Bayes mixture of all models", "tab:orange", "-"),
    "fixed_share": ("fixed share", "tab:green", "-"),
    "switch_distribution": ("switch distribution", "tab:olive", "-"),
    "losses": ("oracle, losses permuted", "tab:red", ":"),
    "residuals": ("oracle, residuals permuted", "tab:purple", ":"),
    "families": ("oracle, residuals of families permuted", "tab:pink", ":"),
    "all_models": ("oracle", "black", "-"),
}


def granularity_section(found: GranularityStudy) -> Section:
    """Returns the law of granularity.

    Args:
      found: What `realizable.granularity` returns.
    """
    return Section(
        {
            "granularity": {
                "normalisation": found.normalisation,
                "unit": NORMALISATIONS[found.normalisation],
                "cost": found.cost,
                "num_texts": found.num_texts,
                "left_out": found.left_out,
                "best_model": found.best_model,
                "best_loss": found.best_loss,
                "levels": [_numbers(found, level) for level in found.levels],
            }
        },
        figures={
            "granularity": functools.partial(_figure, found),
            "granularity_laws": functools.partial(_laws, found),
        },
        sentences=_sentences(found),
    )


def _numbers(found: GranularityStudy, level: Level) -> dict:
    return {
        "kind": level.kind,
        "num_segments": level.num_segments,
        "bytes_per_choice": level.bytes_per_choice,
        # The same at all levels: the loss of one model for all texts.
        "best_loss": found.best_loss,
        "all_models": level.all_models.value,
        "all_models_interval": interval_numbers(level.all_models),
        "controls": {
            name: {
                "all_models": _or_none(one.value),
                "range": [_or_none(one.low), _or_none(one.high)],
                "share_of_gain": _or_none(found.noise_share(level, name)),
            }
            for name, one in level.controls._asdict().items()
        },
        "systems": level.systems._asdict(),
        "law": None if level.law is None else law_numbers(level.law),
        "alpha_interval": level.alpha and interval_numbers(level.alpha),
        "L_inf_interval": level.floor and interval_numbers(level.floor),
        "law_missing": level.reason,
        "regrets_nats_per_text": [row._asdict() for row in level.regrets],
        "frontier": {
            "costs": level.pool.costs,
            "losses": level.pool.losses,
        },
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _sentences(found: GranularityStudy) -> list[str]:
    unit = NORMALISATIONS[found.normalisation]
    lines = [
        f"{found.num_texts} texts, losses in {unit}; best single model "
        f"{found.best_model}: {found.best_loss:.4f}"
    ]
    if found.left_out:
        lines.append(
            f"{len(found.left_out)} texts are left out, for a model's tokens "
            f"cannot be followed through them, such as {found.left_out[0]!r}"
        )
    lines.append(
        f"{'choice per':<12}{'bytes':>8}{'oracle':>9}{'control':>9}"
        f"{'losses':>8}{'resid.':>8}{'famil.':>8}{'mixture':>9}{'fixed':>9}{'switch':>9}{'leader':>9}"
        f"{'prefix':>9}{'alpha':>7}{'L_inf':>8}"
    )
    for level in found.levels:
        systems = level.systems
        shares = (
            found.noise_share(level, name) for name in level.controls._fields
        )
        noise = "".join(
            f"{'-' if np.isnan(share) else f'{share:.0%}':>8}"
            for share in shares
        )
        alpha, floor = (
            "-" if one is None else f"{one.value:.3f}"
            for one in (level.alpha, level.floor)
        )
        lines.append(
            f"{level.kind:<12}{level.bytes_per_choice:8.1f}"
            f"{level.all_models.value:9.4f}{level.controls.losses.value:9.4f}"
            f"{noise}"
            f"{systems.bayes_mixture:9.4f}{systems.fixed_share:9.4f}"
            f"{systems.switch_distribution:9.4f}"
            f"{systems.follow_the_leader:9.4f}{systems.prefix_router:9.4f}"
            f"{alpha:>7}{floor:>8}"
        )
    texts = found.levels[0].all_models.value
    best = min(found.levels, key=lambda level: level.systems.fixed_share)
    margin = texts - best.systems.fixed_share
    lines.append(
        f"fixed share is best per {best.kind}: {abs(margin) / texts:.2%} "
        f"{'below' if margin > 0 else 'above'} the oracle that chooses per text"
    )
    lines.append(
        "losses, resid., famil.: the share of the gain over texts that the "
        "minimum has where each model's losses, its residuals, or those of "
        "each family are permuted among segments of equal length within a "
        "text; losses (the control) is an upper bound of what noise gains, "
        "above 100% where segments are hard for all models at once"
    )
    broken = [
        f"{level.kind} with {row.num_switches} switches"
        for level in found.levels
        for row in level.regrets
        if not (row.holds and row.switch_holds)
    ]
    lines.append(
        "the bounds of fixed share and of the switch distribution hold on "
        "every text, beside the best partitions with "
        f"{', '.join(str(row.num_switches) for row in best.regrets)} switches"
        if not broken
        else f"a bound of an online system is BROKEN: {', '.join(broken)}"
    )
    lines.append(
        "the mixture is an exact code of a text; systems that change models "
        "inside one are told where all tokenizers' tokens end"
    )
    return lines


def _figure(found: GranularityStudy) -> Figure:
    """Returns the losses against the bytes of a choice."""
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.subplots()
    order = sorted(found.levels, key=lambda level: -level.bytes_per_choice)
    sizes = [level.bytes_per_choice for level in order]
    values = {
        "best_single": [found.best_loss] * len(order),
        "all_models": [level.all_models.value for level in order],
        **{
            name: [getattr(level.controls, name).value for level in order]
            for name in Controls._fields
        },
        **{
            name: [getattr(level.systems, name) for level in order]
            for name in ("bayes_mixture", "fixed_share", "switch_distribution")
        },
    }
    for name, (label, colour, style) in _LINES.items():
        axes.plot(
            sizes,
            values[name],
            style,
            marker=None if name == "best_single" else ".",
            color=colour,
            label=label,
        )
    axes.fill_between(
        sizes,
        [level.all_models.low for level in order],
        [level.all_models.high for level in order],
        color="0.85",
        label="95% over texts",
    )
    _name_sizes(axes, order)
    axes.set_ylabel(NORMALISATIONS[found.normalisation].capitalize())
    axes.set_title("What a finer choice of the model gains")
    axes.legend(frameon=False)
    return figure


def _laws(found: GranularityStudy) -> Figure:
    """Returns the laws' exponents and floors against the bytes of a choice."""
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    order = [level for level in found.levels if level.alpha is not None]
    order.sort(key=lambda level: -level.bytes_per_choice)
    for axes, name, label in (
        (upper, "alpha", "Exponent of the law"),
        (lower, "floor", "Floor of the law"),
    ):
        found_ones = [getattr(level, name) for level in order]
        values = np.array([one.value for one in found_ones])
        ends = np.array([[one.low, one.high] for one in found_ones])
        ends = ends.reshape(-1, 2).T
        # A percentile interval need not hold the value.
        axes.errorbar(
            [level.bytes_per_choice for level in order],
            values,
            np.maximum(np.abs(ends - values) * [[1], [1]], 0),
            fmt=".-",
            color="black",
            capsize=3,
        )
        axes.set_ylabel(label)
    _name_sizes(lower, [])
    _name_sizes(upper, order)
    upper.set_xlabel("")
    upper.set_title("The law of the frontier, by the bytes of a choice")
    return figure


def _name_sizes(axes: Axes, levels: list[Level]) -> None:
    """Makes the axis of bytes logarithmic, and names each granularity."""
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Bytes of a choice")
    top = axes.secondary_xaxis("top") if levels else None
    if top is not None:
        top.set_xticks(
            [level.bytes_per_choice for level in levels],
            [level.kind for level in levels],
            rotation=60,
            ha="left",
            fontsize="small",
        )
        top.minorticks_off()
