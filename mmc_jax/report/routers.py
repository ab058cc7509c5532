"""Routers as sections: a table, laws, new models.

F subsets.
"""

import functools
from typing import Any

import numpy as np

from mmc_jax.realizable import Evaluation, RouterStudy
from mmc_jax.report import labels, result, router_figures
from mmc_jax.report.sections import Section
from mmc_jax.statistics import Estimate


def routers_sections(
    found: RouterStudy, *, unit: str, cost: str
) -> list[Section]:
    """Returns what routers make of a table.

    Args:
      found: What `realizable.router_study` returns.
      unit: Unit of the losses in words, as `ScoreTable.loss_unit` returns it.
      cost: Name of the cost.
    """
    sections = [_table_section(found, unit)]
    if found.law is not None:
        sections.append(_law_section(found, unit, cost))
    if found.cold is not None:
        sections.append(_cold_section(found))
    return sections


def _table_section(found: RouterStudy, unit: str) -> Section:
    contest = found.prepared.contest
    num_test = int(contest.test.sum())
    names = list(contest.models)
    lines = [
        f"routers: learned from {len(contest.test) - num_test:,} texts, judged "
        f"by {num_test:,}; loss in {unit}",
        f"{'router':<20}{'loss':>9}{'closed gap':>28}{'on noise':>10}"
        f"{'agreement':>11}{'seconds':>9}",
    ]
    for name, entry in found.entries.items():
        e = entry.evaluation
        noise = entry.on_noise
        lines.append(
            f"{name:<20}{e.routed.value:9.4f}"
            f"{_percent(e.closed_gap):>28}"
            f"{'' if noise is None else _percent(noise.closed_gap, False):>10}"
            f"{e.agreement.value:11.1%}"
            + ("" if np.isnan(entry.seconds) else f"{entry.seconds:9.1f}")
        )
    for e in [entry.evaluation for entry in found.entries.values()][:1]:
        lines += [
            f"best single model ({names[contest.best_single]}): "
            f"{e.best_single.text('.4f')}, best of each domain: "
            f"{e.domain_oracle.text('.4f')} "
            f"({_percent(e.domain_closed_gap, False)} of the gap), oracle: "
            f"{e.oracle.text('.4f')}",
            "closed gap: (best single - routed) / (best single - oracle), over "
            "all texts; the best single model is that of the texts to learn "
            "from; 95 percent intervals",
        ]
    lines += [f"no {name}: {why}" for name, why in found.reasons.items()]
    lines += _leak_lines(found, num_test)
    best = found.best
    drawn: dict[str, Any] = {}
    if found.entries:
        drawn["routers"] = functools.partial(router_figures.closed_gaps, found)
        drawn["router_confusion"] = functools.partial(
            router_figures.confusion,
            found.entries[best].evaluation,
            best,
            names,
        )
        if any(e.evaluation.curve_costs.size for e in found.entries.values()):
            drawn["router_costs"] = functools.partial(
                router_figures.costs, found, unit
            )
    return Section(
        {
            "routers": {
                "num_learned": len(contest.test) - num_test,
                "num_judged": num_test,
                "num_leaked": len(found.prepared.leaked),
                "best_single": names[contest.best_single],
                "loss_unit": unit,
                "entries": {
                    name: {
                        **evaluation_numbers(entry.evaluation),
                        "seconds": entry.seconds,
                        "on_noise": None
                        if entry.on_noise is None
                        else evaluation_numbers(entry.on_noise),
                    }
                    for name, entry in found.entries.items()
                },
                "not_there": found.reasons,
            }
        },
        arrays={
            f"confusion_{name}": entry.evaluation.confusion
            for name, entry in found.entries.items()
        },
        figures=drawn,
        sentences=lines,
    )


def _leak_lines(found: RouterStudy, num_test: int) -> list[str]:
    if found.prepared.groups is None:
        return [
            "near-duplicates across the split were not looked for: the texts "
            "are not there"
        ]
    number = len(found.prepared.leaked)
    if not number:
        return ["no text that judges is a near-duplicate of one learned from"]
    return [
        f"{number:,} of the {num_test:,} texts that judge are near-duplicates "
        "of texts learned from: what is closed on them is partly memory "
        "(--split=text keeps them on one side)"
    ]


