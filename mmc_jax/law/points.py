"""Points of budget and loss: what a fit takes, and other ways to look at them.

X points, B budgets.
"""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import elementary
from mmc_jax.law.forms import Form

# Points of a frontier beyond which some of them stand for all: where a fit
# starts, and where texts are resampled. Neighbours on a frontier of thousands
# differ by little.
MOST_POINTS = 512


def checked_points(
    form: Form,
    budgets: ArrayLike | Sequence[ArrayLike],
    losses: ArrayLike,
    weights: ArrayLike | None,
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Returns the budgets, losses and weights of the points with weight.

    Args:
      form: Form that is to be fitted.
      budgets: Budget of each point for each variable of the form: one array
        [X], or a sequence of them.
      losses: Loss of each point, [X].
      weights: Weight of each point, [X]; None for 1 each.

    Returns:
      The budgets for each variable, the losses and the weights, all float64
      [X] without the points of weight 0.

    Raises:
      ValueError: Lengths that differ; a budget or loss that is NaN, infinite,
        0 or negative; a weight that is negative or not finite; too few points
        or distinct budgets for the parameters of the form; losses that are all
        equal.
    """
    one = len(form.variables) == 1
    names = ["costs"] if one else list(form.variables)
    variables = [
        np.asarray(v, np.float64) for v in ([budgets] if one else budgets)
    ]
    L = np.asarray(losses, np.float64)
    w = np.ones(L.shape) if weights is None else np.asarray(weights, np.float64)
    if len(variables) != len(names):
        raise ValueError(
            f"{len(variables)} budgets for the variables {', '.join(names)}."
        )
    shapes = {v.shape for v in (*variables, L, w)}
    if L.ndim != 1 or len(shapes) > 1:
        shown = ", ".join(
            f"{name} {v.shape}"
            for name, v in zip(names, variables, strict=True)
        )
        raise ValueError(
            f"{shown}, losses {L.shape} and weights {w.shape} must be "
            "[X], one number for each point."
        )
    for name, values in zip(names, variables, strict=True):
        _check_finite(name, values, values > 0, "above 0")
    _check_finite("losses", L, L > 0, "above 0")
    _check_finite("weights", w, w >= 0, "not below 0")
    variables = [v[w > 0] for v in variables]
    L, w = L[w > 0], w[w > 0]
    num_parameters = len(form.parameters)
    if len(L) <= num_parameters:
        raise ValueError(
            f"{len(L)} points (of positive weight) for {num_parameters} "
            f"parameters; at least {num_parameters + 1} are needed."
        )
    for name, values in zip(names, variables, strict=True):
        num_budgets = len(np.unique(values))
        if num_budgets < min(3, num_parameters):
            raise ValueError(
                f"{name} has {num_budgets} distinct budget(s); at least "
                f"{min(3, num_parameters)} are needed for {num_parameters} "
                "parameters."
            )
    if (L == L[0]).all():
        raise ValueError(f"losses are all equal ({L[0]}): there is no law.")
    return tuple(variables), L, w


def log_spaced(
    costs: ArrayLike, losses: ArrayLike, num_budgets: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points nearest to budgets evenly spread on a log scale.

    Args:
      costs: Budget of each point, [X].
      losses: Loss of each point, [X].
      num_budgets: Number of budgets B. Fewer points come back where two budgets
        share one.

    Returns:
      Their costs and losses, least cost first.

    >>> log_spaced([1, 10, 90, 100], [4.0, 3.0, 2.0, 1.0], 3)
    (array([  1.,  10., 100.]), array([4., 3., 1.]))
    """
    costs = np.asarray(costs, np.float64)
    losses = np.asarray(losses, np.float64)
    logs = elementary.log(costs)
    budgets = np.linspace(logs.min(), logs.max(), num_budgets)
    distance = np.abs(logs - budgets[:, None])
    nearest = np.unique(distance.argmin(axis=1))
    order = nearest[np.argsort(costs[nearest])]
    return costs[order], losses[order]


def spread_places(num_points: int, most: int = MOST_POINTS) -> np.ndarray:
    """Returns places spread evenly over points, the first and last among them.

    Args:
      num_points: Number of points, at least 1.
      most: Largest number of places; all points where there are no more.

    >>> spread_places(3), spread_places(9, most=3)
    (array([0, 1, 2]), array([0, 4, 8]))
    """
    number = min(num_points, most)
    return np.linspace(0, num_points - 1, number).round().astype(int)


def interval_weights(costs: ArrayLike, num_intervals: int = 20) -> np.ndarray:
    """Returns weights with equal sums in each log-interval of budgets: [X].

    Args:
      costs: Budget of each point, [X].
      num_intervals: Number of intervals, of equal width on a log scale, over
        the range of costs. Intervals without a point have no weight.

    Returns:
      Weights with the mean 1.

    >>> print(interval_weights([1, 99, 99, 100], 2).round(3))
    [2.    0.667 0.667 0.667]
    """
    logs = elementary.log(costs)
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

    Args:
      costs: Budget of each point, [X].
      losses: Loss of each point, [X].
      factor: How many times below the largest budget a point must be.

    >>> without_largest([1, 5, 20, 100], [4.0, 3.0, 2.0, 1.0])
    (array([1., 5.]), array([4., 3.]))
    """
    costs = np.asarray(costs, np.float64)
    losses = np.asarray(losses, np.float64)
    stays = costs < costs.max() / factor
    return costs[stays], losses[stays]


def _check_finite(
    name: str, numbers: np.ndarray, valid: np.ndarray, what: str
) -> None:
    bad = ~(valid & np.isfinite(numbers))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"{name}[{i}] is {numbers[i]}; a finite number {what} is needed."
        )
