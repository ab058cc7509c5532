"""Other ways to look at the same points: they crowd together at large budgets.

X points, B budgets.
"""

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import fitting
from mmc_jax.law.fitting import HUBER_DELTA, Fit


def log_spaced(
    costs: ArrayLike, losses: ArrayLike, num_budgets: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points nearest to budgets evenly spread on a log scale.

    Args:
      costs: [X].
      losses: [X].
      num_budgets: B; fewer points come back where two budgets share one.

    Returns:
      Their costs and losses, least cost first.

    >>> log_spaced([1, 10, 90, 100], [4.0, 3.0, 2.0, 1.0], 3)
    (array([  1.,  10., 100.]), array([4., 3., 1.]))
    """
    costs = np.asarray(costs, np.float64)
    losses = np.asarray(losses, np.float64)
    budgets = np.geomspace(costs.min(), costs.max(), num_budgets)
    distance = np.abs(np.log(costs) - np.log(budgets)[:, None])
    nearest = np.unique(distance.argmin(axis=1))
    order = nearest[np.argsort(costs[nearest])]
    return costs[order], losses[order]


def interval_weights(costs: ArrayLike, num_intervals: int = 20) -> np.ndarray:
    """Returns weights that give each log-interval of budgets the same say: [X].

    Args:
      costs: [X].
      num_intervals: Of equal width on a log scale, over the range of costs.

    Returns:
      Weights with the mean 1.

    >>> print(interval_weights([1, 99, 99, 100], 2).round(3))
    [2.    0.667 0.667 0.667]
    """
    logs = np.log(np.asarray(costs, np.float64))
    width = np.ptp(logs) / num_intervals
    index = np.minimum((logs - logs.min()) // width, num_intervals - 1)
    _, index, counts = np.unique(index, return_inverse=True, return_counts=True)
    weights = 1 / counts[index]
    return weights * len(logs) / weights.sum()


def without_largest(
    costs: ArrayLike, losses: ArrayLike, factor: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points below the largest budget by more than a factor.

    A finite pool saturates: its last decade of budgets may bend to the loss of
    all models, which is not the floor of the law.

    >>> without_largest([1, 5, 20, 100], [4.0, 3.0, 2.0, 1.0])
    (array([1., 5.]), array([4., 3.]))
    """
    costs = np.asarray(costs, np.float64)
    losses = np.asarray(losses, np.float64)
    stays = costs < costs.max() / factor
    return costs[stays], losses[stays]


def variants(
    costs: ArrayLike, losses: ArrayLike, *, delta: float = HUBER_DELTA
) -> tuple[dict[str, Fit], dict[str, str]]:
    """Returns the law of the points looked at in other ways.

    Args:
      costs: [X].
      losses: [X].
      delta: As for `fit`.

    Returns:
      By name the law of the points as they are, at log-spaced budgets, with
      weights per log-interval and without the largest decade; and by name why
      one of these cannot be fitted.
    """
    ways = {
        "as they are": lambda: (costs, losses),
        "log-spaced budgets": lambda: log_spaced(costs, losses),
        "weights per log-interval": lambda: (
            costs,
            losses,
            interval_weights(costs),
        ),
        "without the largest decade": lambda: without_largest(costs, losses),
    }
    laws, reasons = {}, {}
    for name, points in ways.items():
        try:
            laws[name] = fitting.fit(*points(), delta=delta)
        except ValueError as error:
            reasons[name] = str(error)
    return laws, reasons