def evaluation_numbers(found: Evaluation) -> dict[str, Any]:
    """Returns what a router is worth as JSON, without long arrays.

    Args:
      found: What `realizable.evaluated` returns.
    """
    numbers = found._asdict()
    del numbers["confusion"]
    numbers["shares"] = list(found.shares)
    return {
        name: value._asdict() if isinstance(value, Estimate) else value
        for name, value in numbers.items()
    }


def _law_section(found: RouterStudy, unit: str, cost: str) -> Section:
    law = found.law
    names = list(found.prepared.contest.models)
    lines = [
        "",
        f"what {law.router} buys at each budget ({cost}), on texts that judge",
        f"{'budget':>14}{'models':>8}{'routed':>10}{'oracle':>10}"
        f"{'closed gap':>28}",
    ]
    shown = np.unique(
        np.linspace(0, len(law.masks) - 1, 10).round().astype(int)
    )
    for f in shown:
        e = law.evaluations[f]
        lines.append(
            f"{law.costs[f]:14,.6g}{law.masks[f].sum():8d}{e.routed.value:10.4f}"
            f"{e.oracle.value:10.4f}{_percent(law.closed_gaps[f]):>28}"
        )
    for line, (title, _) in router_figures.LINES.items():
        if line in law.laws:
            fit = law.laws[line]
            lines.append(
                f"law of {title}: alpha {fit.alpha:.4f}, L_inf "
                f"{fit.L_inf:.4f}, {fit.num_points} points"
            )
        elif line in law.reasons:
            lines.append(f"law of {title}: not fitted: {law.reasons[line]}")
    if np.isnan(law.floor_share):
        lines.append(
            "the points leave open which share of the floors' gap "
            f"{law.router} closes"
        )
    else:
        lines.append(
            f"{law.router} closes {law.floor_share:.1%} of the gap between the "
            "floors of single models and oracle"
        )
    return Section(
        {
            "router_law": {
                "router": law.router,
                "cost": cost,
                "floor_share": result.fitted(law.floor_share),
                "laws": {
                    line: result.law_numbers(fit)
                    for line, fit in law.laws.items()
                },
                "not_fitted": law.reasons,
                "points": [
                    {
                        "cost": law.costs[f],
                        "models": subset,
                        "routed": e.routed._asdict(),
                        "oracle": e.oracle._asdict(),
                        "closed_gap": law.closed_gaps[f]._asdict(),
                    }
                    for f, (subset, e) in enumerate(
                        zip(
                            labels.subsets(law.masks, names),
                            law.evaluations,
                            strict=True,
                        )
                    )
                ],
            }
        },
        figures={
            "router_law": functools.partial(
                router_figures.laws,
                law,
                cost_label=labels.cost_label(cost),
                loss_label=labels.loss_label(unit),
            )
        },
        sentences=lines,
    )


def _cold_section(found: RouterStudy) -> Section:
    cold = found.cold
    lines = [
        "",
        f"{cold.model} is new to {cold.router}; routed loss without it: "
        f"{cold.without.routed.value:.4f}",
        f"{'texts scored':>14}{'routed':>10}{'closed gap':>28}"
        f"{'share it gets':>15}",
    ]
    new = list(found.prepared.contest.models).index(cold.model)
    for number, e in zip(cold.num_texts, cold.evaluations, strict=True):
        lines.append(
            f"{number:14,d}{e.routed.value:10.4f}{_percent(e.closed_gap):>28}"
            f"{e.shares[new]:15.1%}"
        )
    return Section(
        {
            "cold_start": {
                "router": cold.router,
                "model": cold.model,
                "without": evaluation_numbers(cold.without),
                "steps": [
                    {"num_texts": number, **evaluation_numbers(e)}
                    for number, e in zip(
                        cold.num_texts, cold.evaluations, strict=True
                    )
                ],
            }
        },
        sentences=lines,
    )


def _percent(estimate: Estimate, with_interval: bool = True) -> str:
    if np.isnan(estimate.value):
        return "no gap"
    shown = f"{100 * estimate.value:.1f}%"
    if with_interval and estimate.has_interval:
        shown += f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return shown
