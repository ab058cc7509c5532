"""The law's fits in a loop over SciPy's BFGS.

R sets of X points.
"""

import time
from typing import NamedTuple

import numpy as np
import scipy.optimize

from mmc_jax.law.forms import FORMS
from mmc_jax.law.starts import start_logs

# Where SciPy stops: the gradient of the objective in the unit that our
# optimizers use, so that both sides are as exact.
_PEER_GRADIENT_TOLERANCE = 1e-9


class PeerFit(NamedTuple):
    """The optima of SciPy.

    Attributes:
      parameters: A_at_scale, alpha and L_inf of the best start, [R, 3].
      objective: Objective of the best start of each set, [R].
      seconds: Time of all fits, in seconds.
    """

    parameters: np.ndarray
    objective: np.ndarray
    seconds: float


def peer_fits(
    costs: np.ndarray, losses: np.ndarray, num_starts: int, delta: float
) -> PeerFit:
    """Returns the fits of a loop over SciPy's BFGS.

    With exact derivatives, in NumPy, from the starts that `fit_batch` takes and
    with the objective in the same unit.

    Args:
      costs: Budget of each point, [X].
      losses: Loss of each point of each set, [R, X].
      num_starts: Number of starts of each fit.
      delta: Residual of log L at which the Huber loss turns linear.
    """
    p = costs / np.exp(np.log(costs).mean())
    log_p = np.log(p)
    unit = delta * len(p)

    def value_and_grad(logs, log_L):
        A, alpha, L_inf = np.exp(logs)
        powers = A * np.exp(-alpha * log_p)
        predicted = powers + L_inf
        residuals = np.log(predicted) - log_L
        size = np.abs(residuals)
        quadratic = np.minimum(size, delta)
        slope = np.clip(residuals, -delta, delta) / predicted
        by_A = slope * powers
        value = quadratic @ (size - quadratic / 2)
        return value / unit, np.array(
            [by_A.sum(), -alpha * (by_A @ log_p), L_inf * slope.sum()]
        ) / unit

    parameters, objectives = [], []
    begin = time.perf_counter()
    with np.errstate(all="ignore"):
        for row in losses:
            ends = [
                scipy.optimize.minimize(
                    value_and_grad,
                    start,
                    args=(np.log(row),),
                    jac=True,
                    method="BFGS",
                    options={
                        "gtol": _PEER_GRADIENT_TOLERANCE,
                        "maxiter": 1000,
                    },
                )
                for start in start_logs(
                    FORMS["power_law"], (p,), row, num_starts
                )
            ]
            best = min(ends, key=lambda end: end.fun)
            parameters.append(np.exp(best.x))
            objectives.append(best.fun * unit)
    seconds = time.perf_counter() - begin
    return PeerFit(np.array(parameters), np.array(objectives), seconds)
