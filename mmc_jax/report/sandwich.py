"""The oracle, mixtures and single models as sections: numbers, one figure.

F frontier points.
"""

import functools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmc_jax.frontier import Frontier
from mmc_jax.realizable import HeldOutSystems, Length, Sandwich, Systems
from mmc_jax.report import figures, labels, result
from mmc_jax.report.sections import Section
from mmc_jax.report.study import laws_as_numbers

# Points of the frontier that are printed.
_NUM_PRINTED = 10
_LINES = {
    "single": ("single models", "0.5"),
    "mixture": ("mixtures", figures.COLORS[0]),
    "oracle": ("oracle", "black"),
}
_SCOPE = (
    "mixtures have a guarantee for likelihood alone, and for models whose "
    "probabilities of all texts sum to 1 at most, as those of canonical "
    "tokenizations do: then a mixture is a code"
)


def sandwich_sections(found: Sandwich) -> list[Section]:
    """Returns what a table says of mixtures: frontiers, laws, systems, lengths.

    Args:
      found: What `realizable.sandwich` returns.
    """
    sections = [_frontiers_section(found), _systems_section(found)]
    if found.lengths:
        sections.append(_lengths_section(found))
    return sections


def _frontiers_section(found: Sandwich) -> Section:
    names = [model.name for model in found.table.models]
    lines = {name: getattr(found, name) for name in _LINES}
    return Section(
        {
            "num_models": len(names),
            "num_texts": len(found.table.texts),
            "normalisation": found.normalisation,
            "loss_unit": found.table.loss_unit(found.normalisation),
            "cost": found.cost,
            "laws": laws_as_numbers(
                {name: found.laws.get(name) for name in _LINES}, found.reasons
            ),
            "single": labels.points(found.single, names),
            "mixture": labels.points(found.mixture, names),
            "scope": _SCOPE,
            "largest_overhead_nats": np.nanmax(found.largest_overheads),
            "mean_overhead_nats": np.nanmean(found.mean_overheads),
        },
        {
            "cost": found.oracle.costs,
            "loss": found.oracle.losses,
            "models": labels.subsets(found.oracle.masks, names),
            "mixture_loss": found.mixed,
            "mixture_bound": found.bounds,
            "mean_overhead_nats": found.mean_overheads,
            "largest_overhead_nats": found.largest_overheads,
        },
        {
            f"{name}_{field}": getattr(line, field)
            for name, line in lines.items()
            for field in ("costs", "losses", "masks")
        },
        {"sandwich": functools.partial(sandwich_figure, found)},
        [*_printed_points(found), "", *_printed_laws(found)],
    )


