"""Which form describes the points, and which predicts beyond them.

X points, k parameters, T truncations.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import elementary, optima
from mmc_jax.law.batches import newton_ends
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import LEAST_SQUARES
from mmc_jax.law.points import checked_points
from mmc_jax.statistics import attempt

# The forms of one budget.
ONE_BUDGET = tuple(
    name for name, form in FORMS.items() if len(form.variables) == 1
)

# Shares of the largest budget below which is fitted and above which predicted.
SHARES = (1 / 2, 1 / 4, 1 / 8)

# Residuals of log L below this are rounding: no form is better than another.
_LEAST_RESIDUAL = 1e-9


class Extrapolation(NamedTuple):
    """What a form fitted below a budget predicts above it.

    Attributes:
      share: Share of the largest budget up to which points were fitted.
      num_fitted: Number of points up to there.
      num_predicted: Number of points above.
      mean_error: Mean of |predicted / measured - 1| over the points above.
      last_error: Value of predicted / measured - 1 at the largest budget.
    """

    share: float
    num_fitted: int
    num_predicted: int
    mean_error: float
    last_error: float


class FormScore(NamedTuple):
    """How well one form does.

    Attributes:
      form: Name of the form in FORMS.
      parameters: Value of each parameter by name, by least squares on log L,
        in the unit of the data.
      aicc: X log(S / X) + 2 K + 2 K (K + 1) / (X - K - 1), with S the sum of
        squares of the residuals of log L and K = k + 1, for their variance;
        None where X is not above K + 1. Lower is better.
      bic: X log(S / X) + K log X. Lower is better.
      r_squared: 1 minus the share of the squared residuals in the squares of
        log L about its mean.
      converged: Whether the fit met the tolerance on its gradient.
      extrapolations: What it predicts beyond each share of the largest budget
        below which there are enough points.
    """

    form: str
    parameters: dict[str, float]
    aicc: float | None
    bic: float
    r_squared: float
    converged: bool
    extrapolations: tuple[Extrapolation, ...]


def compare_forms(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    forms: Sequence[str] = ONE_BUDGET,
    shares: Sequence[float] = SHARES,
    num_starts: int = 64,
) -> tuple[dict[str, FormScore], dict[str, str]]:
    """Returns how well each form describes and predicts the points.

    AICc and BIC say how well a form describes the points for its number of
    parameters. The test that matters is to fit below a budget and to predict
    above it. All are fitted by least squares on log L, so that they have one
    likelihood.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point, above 0, [X].
      forms: Names of forms of one budget in FORMS.
      shares: Shares of the largest budget below which is fitted and above which
        is predicted.
      num_starts: Number of starts of each fit.

    Returns:
      How well each form does, by name; and why a form cannot be fitted, by
      name.

    Raises:
      ValueError: A name that is no form of one budget; no form can be fitted,
        with the reason of the first.

    Source: Burnham and Anderson 2002, Model Selection and Multimodel Inference,
    section 2.4; Alabdulmohsin et al. 2022 (arXiv 2209.06640) judge laws by
    extrapolation.

    >>> P = np.geomspace(1e6, 1e9, 12)
    >>> L = (40 * P**-0.25 + 1.5) * np.exp(0.001 * np.tile([1, -1], 6))
    >>> found, _ = compare_forms(P, L, forms=["power_law", "logarithmic"])
    >>> found["power_law"].aicc < found["logarithmic"].aicc
    True
    """
    for name in forms:
        if name not in ONE_BUDGET:
            raise ValueError(
                f"no form {name!r} of one budget; there are "
                f"{', '.join(ONE_BUDGET)}."
            )
    scores, reasons = attempt(
        {
            name: functools.partial(
                _score, name, costs, losses, shares, num_starts
            )
            for name in forms
        }
    )
    if not scores:
        raise ValueError(
            f"no form can be fitted: {next(iter(reasons.values()))}"
        )
    return scores, reasons


def information_criteria(
    squares: float, num_points: int, num_parameters: int
) -> tuple[float | None, float]:
    """Returns AICc and BIC of a least-squares fit; AICc may be None.

    With S the sum of squares, X points and K = k + 1: X log(S / X) + 2 K +
    2 K (K + 1) / (X - K - 1), None where X is not above K + 1; and
    X log(S / X) + K log X.

    Args:
      squares: Sum of the squares of the residuals, S.
      num_points: Number of points, X.
      num_parameters: Number of fitted parameters, k.

    >>> aicc, bic = information_criteria(0.5, 10, 3)
    >>> f"{aicc:.3f} {bic:.3f}"
    '-13.957 -20.747'
    """
    num_free = num_parameters + 1  # With the variance.
    mean_square = max(squares / num_points, _LEAST_RESIDUAL**2)
    fitted = num_points * math.log(mean_square)
    rest = num_points - num_free - 1
    aicc = None
    if rest > 0:
        aicc = fitted + 2 * num_free + 2 * num_free * (num_free + 1) / rest
    return aicc, fitted + num_free * math.log(num_points)


def _score(name, costs, losses, shares, num_starts) -> FormScore:
    form = FORMS[name]
    (P,), L, _ = checked_points(form, costs, losses, None)
    # All points, then those up to each share: weights of 1 and 0.
    used = np.array([P <= share * P.max() for share in (1, *shares)])
    left = [
        row
        for row, inside in enumerate(used)
        if inside.sum() > len(form.parameters)
        and len(np.unique(P[inside])) >= len(form.parameters)
    ]
    weights = used.astype(float)
    # A truncation with too few points is fitted with all points and left out
    # below: so all forms have one shape.
    weights[[row for row in range(len(used)) if row not in left]] = 1
    ends, (scale,) = newton_ends(
        name,
        (np.tile(P, (len(used), 1)),),
        np.tile(L, (len(used), 1)),
        weights,
        delta=LEAST_SQUARES,
        num_starts=num_starts,
    )
    predicted = [optima.predicted(form, (P / scale,), k) for k in ends.logs]
    log_L = elementary.log(L)
    objective = float(ends.objectives[0])
    if not optima.falls(objective, log_L, np.ones(len(L))):
        raise ValueError("losses do not fall with costs.")
    # The objective is half the sum of squares.
    aicc, bic = information_criteria(
        2 * objective, len(L), len(form.parameters)
    )
    return FormScore(
        form=name,
        parameters=optima.in_unit_of_data(
            form,
            dict(
                zip(form.parameters, elementary.exp(ends.logs[0]), strict=True)
            ),
            [scale],
        ),
        aicc=aicc,
        bic=bic,
        r_squared=1
        - 2 * objective / float(((log_L - log_L.mean()) ** 2).sum()),
        converged=bool(optima.converged(ends)[0]),
        extrapolations=tuple(
            _extrapolation(share, used[row], predicted[row] / L - 1, P)
            for row, share in enumerate(shares, start=1)
            if row in left
        ),
    )


def _extrapolation(share, inside, errors, P) -> Extrapolation:
    return Extrapolation(
        share=share,
        num_fitted=int(inside.sum()),
        num_predicted=int((~inside).sum()),
        mean_error=float(np.abs(errors[~inside]).mean()),
        last_error=float(errors[P.argmax()]),
    )
