"""Two studies side by side, as a section."""

from typing import Any

import numpy as np

from mmc_jax.comparisons import Comparison, StudyResult
from mmc_jax.report import labels
from mmc_jax.report.result import fitted, interval_numbers
from mmc_jax.report.sections import Section

_LAWS = {"single": "single models", "pool": "pool"}


def comparison_section(found: Comparison) -> Section:
    """Returns two studies side by side; differences are b - a.

    Args:
      found: What `comparisons.comparison` returns.
    """
    a, b = found.a, found.b
    numbers: dict[str, Any] = {
        "a": _study_numbers(a),
        "b": _study_numbers(b),
        "losses_of_b_times": fitted(found.factor),
        "laws": [
            {
                "law": _LAWS[name],
                "parameter": parameter,
                "a": _estimate_numbers(a.laws[name][parameter]),
                "b": _estimate_numbers(b.laws[name][parameter]),
                "difference": _estimate_numbers(difference),
            }
            for name, of_law in found.laws.items()
            for parameter, difference in of_law.items()
        ],
        "frontiers": [
            {
                "budget": budget,
                **{
                    f"{name}_{which}": losses[i, place]
                    for name, losses in found.bought.items()
                    for i, which in enumerate("ab")
                },
                "pool_difference": np.diff(found.bought["pool"][:, place])[0],
            }
            for place, budget in enumerate(found.budgets)
        ],
        "families": [
            {"family": family, "a": x, "b": y, "difference": y - x}
            for family, (x, y) in found.win_shares.items()
        ],
        "models": [
            {"model": name, "a": x, "b": y, "difference": y - x}
            for name, (x, y) in found.models.items()
        ],
        "gain_percent": dict(zip("ab", found.gain_percent, strict=True)),
    }
    return Section({"comparison": numbers}, sentences=_sentences(found))


def _sentences(found: Comparison) -> list[str]:
    a, b = found.a, found.b
    lines = [
        f"a: {a.folder}: {a.num_models} models, {a.num_texts:,} texts",
        f"b: {b.folder}: {b.num_models} models, {b.num_texts:,} texts; "
        f"{len(found.models)} models are in both",
        f"loss in {a.loss_unit}; cost: {labels.cost_label(a.cost).lower()}",
    ]
    if found.factor != 1:
        lines.append(
            f"losses of b are multiplied by {found.factor:.4g}, to the "
            "characters per token of a"
        )
    if a.normalisation == "raw":
        lines.append(
            "scores are taken as given: that both are of one kind is not "
            "checked"
        )
    lines += ["", f"{'':<26}{'a':>24}{'b':>24}{'b - a':>26}"]
    for name, of_law in found.laws.items():
        for parameter, difference in of_law.items():
            cells = "".join(
                one.text(".4g", ".3g").rjust(width)
                for one, width in (
                    (a.laws[name][parameter], 24),
                    (b.laws[name][parameter], 24),
                    (difference, 26),
                )
            )
            lines.append(f"{_LAWS[name] + ', ' + parameter:<26}{cells}")
    lines += [
        f"{_LAWS[name]}: no law in {which.folder}"
        for which in (a, b)
        for name in _LAWS
        if name not in which.laws
    ]
    gains = found.gain_percent
    lines.append(
        f"{'gain of all models, %':<26}{gains[0]:24.3g}{gains[1]:24.3g}"
        f"{gains[1] - gains[0]:26.3g}"
    )
    for family, (x, y) in found.win_shares.items():
        shown = f"wins of {labels.shown(family, 17)}"
        lines.append(f"{shown:<26}{x:24.1%}{y:24.1%}{y - x:26.1%}")
    if not found.win_shares:
        lines.append(
            "wins by family: only results of report know them, of both studies"
        )
    return lines


def _study_numbers(study: StudyResult) -> dict[str, Any]:
    return {
        name: getattr(study, name)
        for name in (
            "folder",
            "num_models",
            "num_texts",
            "normalisation",
            "loss_unit",
            "cost",
            "chars_per_token",
            "all_models",
        )
    }


def _estimate_numbers(estimate) -> dict[str, Any]:
    ends = interval_numbers(estimate) or {"low": None, "high": None}
    return {
        "value": fitted(estimate.value),
        "low": ends["low"],
        "high": ends["high"],
    }
