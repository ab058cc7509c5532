"""What a referee asks of laws, as sections."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax import law
from mmc_jax.realizable import RouterStudy
from mmc_jax.referee import RefereeStudy
from mmc_jax.report import labels
from mmc_jax.report.answer import answer_section
from mmc_jax.report.checklist import Item, checklist_section
from mmc_jax.report.result import fitted, interval_numbers, law_numbers
from mmc_jax.report.sections import Section, chapter

_PARAMETERS = ("A", "alpha", "L_inf")
# Models of which a line is printed.
_MOST_MODELS = 10


def referee_sections(
    found: RefereeStudy,
    *,
    routers: RouterStudy | Mapping[str, Any] | None = None,
) -> list[Section]:
    """Returns what referees ask of laws, the answer in three sentences first.

    What the table does not know has no section.

    Args:
      found: What `referee.referee_study` returns.
      routers: What `realizable.router_study` returns; or "routers" of a
        result.json of compare_systems; None where no router was measured.
    """
    sections = [
        answer_section(found.answer, unit=found.loss_unit, routers=routers),
        extrapolation_section(found.extrapolation),
    ]
    # One counting alone is what the laws themselves say.
    if len(found.countings) > 1:
        sections.append(
            countings_section(found.countings, found.unknown_countings)
        )
    if found.tokens is not None:
        sections.append(tokens_section(found.tokens, cost=found.cost))
    elif "tokens" in found.reasons:
        why = found.reasons["tokens"]
        sections.append(
            Section(
                {"training_tokens": {"not_fitted": why}},
                sentences=["", f"no law of training tokens: {why}"],
            )
        )
    if found.ages is not None:
        sections.append(ages_section(found.ages))
    return sections


def referee_chapters(
    found: RefereeStudy,
    items: Sequence[Item],
    *,
    routers: RouterStudy | Mapping[str, Any] | None = None,
) -> list[Section]:
    """Returns the chapters of a page: the answer, sensitivities, the checklist.

    Args:
      found: What `referee.referee_study` returns.
      items: What `referee_items` returns.
      routers: What `realizable.router_study` returns; or "routers" of a
        result.json of compare_systems; None where no router was measured.
    """
    answer, *others = referee_sections(found, routers=routers)
    return [answer, chapter("sensitivity", others), checklist_section(items)]


def countings_section(
    found: Mapping[str, law.CountedLaws], reasons: Mapping[str, str]
) -> Section:
    """Returns how the laws depend on how parameters are counted.

    Args:
      found: Laws by the name of the counting, from `law.laws_by_counting`.
      reasons: Reason why a counting is missing, by its name.
    """
    lines = [
        "",
        f"{'parameters counted as':<44}{'alpha':>24}{'L_inf':>24}",
    ]
    for name, counted in found.items():
        shown = labels.cost_label(name).lower()
        if counted.same_as is not None:
            same = labels.cost_label(counted.same_as).lower()
            lines.append(f"{shown}: the same numbers as {same}")
            continue
        for group, one in counted.laws.items():
            cells = "".join(
                f"{one.interval(parameter).text('.4g', '.3g'):>24}"
                for parameter in ("alpha", "L_inf")
            )
            lines.append(f"{shown + ', ' + group:<44}{cells}")
        lines += [
            f"{shown}, {group}: no law: {why}"
            for group, why in counted.reasons.items()
        ]
        if counted.floor_gap is not None:
            lines.append(
                f"{shown}: the pool's floor is lower by "
                f"{counted.floor_gap.text('.3g', '.3g')} percent"
            )
    lines += [
        f"{labels.cost_label(name).lower()}: {why}"
        for name, why in reasons.items()
    ]
    numbers: dict[str, Any] = {
        name: {
            "same_as": counted.same_as,
            "laws": {
                group: {
                    **law_numbers(one.fit),
                    "intervals": {
                        parameter: interval_numbers(one.interval(parameter))
                        for parameter in _PARAMETERS
                    },
                }
                for group, one in counted.laws.items()
            },
            "not_fitted": counted.reasons,
            "floor_gap_percent": fitted(counted.floor_gap),
        }
        for name, counted in found.items()
    }
    return Section(
        {"countings": numbers, "countings_not_known": dict(reasons)},
        sentences=lines,
    )


def extrapolation_section(
    errors: Mapping[
        str,
        tuple[Mapping[float, law.ExtrapolationError], Mapping[float, str]],
    ],
) -> Section:
    """Returns how well laws of small budgets predict larger ones.

    Args:
      errors: What `law.extrapolation_errors` returns, by the name of the law.
    """
    lines = [
        "",
        "mean absolute relative error beyond the budgets of the fit (of a "
        "constant, the least loss of the fit)",
        f"{'law':<17}{'fitted up to':>14}{'points':>8}{'predicted':>11}"
        f"{'error':>9}{'constant':>10}{'at the largest':>16}",
    ]
    numbers: dict[str, Any] = {}
    for name, (found, reasons) in errors.items():
        numbers[name] = {
            "errors": [
                {
                    **fitted(error.law),
                    "constant_mean_error": fitted(error.constant_error),
                }
                for error in found.values()
            ],
            "not_fitted": [
                {"share": share, "reason": why}
                for share, why in reasons.items()
            ],
        }
        for share, error in found.items():
            one = error.law
            lines.append(
                f"{name:<17}{f'1/{1 / share:g}':>14}{one.num_fitted:8d}"
                f"{one.num_predicted:11d}{one.mean_error:9.2%}"
                f"{error.constant_error:10.2%}{one.last_error:+16.2%}"
            )
        lines += [
            f"{name:<17}{f'1/{1 / share:g}':>14}  {why}"
            for share, why in reasons.items()
        ]
    return Section({"extrapolation": numbers}, sentences=lines)


def tokens_section(found: law.TokensLaw, *, cost: str) -> Section:
    """Returns the law of single models in parameters and training tokens.

    Args:
      found: What `law.tokens_law` returns.
      cost: Name of the cost that is N.
    """
    fit = found.fit
    shown = labels.cost_label(cost).lower()
    lines = [
        "",
        f"single models, N {shown}, D training tokens: L(N, D) = E + A / "
        "N^alpha + B / D^beta",
        ", ".join(
            f"{name} {estimate.text('.4g', '.3g')}"
            for name, estimate in found.intervals.items()
        )
        + f"; {fit.num_points} models, R^2 {fit.r_squared:.4f}"
        + ("" if fit.converged else " (the fit did not converge)"),
    ]
    if found.of_parameters is not None:
        alone = found.of_parameters
        lines.append(
            f"without D: alpha {alone.parameters['alpha']:.4g}, L_inf "
            f"{alone.parameters['L_inf']:.4g}, R^2 {alone.r_squared:.4f}; "
            + _better(found)
        )
    if found.left_out:
        lines.append(
            "training tokens not known, left out: "
            + ", ".join(map(labels.shown, found.left_out))
        )
    return Section(
        {
            "training_tokens": {
                "cost": cost,
                "models": found.models,
                "left_out": found.left_out,
                "N": found.N,
                "D": found.D,
                "losses": found.losses,
                "law": _form_numbers(fit),
                "intervals": {
                    name: interval_numbers(estimate)
                    for name, estimate in found.intervals.items()
                },
                "law_of_parameters": None
                if found.of_parameters is None
                else _form_numbers(found.of_parameters),
                "aicc": fitted(found.aicc),
                "aicc_of_parameters": fitted(found.aicc_of_parameters),
            }
        },
        sentences=lines,
    )


def ages_section(found: law.Ages) -> Section:
    """Returns the laws by the age of texts, and what models may have seen.

    Args:
      found: What `law.laws_by_age` returns.
    """
    lines = [
        "",
        f"{found.num_dated:,} texts have a date, {found.num_undated:,} have "
        "none and do not count here",
        f"{'texts':<30}{'first day':>12}{'last day':>12}{'number':>9}"
        f"{'best one':>10}{'all':>9}{'floor, one':>12}{'floor, pool':>13}",
    ]
    for period in found.periods:
        floors = [
            f"{period.laws[name].L_inf:.4f}" if name in period.laws else "-"
            for name in ("single models", "pool")
        ]
        lines.append(
            f"{period.name:<30}{period.first.isoformat():>12}"
            f"{period.last.isoformat():>12}{period.num_texts:9,d}"
            f"{period.best_loss:10.4f}{period.all_models:9.4f}"
            f"{floors[0]:>12}{floors[1]:>13}"
        )
    lines += [
        f"{period.name}, {name}: no law: {why}"
        for period in found.periods
        for name, why in period.reasons.items()
    ]
    if found.models:
        shown = sorted(
            found.models, key=lambda one: -np.nan_to_num(one.worse_after.value)
        )[:_MOST_MODELS]
        lines.append(
            "how much more a model loses, beside the mean of all models, on "
            "texts from after its release than on those from before "
            f"({len(shown)} of {len(found.models)}; one interval in twenty "
            "leaves out 0 by chance):"
        )
        lines += [
            f"  {labels.shown(one.model)} ({one.release.isoformat()}): "
            f"{one.worse_after.text('.4f', '.4f')}, {one.num_before:,} texts "
            f"before and {one.num_after:,} after"
            for one in shown
        ]
    lines += _caveats(found)
    return Section(
        {
            "ages": {
                "num_dated": found.num_dated,
                "num_undated": found.num_undated,
                "undated_models": found.undated_models,
                "last_release": None
                if found.last_release is None
                else found.last_release.isoformat(),
                "periods": [_period_numbers(one) for one in found.periods],
                "models": [
                    {
                        **one._asdict(),
                        "release": one.release.isoformat(),
                        "worse_after": fitted(one.worse_after),
                    }
                    for one in found.models
                ],
            }
        },
        sentences=lines,
    )


def _caveats(found: law.Ages) -> list[str]:
    lines = []
    if found.last_release is None:
        lines.append(
            "no model has a release_date: which texts it may have seen is not "
            "known"
        )
    elif not any(one.name == law.AFTER_ALL for one in found.periods):
        lines.append(
            "no text is from after the last release "
            f"({found.last_release.isoformat()}): each may have been in the "
            "training of some model"
        )
    else:
        lines.append(
            "a text from after a release was not in that model's training; an "
            "older one may have been. Texts of other times also differ in "
            "kind, so a difference alone proves nothing."
        )
    if found.undated_models and found.last_release is not None:
        lines.append(
            "release_date not known, may have seen all texts: "
            + ", ".join(map(labels.shown, found.undated_models))
        )
    return lines


def _period_numbers(period: law.Period) -> dict[str, Any]:
    return {
        **period._asdict(),
        "first": period.first.isoformat(),
        "last": period.last.isoformat(),
        "laws": {name: law_numbers(fit) for name, fit in period.laws.items()},
    }


def _form_numbers(fit: law.FormFit) -> dict[str, Any]:
    return {
        "parameters": fitted(fit.parameters),
        "objective": fitted(fit.objective),
        "converged": fit.converged,
        "r_squared": fitted(fit.r_squared),
        "num_points": fit.num_points,
    }


def _better(found: law.TokensLaw) -> str:
    """Returns which law AICc prefers."""
    if found.aicc is None or found.aicc_of_parameters is None:
        return "too few models to say which law is better"
    with_d = found.aicc < found.aicc_of_parameters
    return (
        f"AICc {found.aicc:.1f} with D, {found.aicc_of_parameters:.1f} "
        f"without: training tokens {'add' if with_d else 'do not add'} to "
        "the description"
    )
