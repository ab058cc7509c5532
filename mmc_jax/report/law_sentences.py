"""What laws say, as lines for the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmc_jax import law
from mmc_jax.statistics import Estimate

_PARAMETERS = ("A", "alpha", "L_inf")
_WIDTHS = (27, 25, 25)

# A gain below this is the rounding of a mean.
_NO_GAIN_PERCENT = 1e-10

# What an answer gives, before its number.
_QUESTIONS = {
    "loss_at_budget": "loss at {:.4g}",
    "budget_for_loss": "budget for a loss of {:.4g}",
    "times_fewer_at_equal_loss": (
        "spends this many times less at a loss of {:.4g}"
    ),
    "floor_gap_percent": "floor lower by this many percent",
}


def table(
    laws: Mapping[str, law.GroupLaw], reasons: Mapping[str, str]
) -> list[str]:
    """Returns Table 1 of the paper, with intervals and least squares.

    Args:
      laws: Law of each group, by the name of the group.
      reasons: Reason why a group has no law, by the name of the group.
    """
    lines = [f"{'':<17}{'A':>27}{'alpha':>25}{'L_inf':>25}{'R^2':>8}{'n':>6}"]
    for name, found in laws.items():
        for title, fit, estimate in (
            (name, found.fit, _estimate_of_texts),
            ("  least squares", found.least_squares, _estimate_of_points),
        ):
            cells = "".join(
                _text(estimate(found, parameter)).rjust(width)
                for parameter, width in zip(_PARAMETERS, _WIDTHS, strict=True)
            )
            lines.append(
                f"{title:<17}{cells}{fit.r_squared:8.4f}{fit.num_points:6d}"
                + ("" if fit.converged else "  did not converge")
            )
    lines += [f"{name}: no law: {reason}" for name, reason in reasons.items()]
    if not laws:
        return lines
    if any(found.resampled_unit == "texts" for found in laws.values()):
        lines.append("95 percent intervals: of resampled texts,")
    return [
        *lines,
        "95 percent intervals of least squares: profile likelihood; of points "
        "taken as independent,",
        "which those of a frontier are not",
    ]


def statements(laws: Mapping[str, law.GroupLaw]) -> list[str]:
    """Returns what the points of each group say of its law.

    Args:
      laws: Law of each group, by the name of the group.
    """
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
        share = law.usable(found.resampled).mean()
        if share < 1:
            lines.append(
                f"  {1 - share:.1%} of the resamples have no falling law, or "
                "did not converge; they are not in the intervals."
            )
    return lines


def variants(laws: Mapping[str, law.GroupLaw]) -> list[str]:
    """Returns the laws of the same points looked at in other ways.

    Args:
      laws: Law of each group, by the name of the group.
    """
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


def forms(laws: Mapping[str, law.GroupLaw]) -> list[str]:
    """Returns how each form describes, and what it predicts beyond its data.

    Args:
      laws: Law of each group, by the name of the group.
    """
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


def gain_percent(pool: law.PoolSensitivity) -> float:
    """Returns by how much an ideal choice among all models beats the best.

    Args:
      pool: Losses of the best model and of all models together.
    """
    return 100 * (1 - pool.all_models / pool.best_loss)


def pool(
    found: law.PoolSensitivity, as_it_is: law.GroupLaw | None
) -> list[str]:
    """Returns how the law of the pool depends on its texts and models.

    Args:
      found: How it depends on them.
      as_it_is: Law of the pool; None where there is none.
    """
    gain = gain_percent(found)
    lines = [
        "",
        f"All models together lose {found.all_models:.4f}, the best alone "
        f"({found.best_model}) {found.best_loss:.4f}: "
        + (
            f"an ideal choice for each text gains {gain:.3g} percent."
            if gain >= _NO_GAIN_PERCENT
            else "a pool of all gains nothing, one model wins every text."
        ),
    ]
    if as_it_is is None:
        return lines
    lines += ["", f"{'the law of the pool':<44}{'alpha':>9}{'L_inf':>9}"]
    lines += [
        f"{name:<44}{alpha:9.4f}{floor:9.4f}"
        for name, alpha, floor in _pool_rows(found, as_it_is)
    ]
    return lines + [f"{name}: {why}" for name, why in found.reasons.items()]


def shared(answers: Sequence[law.SharedFit]) -> list[str]:
    """Returns whether groups may share parameters.

    Args:
      answers: Answer to each question.
    """
    lines = []
    for answer in answers:
        names = ", ".join(answer.shared)
        says = "may" if answer.p_value >= 0.05 else "do not"
        lines.append(
            f"the groups {says} share {names} (F {answer.F:.3g}, p "
            f"{answer.p_value:.3g} for independent points)"
        )
    return ["", *lines] if lines else []


def answers(found: Sequence[law.Answer]) -> list[str]:
    """Returns what laws answer, a line each.

    Args:
      found: Answers of the laws.
    """
    lines = [
        f"{answer.subject}: {_QUESTIONS[answer.question].format(answer.at)}: "
        + _text(answer.estimate)
        for answer in found
    ]
    return ["", *lines] if lines else []


def _pool_rows(
    found: law.PoolSensitivity, as_it_is: law.GroupLaw
) -> list[tuple[str, float, float]]:
    """Returns the name, alpha and L_inf of each law of the pool."""
    rows = [("as it is", as_it_is.fit.alpha, as_it_is.fit.L_inf)]
    if found.full is not None and found.full.usable.any():
        intervals = found.full.interval("alpha"), found.full.interval("L_inf")
        for end in ("low", "high"):
            rows.append(
                (
                    f"{found.full.usable.sum()} frontiers traced anew, {end} "
                    "end",
                    *(getattr(interval, end) for interval in intervals),
                )
            )
    for name, without in (("model", found.models), ("family", found.families)):
        if without is None:
            continue
        laws = without.laws
        rows.append(
            (
                f"without one {name}: standard error",
                law.standard_error(laws.alpha),
                law.standard_error(laws.L_inf),
            )
        )
        most = int(np.abs(laws.L_inf - as_it_is.fit.L_inf).argmax())
        rows.append(
            (
                f"without {without.labels[most]}",
                laws.alpha[most],
                laws.L_inf[most],
            )
        )
    if found.held_out is not None:
        of_two = found.held_out.in_sample_law, found.held_out.held_out_law
        names = (
            "half of the texts, which chose the subsets",
            "the other half, the same subsets",
        )
        rows += [
            (name, fit.alpha, fit.L_inf)
            for name, fit in zip(names, of_two, strict=True)
        ]
    return rows


def _estimate_of_texts(found: law.GroupLaw, parameter: str) -> Estimate:
    if found.resampled_unit != "texts":
        return Estimate(getattr(found.fit, parameter))
    return found.resampled_fit.interval(parameter)


def _estimate_of_points(found: law.GroupLaw, parameter: str) -> Estimate:
    value = getattr(found.least_squares, parameter)
    if parameter in found.profiles:
        profile = found.profiles[parameter]
        return Estimate(value, profile.low, profile.high, profile.level)
    if found.resampled_unit != "points":
        return Estimate(value)
    return found.resampled_fit.interval(parameter)


def _text(estimate: Estimate) -> str:
    return estimate.text(".4g", ".3g")
