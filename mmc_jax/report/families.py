"""One family against mixed families, in one table or several.

M models, B budgets.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mmc_jax.diversity import FamilyStudy, agreement, groups_of
from mmc_jax.report import family_figures, labels, result
from mmc_jax.report.sections import Section
from mmc_jax.scores import ScoreTable

_PARAMETERS = ("A", "alpha", "L_inf")
# Characters of the longest name of a frontier and of a claim.
_LINE, _CLAIM = 26, 52


def families_sections(
    studies: Mapping[str, FamilyStudy],
    tables: Mapping[str, ScoreTable],
    *,
    normalisation: str,
    cost: str,
    by: str = "family",
) -> list[Section]:
    """Returns what mixing families gains in each table, and in all of them.

    Args:
      studies: What `diversity.table_studies` returns. The figures of frontiers
        are of the first table.
      tables: The score tables by the same names.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost.
      by: What makes a family: one of `diversity.GROUPINGS`.
    """
    unit = next(iter(tables.values())).loss_unit(normalisation)
    first = next(iter(studies.values()))
    lines = []
    for name, found in studies.items():
        lines += [*_sentences(name, found, cost, unit), ""]
    return [
        Section(
            {
                "loss_unit": unit,
                "cost": cost,
                "families": _families(next(iter(tables.values())), by),
            }
        ),
        Section(
            {
                "parts": {
                    name: _numbers(
                        found, [model.name for model in tables[name].models]
                    )
                    for name, found in studies.items()
                }
            },
            figures={
                "frontiers": functools.partial(
                    family_figures.frontiers,
                    first,
                    cost_label=labels.cost_label(cost),
                    loss_label=labels.loss_label(unit),
                ),
                "differences": functools.partial(
                    family_figures.differences,
                    first,
                    cost_label=labels.cost_label(cost),
                    unit=unit,
                ),
            },
            sentences=lines,
        ),
        Section(
            {"in_all_parts": agreement(studies)},
            figures={
                "conclusions": functools.partial(family_figures.claims, studies)
            },
            sentences=_claims(studies),
        ),
    ]


def _numbers(found: FamilyStudy, names: Sequence[str]) -> dict[str, Any]:
    return {
        "num_texts": found.num_texts,
        "frontiers": {
            line: labels.points(points, names)
            for line, points in found.lines.items()
        },
        "laws": {
            line: {
                **result.law_numbers(of_line.fit),
                "intervals": {
                    name: result.interval_numbers(of_line.interval(name))
                    for name in _PARAMETERS
                },
            }
            for line, of_line in found.laws.items()
        },
        "not_there": found.reasons,
        "comparisons": {
            str(size or "any"): {
                "budgets": compared.budgets,
                "in_sample": compared.in_sample,
                "held_out": compared.held_out.value,
                "low": compared.held_out.low,
                "high": compared.held_out.high,
            }
            for size, compared in found.comparisons.items()
        },
        "shared_parameters": {
            str(size or "any"): result.fitted(answers)
            for size, answers in found.shared.items()
        },
        "conclusions": [
            {
                "claim": claim.claim,
                "value": result.fitted(claim.estimate.value),
                "low": result.fitted(claim.estimate.low),
                "high": result.fitted(claim.estimate.high),
                "reason": claim.reason,
                "p_value": result.fitted(claim.p_value),
                "verdict": claim.verdict,
            }
            for claim in found.claims
        ],
    }


def _families(table: ScoreTable, by: str) -> dict[str, list[str]]:
    """Returns the names of the models of each family."""
    families: dict[str, list[str]] = {}
    for model, family in zip(table.models, groups_of(table, by), strict=True):
        families.setdefault(family, []).append(model.name)
    return families


def _sentences(
    name: str, found: FamilyStudy, cost: str, unit: str
) -> list[str]:
    """Returns the laws and comparisons of one table for the terminal."""
    lines = [
        f"{name}, {found.num_texts} texts",
        f"  {'law':<{_LINE}}{'alpha':>24}{'L_inf':>24}{'R^2':>8}{'n':>6}",
    ]
    for line in found.lines:
        if line not in found.laws:
            lines.append(f"  {line:<{_LINE}}no law: {found.reasons[line]}")
            continue
        of_line = found.laws[line]
        cells = "".join(
            of_line.interval(parameter).text(".4g", ".3g").rjust(24)
            for parameter in ("alpha", "L_inf")
        )
        lines.append(
            f"  {line:<{_LINE}}{cells}{of_line.fit.r_squared:8.4f}"
            f"{of_line.fit.num_points:6d}"
            + ("" if of_line.fit.converged else "  did not converge")
        )
    lines += [
        "  95 percent intervals of resampled texts, the subsets fixed",
        f"  same family less mixed: loss in {unit},",
        "  chosen on one half of the texts, judged on the other",
        f"  {'size':<8}{'budget (' + cost + ')':>24}{'difference':>30}"
        f"{'on the texts that chose':>26}",
    ]
    for size, compared in found.comparisons.items():
        num_budgets = len(compared.budgets)
        for b in dict.fromkeys((0, num_budgets // 2, num_budgets - 1)):
            lines.append(
                f"  {size or 'any':<8}{compared.budgets[b]:24,.6g}"
                f"{compared.held_out.at(b).text('.4g', '.3g'):>30}"
                f"{compared.in_sample[b]:26.4g}"
            )
    for size, answers in found.shared.items():
        shared = ", ".join(
            f"{' and '.join(answer.shared)} p = {answer.p_value:.2g}"
            for answer in answers
        )
        lines.append(f"  {size or 'any'}: may the two laws share {shared}")
    lines += [
        f"  {what}: {why}"
        for what, why in found.reasons.items()
        if what not in found.lines
    ]
    return lines


def _claims(studies: Mapping[str, FamilyStudy]) -> list[str]:
    """Returns the verdict on each claim, table by table, for the terminal."""
    verdicts = agreement(studies)
    width = max(12, *(len(name) + 2 for name in studies))
    several = len(studies) > 1
    lines = [
        f"{'claim':<{_CLAIM}}"
        + "".join(name.rjust(width) for name in studies)
        + ("in all".rjust(12) if several else "")
    ]
    for row in zip(*(found.claims for found in studies.values()), strict=True):
        lines.append(
            f"{row[0].claim:<{_CLAIM}}"
            + "".join(claim.verdict.rjust(width) for claim in row)
            + (verdicts[row[0].claim].rjust(12) if several else "")
        )
    return [
        *lines,
        "yes: its interval lies above 0; no: below, the reverse holds; open: "
        "neither; -: no number",
    ]
