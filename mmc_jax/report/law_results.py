"""Laws as result folders: numbers, figures, and a table in words."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax import law
from mmc_jax.report import law_figures, result
from mmc_jax.report.fits import Chain, GroupLaw

_PARAMETERS = ("A", "alpha", "L_inf")

# A gain below this is the rounding of a mean.
_NO_GAIN_PERCENT = 1e-10


def write_laws(
    laws: Mapping[str, GroupLaw],
    reasons: Mapping[str, str],
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    chain: Chain | None = None,
    budgets: Sequence[float] = (),
    losses: Sequence[float] = (),
) -> str:
    """Writes laws as a result folder and returns what they say in words.

    Args:
      laws: As `laws_of_points` or `laws_of_table` returns them.
      reasons: Why a group has no law, by name.
      out: The result folder.
      flags: What the program was called with.
      chain: Of a score table's pool.
      budgets: At which the loss is asked for.
      losses: For which the budget is asked for.
    """
    groups = {name: (found.costs, found.losses) for name, found in laws.items()}
    shared = law.compare_groups(groups) if len(laws) > 1 else []
    answers = _answers(laws, budgets, losses)
    numbers = {
        "laws": {
            **{name: _group_numbers(found) for name, found in laws.items()},
            **{name: {"not_fitted": why} for name, why in reasons.items()},
        },
        "shared_parameters": [answer._asdict() for answer in shared],
        "answers": answers,
    }
    if chain is not None:
        numbers["chain"] = _chain_numbers(chain)
    figures = {}
    if laws:
        figures = {
            "laws": law_figures.points_and_laws(laws),
            "residuals": law_figures.residuals(laws),
            "profiles": law_figures.profiles(laws),
            "forms": law_figures.forms(laws),
        }
    path = result.write_result(
        out, result.plain(numbers), flags=flags, figures=figures
    )
    return "\n".join(
        [
            *_table(laws, reasons),
            *_statements(laws),
            *_variants(laws),
            *_forms(laws),
            *(_chain(chain, laws.get("pool")) if chain else []),
            *_shared(shared),
            *_answers_in_words(answers),
            "",
            f"numbers: {path}",
        ]
    )


def drawn_interval(
    found: GroupLaw, answer: Callable[[law.Fits], np.ndarray]
) -> law.Interval | None:
    """Returns the interval of an answer over the resampled laws.

    None where fewer than half of the resamples have a law.
    """
    usable = law.usable(found.draws)
    if usable.mean() < 0.5:
        return None
    return law.interval(np.asarray(answer(found.draws))[usable])


def _group_numbers(found: GroupLaw) -> dict[str, Any]:
    return {
        **result.law_numbers(found.fit),
        "least_squares": result.law_numbers(found.least_squares),
        "intervals_of_resampled_" + found.drawn: {
            name: drawn_interval(found, lambda draws, n=name: getattr(draws, n))
            for name in _PARAMETERS
        },
        "share_of_resamples_with_a_law": law.usable(found.draws).mean(),
        "profiles": {
            name: {
                "least_squares_estimate": profile.estimate,
                "low": profile.low,
                "high": profile.high,
                "identified": profile.identified,
                "statement": law.statement(profile, found.losses.min()),
            }
            for name, profile in found.profiles.items()
        },
        "least_loss": found.losses.min(),
        "num_rises": found.num_rises,
        "variants": {
            name: result.law_numbers(fit)
            for name, fit in found.variants.items()
        },
        "forms": {
            name: {
                **score._asdict(),
                "extrapolations": [e._asdict() for e in score.extrapolations],
            }
            for name, score in found.forms.items()
        },
        "not_fitted": found.reasons,
    }


def _answers(
    laws: Mapping[str, GroupLaw],
    budgets: Sequence[float],
    losses: Sequence[float],
) -> dict[str, Any]:
    """Returns the answers of each law, and of each pair with the first."""
    answers: dict[str, Any] = {}
    for name, found in laws.items():
        answers[name] = {
            "loss_at_budget": [
                _answer(found, lambda f, b=b: law.loss(f, b), budget=b)
                for b in (*budgets, found.costs.max())
            ],
            "budget_for_loss": [
                _answer(found, lambda f, x=x: law.budget_for(f, x), loss=x)
                for x in losses
            ],
        }
    names = list(laws)
    for name in names[1:]:
        first, other = laws[names[0]], laws[name]
        answers[f"{name} against {names[0]}"] = {
            "times_fewer_at_equal_loss": [
                _pair(
                    first,
                    other,
                    lambda s, p, x=x: law.budget_ratio(s, p, x),
                    loss=float(x),
                )
                for x in (*losses, first.losses.min())
            ],
            "floor_gap_percent": _pair(first, other, law.floor_gap_percent),
        }
    return answers


def _answer(found: GroupLaw, answer: Callable, **asked: float) -> dict:
    return {
        **asked,
        "value": float(answer(found.center)),
        "interval": drawn_interval(found, answer),
    }


def _pair(
    first: GroupLaw, other: GroupLaw, answer: Callable, **asked: float
) -> dict:
    """Returns an answer of two laws; the same resample of both is a pair."""
    found = {**asked, "value": float(answer(first.center, other.center))}
    usable = law.usable(first.draws, other.draws)
    values = answer(first.draws, other.draws)[usable]
    enough = usable.mean() >= 0.5 and not np.isnan(values).any()
    return {**found, "interval": law.interval(values) if enough else None}


def _chain_numbers(chain: Chain) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "best_model": chain.best_model,
        "loss_of_best_model": chain.best_loss,
        "loss_of_all_models": chain.all_models,
        "gain_percent": _gain_percent(chain),
        "not_fitted": chain.reasons,
    }
    if chain.full is not None:
        usable = law.usable(chain.full.laws)
        numbers["full_bootstrap"] = {
            "num_resamples": len(usable),
            "share_with_a_law": usable.mean(),
            **{
                name: law.interval(getattr(chain.full.laws, name)[usable])
                for name in _PARAMETERS
                if usable.any()
            },
            "loss_of_all_models": law.interval(chain.full.all_models),
        }
    for name, found in (("model", chain.models), ("family", chain.families)):
        if found is not None:
            numbers[f"without_one_{name}"] = {
                "laws": {
                    label: {
                        parameter: getattr(found.laws, parameter)[i]
                        for parameter in _PARAMETERS
                    }
                    for i, label in enumerate(found.labels)
                },
                "standard_error": {
                    parameter: law.standard_error(
                        getattr(found.laws, parameter)
                    )
                    for parameter in ("alpha", "L_inf")
                },
                "not_fitted": found.not_fitted,
            }
    if chain.held_out is not None:
        numbers["held_out"] = {
            "in_sample": result.law_numbers(chain.held_out.in_sample_law),
            "held_out": result.law_numbers(chain.held_out.held_out_law),
            "costs": chain.held_out.costs,
            "in_sample_losses": chain.held_out.in_sample,
            "held_out_losses": chain.held_out.held_out,
        }
    return numbers


def _table(
    laws: Mapping[str, GroupLaw], reasons: Mapping[str, str]
) -> list[str]:
    """Returns Table 1 of the paper, with intervals and least squares beside."""
    lines = [f"{'':<17}{'A':>27}{'alpha':>25}{'L_inf':>25}{'R^2':>8}{'n':>6}"]
    for name, found in laws.items():
        for title, fit, interval in (
            (name, found.fit, _interval_of_texts),
            ("  least squares", found.least_squares, _interval_of_points),
        ):
            cells = ""
            for parameter, width in zip(_PARAMETERS, (27, 25, 25), strict=True):
                cells += _with_interval(
                    getattr(fit, parameter), interval(found, parameter)
                ).rjust(width)
            lines.append(
                f"{title:<17}{cells}{fit.r_squared:8.4f}{fit.num_points:6d}"
                + ("" if fit.converged else "  did not converge")
            )
    lines += [f"{name}: no law: {reason}" for name, reason in reasons.items()]
    if not laws:
        return lines
    if any(found.drawn == "texts" for found in laws.values()):
        lines.append("95 percent intervals: of resampled texts,")
    return [
        *lines,
        "95 percent intervals of least squares: profile likelihood; of points "
        "taken as independent,\nwhich those of a frontier are not",
    ]


def _interval_of_texts(found: GroupLaw, parameter: str) -> law.Interval | None:
    if found.drawn != "texts":
        return None
    return drawn_interval(found, lambda draws: getattr(draws, parameter))


def _interval_of_points(found: GroupLaw, parameter: str) -> law.Interval | None:
    if parameter in found.profiles:
        profile = found.profiles[parameter]
        return law.Interval(profile.low, profile.high, profile.level)
    if found.drawn != "points":
        return None
    return drawn_interval(found, lambda draws: getattr(draws, parameter))


def _with_interval(value: float, interval: law.Interval | None) -> str:
    if interval is None:
        return f"{value:.4g}"
    return f"{value:.4g} [{interval.low:.3g}, {interval.high:.3g}]"


def _statements(laws: Mapping[str, GroupLaw]) -> list[str]:
    lines = []
    for name, found in laws.items():
        lines += ["", f"{name}:"]
        for profile in found.profiles.values():
            lines.append(f"  {law.statement(profile, found.losses.min())}")
        outside = [
            name
            for name, profile in found.profiles.items()
            if not profile.low <= getattr(found.fit, name) <= profile.high
        ]
        if outside:
            lines.append(
                f"  {' and '.join(outside)} of the Huber fit lie outside: the "
                "points do not scatter at random about one law (see the "
                "residuals)."
            )
        lines.append(
            f"  The least loss of the points is {found.losses.min():.4f}, the "
            f"floor {found.fit.L_inf:.4f}."
        )
        if found.num_rises:
            lines.append(
                f"  {found.num_rises} of {len(found.losses) - 1} times a "
                "dearer point loses more: no frontier, and a law of falling "
                "losses describes it badly."
            )
        share = law.usable(found.draws).mean()
        if share < 1:
            lines.append(
                f"  {1 - share:.1%} of the resamples have no falling law, or "
                "did not converge; they are not in the intervals."
            )
    return lines


def _variants(laws: Mapping[str, GroupLaw]) -> list[str]:
    rows = ["", f"{'the same points':<44}{'alpha':>9}{'L_inf':>9}{'n':>6}"]
    for name, found in laws.items():
        for way, fit in found.variants.items():
            rows.append(
                f"{name + ', ' + way:<44}{fit.alpha:9.4f}{fit.L_inf:9.4f}"
                f"{fit.num_points:6d}"
            )
        rows += [
            f"{name + ', ' + way:<44}no law: {found.reasons[way]}"
            for way in found.reasons
            if way not in law.FORMS
        ]
    return rows if laws else []


def _forms(laws: Mapping[str, GroupLaw]) -> list[str]:
    """Returns how each form describes, and what it predicts beyond its data."""
    if not laws:
        return []
    lines = []
    for name, found in laws.items():
        title = "".join(f"{f'up to 1/{1 / s:g}':>13}" for s in law.SHARES)
        lines += [
            "",
            f"{name}: mean error of the losses beyond a share of the largest "
            "budget",
            f"{'form':<26}{'AICc':>9}{'BIC':>9}{title}",
        ]
        for score in found.forms.values():
            errors = {e.share: e.mean_error for e in score.extrapolations}
            aicc = "-" if score.aicc is None else f"{score.aicc:.1f}"
            lines.append(
                f"{score.form.replace('_', ' '):<26}{aicc:>9}{score.bic:9.1f}"
                + "".join(
                    f"{errors[s]:13.2%}" if s in errors else f"{'-':>13}"
                    for s in law.SHARES
                )
                + ("" if score.converged else "  did not converge")
            )
        lines += [
            f"{form.replace('_', ' '):<26}not fitted: {found.reasons[form]}"
            for form in found.reasons
            if form in law.FORMS
        ]
    return lines


def _gain_percent(chain: Chain) -> float:
    """Returns by how much an ideal choice among all models beats the best."""
    return 100 * (1 - chain.all_models / chain.best_loss)


def _chain(chain: Chain, pool: GroupLaw | None) -> list[str]:
    gain = _gain_percent(chain)
    lines = [
        "",
        f"All models together lose {chain.all_models:.4f}, the best alone "
        f"({chain.best_model}) {chain.best_loss:.4f}: "
        + (
            f"an ideal choice for each text gains {gain:.3g} percent."
            if gain >= _NO_GAIN_PERCENT
            else "a pool of all gains nothing, one model wins every text."
        ),
    ]
    if pool is None:
        return lines
    lines += ["", f"{'the law of the pool':<44}{'alpha':>9}{'L_inf':>9}"]

    def row(name, alpha, floor):
        lines.append(f"{name:<44}{alpha:9.4f}{floor:9.4f}")

    row("as it is", pool.fit.alpha, pool.fit.L_inf)
    if chain.full is not None and law.usable(chain.full.laws).any():
        usable = law.usable(chain.full.laws)
        for end, name in enumerate(("low", "high")):
            row(
                f"{usable.sum()} frontiers traced anew, {name} end",
                law.interval(chain.full.laws.alpha[usable])[end],
                law.interval(chain.full.laws.L_inf[usable])[end],
            )
    for name, found in (("model", chain.models), ("family", chain.families)):
        if found is not None:
            row(
                f"without one {name}: standard error",
                law.standard_error(found.laws.alpha),
                law.standard_error(found.laws.L_inf),
            )
            most = int(np.abs(found.laws.L_inf - pool.fit.L_inf).argmax())
            row(
                f"without {found.labels[most]}",
                found.laws.alpha[most],
                found.laws.L_inf[most],
            )
    if chain.held_out is not None:
        for name, fit in (
            ("half of the texts, which chose the subsets",
             chain.held_out.in_sample_law),
            ("the other half, the same subsets",
             chain.held_out.held_out_law),
        ):  # fmt: skip
            row(name, fit.alpha, fit.L_inf)
    lines += [f"{name}: {reason}" for name, reason in chain.reasons.items()]
    return lines


def _shared(shared: Sequence[law.SharedFit]) -> list[str]:
    lines = []
    for answer in shared:
        names = ", ".join(answer.shared)
        says = "may" if answer.p_value >= 0.05 else "do not"
        lines.append(
            f"the groups {says} share {names} (F {answer.F:.3g}, p "
            f"{answer.p_value:.3g} for independent points)"
        )
    return ["", *lines] if lines else []


def _answers_in_words(answers: Mapping[str, Any]) -> list[str]:
    lines = [""] if answers else []
    for name, found in answers.items():
        for answer in found.get("loss_at_budget", ()):
            lines.append(
                f"{name}: loss at {answer['budget']:.4g}: "
                + _with_interval(answer["value"], answer["interval"])
            )
        for answer in found.get("budget_for_loss", ()):
            lines.append(
                f"{name}: budget for a loss of {answer['loss']:.4g}: "
                + _with_interval(answer["value"], answer["interval"])
            )
        for answer in found.get("times_fewer_at_equal_loss", ()):
            lines.append(
                f"{name}: spends this many times less at a loss of "
                f"{answer['loss']:.4g}: "
                + _with_interval(answer["value"], answer["interval"])
            )
        if "floor_gap_percent" in found:
            gap = found["floor_gap_percent"]
            lines.append(
                f"{name}: floor lower by this many percent: "
                + _with_interval(gap["value"], gap["interval"])
            )
    return lines