def sandwich_figure(found: Sandwich) -> Figure:
    """Returns the three frontiers with their laws, and the bound as a band.

    Args:
      found: What `realizable.sandwich` returns.
    """
    figure = Figure(figsize=(8.5, 8.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    costs = np.concatenate([found.single.costs, found.oracle.costs])
    cost_label = labels.cost_label(found.cost)
    for name, (title, color) in _LINES.items():
        line: Frontier = getattr(found, name)
        label = f"{title} ({len(line.costs)} points)"
        figures.draw_frontier(above, line, label, color)
        if name in found.laws:
            figures.draw_law(
                above,
                found.laws[name],
                title,
                costs,
                found.oracle.losses[-1],
                color,
            )
        below.step(
            found.oracle.costs,
            [
                _bought(line, budget) - loss
                for budget, loss in zip(
                    found.oracle.costs, found.oracle.losses, strict=True
                )
            ],
            where="post",
            color=color,
            label=title,
        )
    below.fill_between(
        found.oracle.costs,
        0,
        found.bounds - found.oracle.losses,
        step="post",
        color="0.9",
        label="log k nats a text: here lies the mixture of the oracle's subset",
    )
    unit = found.table.loss_unit(found.normalisation)
    figures.label_laws(above, cost_label, labels.loss_label(unit))
    below.set_xlabel(cost_label)
    below.set_ylabel("Loss beyond the oracle frontier", fontsize=9)
    below.legend(fontsize=8, frameon=False)
    below.grid(alpha=0.25)
    above.set_title(
        "Best loss at each budget: one model, a mixture that knows nothing, "
        "the oracle"
    )
    return figure


def _printed_points(found: Sandwich) -> list[str]:
    line = found.oracle
    # Of very many subsets on very many texts only some were mixed.
    known = np.flatnonzero(~np.isnan(found.mixed))
    places = np.linspace(0, len(known) - 1, _NUM_PRINTED)
    chosen = known[np.unique(places.round().astype(int))]
    lines = [
        f"{'budget (' + found.cost + ')':>22}  {'single':>8}  {'mixture':>8}  "
        f"{'oracle':>8}  {'its mix':>8}  {'bound':>8}  largest, mean nats"
    ]
    for i in chosen:
        budget = line.costs[i]
        bought = [
            _bought(other, budget) for other in (found.single, found.mixture)
        ]
        values = [*bought, line.losses[i], found.mixed[i], found.bounds[i]]
        lines.append(
            f"{budget:22,.6g}  "
            + "  ".join(f"{value:8.4f}" for value in values)
            + f"  {found.largest_overheads[i]:.3f}, "
            f"{found.mean_overheads[i]:.3f}"
        )
    lines.append(
        f"{len(chosen)} of the {len(line.costs)} subsets of the oracle "
        f"frontier; loss in "
        f"{found.table.loss_unit(found.normalisation)}; nats a text "
        "of the same subset's mixture beyond its oracle"
    )
    return lines


def _bought(line: Frontier, budget: float) -> float:
    """Returns the least loss that a budget buys; NaN where it buys nothing."""
    place = np.searchsorted(line.costs, budget, side="right") - 1
    return line.losses[place] if place >= 0 else np.nan


def _printed_laws(found: Sandwich) -> list[str]:
    lines = []
    for name, (title, _) in _LINES.items():
        fit = found.laws.get(name)
        lines.append(
            f"law of the {title}: not fitted: {found.reasons[name]}"
            if fit is None
            else f"law of the {title}: L(P) = {fit.A:.4g} P^-{fit.alpha:.4f} + "
            f"{fit.L_inf:.4f}, {fit.num_points} points, "
            f"R^2 {fit.r_squared:.4f}"
        )
    return lines


def _systems_section(found: Sandwich) -> Section:
    lines = ["", "nats a text:"]
    for one in found.systems:
        lines += _printed_systems(one)
    numbers: dict[str, Any] = {
        "systems": [_systems_numbers(one) for one in found.systems]
    }
    if found.held_out is not None:
        numbers["held_out_systems"] = result.fitted(found.held_out)
        lines += _printed_held_out(found.held_out)
    return Section(numbers, sentences=[*lines, "", _SCOPE])


def _systems_numbers(one: Systems) -> dict[str, Any]:
    return {
        "models": one.models,
        "num_texts": one.num_texts,
        "best_single_nats": one.best_single,
        "oracle_nats": one.oracle,
        "uniform_nats": one.uniform,
        "uniform_share": one.gain_share(one.uniform),
        "largest_overhead_nats": one.largest_overhead,
        "mean_overhead_nats": one.mean_overhead,
        "bound_nats": one.bound,
        "fitted_nats": result.fitted(one.fitted.nll_nats),
        "fitted_share": result.fitted(one.gain_share(one.fitted.nll_nats)),
        # Digits of weights that all machines share.
        "fitted_weights": [round(w, 5) for w in one.fitted.weights.tolist()],
        "fitted_gap_below_nats": 1e-9 if one.fitted.gap < 1e-9 else None,
    }


def _printed_systems(one: Systems) -> list[str]:
    subset = ", ".join(one.models)
    if len(one.models) > 4:
        subset = f"all {len(one.models)} models"
    gap = one.fitted.gap
    certified = "below 1e-9" if gap < 1e-9 else f"{gap:.1e}"
    return [
        f"  {subset}: oracle {one.oracle:.2f}, best single model of all "
        f"{one.best_single:.2f}",
        f"    uniform mixture {one.uniform:.2f}: "
        f"{_share(one, one.uniform)}; beyond the "
        f"oracle {one.mean_overhead:.3f} in the mean, "
        f"{one.largest_overhead:.3f} at most, log k {one.bound:.3f}",
        f"    weights fitted on the same texts {one.fitted.nll_nats:.2f}: "
        f"{_share(one, one.fitted.nll_nats)}; duality gap {certified}",
    ]


def _share(one: Systems, nll_nats: float) -> str:
    share = one.gain_share(nll_nats)
    if np.isnan(share):
        return "the oracle gains nothing"
    return f"{share:.1%} of the oracle's gain"


def _printed_held_out(held_out: HeldOutSystems) -> list[str]:
    uniform, fitted = (
        "" if share is None else f": {share} of the oracle's gain"
        for share in (held_out.uniform_share, held_out.fitted_share)
    )
    return [
        f"  on {held_out.num_held_out} held-out texts, chosen on "
        f"{held_out.num_chosen_on}: best single {held_out.best_single:.2f}, "
        f"oracle {held_out.oracle:.2f}",
        f"    uniform mixture {held_out.uniform:.2f}{uniform}",
        f"    fitted weights {held_out.fitted:.2f}{fitted}",
    ]


def _lengths_section(found: Sandwich) -> Section:
    lengths, first = found.lengths, found.pays_from
    lines = [
        "",
        f"{'rows a choice':>14}  {'single':>8}  {'uniform':>8}  {'fitted':>8}  "
        f"{'oracle':>8}  {'log k':>8}",
    ]
    for one in lengths:
        values = [
            one.systems.best_single,
            one.systems.uniform,
            one.systems.fitted.nll_nats,
            one.systems.oracle,
            one.systems.bound,
        ]
        lines.append(
            f"{one.mean_rows:14.2f}  "
            + "  ".join(f"{value / one.mean_rows:8.4f}" for value in values)
        )
    lines.append(
        "nats a row; the uniform mixture of all models "
        + (
            f"pays from {first:.3g} rows a choice on"
            if first is not None
            else "pays at none of these lengths"
        )
    )
    return Section(
        {
            "lengths": [
                {
                    "most_rows": one.num_rows,
                    "mean_rows": one.mean_rows,
                    **_systems_numbers(one.systems),
                }
                for one in lengths
            ],
            "mixture_pays_from_rows": first,
        },
        figures={"lengths": functools.partial(_lengths_figure, lengths)},
        sentences=lines,
    )


def _lengths_figure(lengths: tuple[Length, ...]) -> Figure:
    """Returns what a row gains over the best model, by rows of a choice."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    rows = np.array([one.mean_rows for one in lengths])
    systems = [one.systems for one in lengths]
    single = np.array([one.best_single for one in systems])
    for name, color, values in (
        ("oracle", "black", [one.oracle for one in systems]),
        (
            "mixture, fitted weights",
            figures.COLORS[1],
            [one.fitted.nll_nats for one in systems],
        ),
        (
            "mixture, uniform weights",
            figures.COLORS[0],
            [one.uniform for one in systems],
        ),
    ):
        axes.plot(
            rows,
            (single - np.array(values)) / rows,
            color=color,
            marker=".",
            label=name,
        )
    axes.axhline(0, color="0.5", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("Rows for which one choice holds")
    axes.set_ylabel("Gain over the best single model (nats a row)", fontsize=9)
    axes.set_title("What is gained by choosing, and by mixing")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25)
    return figure
