"""Same family against mixed, in one part of a study or several, as a folder."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax import diversity, law
from mmc_jax.frontier import Frontier
from mmc_jax.report import diversity_figures, result
from mmc_jax.report.study import COST_LABELS
from mmc_jax.scores import NORMALISATIONS, ScoreTable
from mmc_jax.statistics import percentile_interval

_PARAMETERS = ("A", "alpha", "L_inf")
# Letters of the longest name of a line and of a claim.
_LINE, _CLAIM = 26, 52


def write_families(
    tables: Mapping[str, ScoreTable],
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    cost: str = "num_params",
    by: str = "family",
    sizes: Sequence[int | None] = diversity.SIZES,
    by_domain: bool = False,
    num_splits: int = 3,
    num_resamples: int = 200,
    seed: int = 0,
) -> str:
    """Writes what mixing families buys and returns it in words.

    Args:
      tables: Parts of a study by name, such as its domains; the figures of
        frontiers are of the first.
      out: The result folder.
      flags: What the program was called with.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.
      by: What makes a family: one of `diversity.GROUPINGS`.
      sizes: Of the subsets; None is any.
      by_domain: Whether texts of one domain are split and drawn together.
      num_splits: Into halves.
      num_resamples: Of the texts.
      seed: Of the splits and draws.

    Raises:
      ValueError: A table lacks what is asked for; the part is named.
    """
    parts = {}
    for name, table in tables.items():
        try:
            parts[name] = diversity.part(
                table.losses(normalisation),
                table.costs(cost),
                diversity.groups_of(table, by),
                sizes=sizes,
                num_splits=num_splits,
                num_resamples=num_resamples,
                seed=seed,
                clusters=table.texts.domains if by_domain else None,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    unit = NORMALISATIONS[normalisation]
    first, table = next(iter(parts.values())), next(iter(tables.values()))
    labels = {"cost_label": COST_LABELS.get(cost, cost)}
    drawn = {
        "frontiers": diversity_figures.family_frontiers(
            first, loss_label=f"Loss ({unit})", **labels
        ),
        "differences": diversity_figures.family_differences(
            first, unit=unit, **labels
        ),
        "conclusions": diversity_figures.conclusions(parts),
    }
    groups = diversity.groups_of(table, by)
    names = [model.name for model in table.models]
    numbers = {
        "loss_unit": unit,
        "cost": cost,
        "families": {
            group: [n for n, g in zip(names, groups, strict=True) if g == group]
            for group in dict.fromkeys(groups)
        },
        "parts": {
            name: _part_numbers(part, [m.name for m in tables[name].models])
            for name, part in parts.items()
        },
        "in_all_parts": diversity.in_all(parts),
    }
    path = result.write_result(
        out, result.plain(numbers), flags=flags, figures=drawn
    )
    lines = []
    for name, part in parts.items():
        lines += [*_part_in_words(name, part, cost, unit), ""]
    return "\n".join(
        [*lines, *_conclusions_in_words(parts), "", f"numbers: {path}"]
    )


def _part_numbers(part: diversity.Part, names: Sequence[str]) -> dict[str, Any]:
    return {
        "num_texts": part.num_texts,
        "frontiers": {
            line: _points(points, names) for line, points in part.lines.items()
        },
        "laws": {
            line: {
                **result.law_numbers(found.fit),
                "intervals": {
                    name: _interval(found, name) for name in _PARAMETERS
                },
            }
            for line, found in part.laws.items()
        },
        "not_there": part.reasons,
        "comparisons": {
            str(size or "any"): {
                name: getattr(compared, name)
                for name in (
                    "budgets",
                    "in_sample",
                    "held_out",
                    "low",
                    "high",
                )
            }
            for size, compared in part.comparisons.items()
        },
        "shared_parameters": {
            str(size or "any"): [answer._asdict() for answer in answers]
            for size, answers in part.shared.items()
        },
        "conclusions": [
            {**found._asdict(), "verdict": found.verdict}
            for found in part.conclusions
        ],
    }


def _points(line: Frontier, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "cost": cost,
            "loss": loss,
            "models": [names[m] for m in np.flatnonzero(mask)],
        }
        for cost, loss, mask in zip(*line, strict=True)
    ]


def _interval(
    found: diversity.LineLaw, name: str
) -> tuple[float, float] | None:
    usable = law.usable(found.draws)
    if usable.mean() < 0.5:
        return None
    return percentile_interval(getattr(found.draws, name)[usable])


def _part_in_words(
    name: str, part: diversity.Part, cost: str, unit: str
) -> list[str]:
    lines = [
        f"{name}, {part.num_texts} texts",
        f"  {'law':<{_LINE}}{'alpha':>24}{'L_inf':>24}{'R^2':>8}{'n':>6}",
    ]
    for line in part.lines:
        if line not in part.laws:
            lines.append(f"  {line:<{_LINE}}no law: {part.reasons[line]}")
            continue
        found = part.laws[line]
        cells = "".join(
            _with_interval(getattr(found.fit, p), _interval(found, p)).rjust(24)
            for p in ("alpha", "L_inf")
        )
        lines.append(
            f"  {line:<{_LINE}}{cells}{found.fit.r_squared:8.4f}"
            f"{found.fit.num_points:6d}"
            + ("" if found.fit.converged else "  did not converge")
        )
    lines += [
        "  95 percent intervals of resampled texts, the subsets fixed",
        f"  same family less mixed: loss in {unit},",
        "  chosen on one half of the texts, judged on the other",
        f"  {'size':<8}{'budget (' + cost + ')':>24}{'difference':>30}"
        f"{'on the texts that chose':>26}",
    ]
    for size, compared in part.comparisons.items():
        num_budgets = len(compared.budgets)
        for b in dict.fromkeys((0, num_budgets // 2, num_budgets - 1)):
            interval = (compared.low[b], compared.high[b])
            lines.append(
                f"  {size or 'any':<8}{compared.budgets[b]:24,.6g}"
                f"{_with_interval(compared.held_out[b], interval):>30}"
                f"{compared.in_sample[b]:26.4g}"
            )
    for size, answers in part.shared.items():
        shared = ", ".join(
            f"{' and '.join(answer.shared)} p = {answer.p_value:.2g}"
            for answer in answers
        )
        lines.append(f"  {size or 'any'}: may the two laws share {shared}")
    lines += [
        f"  {what}: {why}"
        for what, why in part.reasons.items()
        if what not in part.lines
    ]
    return lines


def _conclusions_in_words(parts: Mapping[str, diversity.Part]) -> list[str]:
    in_all = diversity.in_all(parts)
    width = max(12, *(len(name) + 2 for name in parts))
    several = len(parts) > 1
    lines = [
        f"{'claim':<{_CLAIM}}"
        + "".join(name.rjust(width) for name in parts)
        + ("in all".rjust(12) if several else "")
    ]
    rows = zip(*(part.conclusions for part in parts.values()), strict=True)
    for row in rows:
        lines.append(
            f"{row[0].claim:<{_CLAIM}}"
            + "".join(found.verdict.rjust(width) for found in row)
            + (in_all[row[0].claim].rjust(12) if several else "")
        )
    return [
        *lines,
        "yes: its interval lies above 0; no: below, the reverse holds; open: "
        "neither; -: no number",
    ]


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{value:.4g}"
    return f"{value:.4g} [{interval[0]:.3g}, {interval[1]:.3g}]"
