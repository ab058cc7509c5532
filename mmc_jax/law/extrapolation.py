"""How far a law is off beyond the budgets that it was fitted to.

X points.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law.batches import Fits, fit_batch, usable
from mmc_jax.law.evaluation import loss
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.points import checked_points
from mmc_jax.law.selection import SHARES, Extrapolation
from mmc_jax.statistics import attempt


class ExtrapolationError(NamedTuple):
    """The error of a law beyond its budgets, beside that of a constant.

    Attributes:
      law: What the law predicts; `law.mean_error` is the mean absolute
        relative error.
      constant_error: Mean absolute relative error of predicting the least loss
        of the fitted points everywhere.
    """

    law: Extrapolation
    constant_error: float


def extrapolation_errors(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> tuple[dict[float, ExtrapolationError], dict[float, str]]:
    """Returns how well the law of small budgets predicts larger ones.

    ARE(x) = |L(P_x) - L_x| / L_x, the mean over the points x beyond the fit

    A law that predicts no better than a constant has learned nothing from the
    budgets.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point, above 0, [X].
      shares: Shares of the largest budget up to which is fitted and above
        which is predicted.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.

    Returns:
      The errors by share; and by share why there is none: too few points
      below, or no falling law.

    Source: Choshen, Zhang and Andreas 2024, A Hitchhiker's Guide to Scaling Law
    Estimation (arXiv 2410.11840), which judges laws by this error.

    >>> P = np.geomspace(1e6, 1e10, 9)
    >>> found, _ = extrapolation_errors(P, 40 * P**-0.25 + 1.5, shares=[0.1])
    >>> f"{found[0.1].law.mean_error:.4f} {found[0.1].constant_error:.4f}"
    '0.0000 0.0471'
    """
    P = np.asarray(costs, np.float64)
    L = np.asarray(losses, np.float64)
    inside = {share: share * P.max() >= P for share in shares}
    checked, reasons = attempt(
        {
            share: functools.partial(
                checked_points, FORMS["power_law"], P, L, below.astype(float)
            )
            for share, below in inside.items()
        }
    )
    if not checked:
        return {}, reasons
    # One compiled call, of one shape for all shares.
    rows = [inside[share] for share in checked]
    laws = fit_batch(
        P,
        np.tile(L, (len(rows), 1)),
        np.array(rows, float),
        delta=delta,
        num_starts=num_starts,
    )
    found = {}
    for row, (share, below) in enumerate(zip(checked, rows, strict=True)):
        if not usable(laws)[row]:
            reasons[share] = "no falling law was found below this budget."
            continue
        errors = loss(_law_of(laws, row), P) / L - 1
        constant = L[below].min() / L[~below] - 1
        found[share] = ExtrapolationError(
            Extrapolation(
                share=share,
                num_fitted=int(below.sum()),
                num_predicted=int((~below).sum()),
                mean_error=float(np.abs(errors[~below]).mean()),
                last_error=float(errors[P.argmax()]),
            ),
            float(np.abs(constant).mean()),
        )
    return found, reasons


def _law_of(laws: Fits, row: int) -> Fits:
    """Returns one of R laws, its parameters as numbers."""
    return Fits(
        *(field if field is laws.scale else field[row] for field in laws)
    )
