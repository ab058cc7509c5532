"""A published law of two variables, fitted again to published points.

X points.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from mmc_jax.law.evaluation import objective
from mmc_jax.law.fitting import FormFit, fit_form
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.starts import start_logs

# Besiroglu et al. 2024 (arXiv 2404.10102), table 1: the refit of Hoffmann et
# al. 2022 on the points of its figure 4.
PUBLISHED = {
    "A": 482.01,
    "alpha": 0.3478,
    "B": 2085.43,
    "beta": 0.3658,
    "E": 1.8169,
}


class Refit(NamedTuple):
    """The two-variable law of the same points by three ways.

    Attributes:
      optimum: Best fit of the sum of Huber losses.
      published_objective: Objective of the published parameters on the points.
      mean_parameters: Parameters at which SciPy's BFGS stops that minimises the
        mean in place of the sum, by name.
      mean_objective: Objective of these parameters, as a sum.
      share_at_optimum: Share of the starts that end at the optimum.
    """

    optimum: FormFit
    published_objective: float
    mean_parameters: dict[str, float]
    mean_objective: float
    share_at_optimum: float


def refit(
    N: np.ndarray, D: np.ndarray, losses: np.ndarray, num_starts: int = 64
) -> Refit:
    """Returns the law L(N, D) of the points, beside the published one.

    Args:
      N: Number of parameters of each run, [X].
      D: Number of training tokens of each run, [X].
      losses: Loss of each run, [X].
      num_starts: Number of starts of each fit.

    Raises:
      ValueError: Points that `fit_form` would refuse.

    Source: Besiroglu et al. 2024 (arXiv 2404.10102).
    """
    found = fit_form("two_variable", (N, D), losses, num_starts=num_starts)
    mean_parameters, mean_objective = fit_of_mean(N, D, losses, num_starts)
    return Refit(
        optimum=found,
        published_objective=objective(
            "two_variable", PUBLISHED, (N, D), losses
        ),
        mean_parameters=mean_parameters,
        mean_objective=mean_objective,
        share_at_optimum=float(
            np.mean(found.start_objectives <= found.objective * (1 + 1e-9))
        ),
    )


def fit_of_mean(
    N: np.ndarray, D: np.ndarray, losses: np.ndarray, num_starts: int
) -> tuple[dict[str, float], float]:
    """Returns where SciPy's BFGS stops that minimises the mean of the losses.

    It stops too early: its default tolerance is absolute, and the mean of 240
    Huber losses of delta 1e-3 is so flat that it ends far from the optimum.

    Args:
      N: Number of parameters of each run, [X].
      D: Number of training tokens of each run, [X].
      losses: Loss of each run, [X].
      num_starts: Number of starts.

    Returns:
      The parameters of the best start by name, and their objective as a sum.
    """
    form = FORMS["two_variable"]
    scales = [np.exp(np.log(v).mean()) for v in (N, D)]
    n, d = N / scales[0], D / scales[1]
    log_L, delta = np.log(losses), HUBER_DELTA

    def mean_and_grad(logs):
        A, alpha, B, beta, E = np.exp(logs)
        of_n, of_d = A * n**-alpha, B * d**-beta
        predicted = of_n + of_d + E
        residuals = np.log(predicted) - log_L
        size = np.abs(residuals)
        quadratic = np.minimum(size, delta)
        slope = np.clip(residuals, -delta, delta) / predicted
        grad = np.array(
            [
                slope @ of_n,
                -alpha * (slope * of_n) @ np.log(n),
                slope @ of_d,
                -beta * (slope * of_d) @ np.log(d),
                E * slope.sum(),
            ]
        )
        value = quadratic @ (size - quadratic / 2)
        return value / len(losses), grad / len(losses)

    ends = [
        scipy.optimize.minimize(mean_and_grad, start, jac=True, method="BFGS")
        for start in start_logs(form, (n, d), losses, num_starts)
    ]
    best = min(ends, key=lambda end: end.fun)
    A, alpha, B, beta, E = np.exp(best.x)
    parameters = {
        "A": A * scales[0] ** alpha,
        "alpha": alpha,
        "B": B * scales[1] ** beta,
        "beta": beta,
        "E": E,
    }
    return parameters, float(best.fun * len(losses))
