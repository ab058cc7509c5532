"""Profile likelihoods: what the points say of the floor, or of the exponent.

X points, G values of the parameter, k parameters.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special
from jax.typing import ArrayLike

from mmc_jax.law import elementary, optima
from mmc_jax.law.batches import newton_ends
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import LEAST_SQUARES
from mmc_jax.law.points import checked_points
from mmc_jax.statistics import checked_level

# Values of the parameter in one compiled call, and rounds in which a crossing
# is searched for between two of them: 16^-3 of the first spacing.
_NUM_VALUES = 16
_NUM_ROUNDS = 4

# Starts of the other two parameters at each value; the rest is nearly linear.
_NUM_STARTS = 8

# A floor below this share of the least loss cannot be told from none.
_NO_FLOOR = 1e-4

# An exponent beyond this, divided by the logarithm of the range of budgets,
# makes the law a step. Its powers stay inside float64.
_STEP = 300.0

# Residuals of log L below this are rounding and the optimiser's tolerance.
_LEAST_RESIDUAL = 1e-9


_NUM_PARAMETERS = len(FORMS["power_law"].parameters)


class Profile(NamedTuple):
    """What the points say of one parameter of the power law.

    Attributes:
      parameter: Name of the parameter, "L_inf" or "alpha".
      estimate: Value of the parameter by least squares on log L.
      low: Lower end of the interval. 0 where nothing below is excluded.
      high: Upper end of the interval. Infinity where nothing above is excluded.
      level: Confidence of the interval, such as 0.95.
      identified: Whether the interval has both ends.
      values: Values of the parameter that were tried, rising, [G].
      deviances: Deviance (X - k) (S(value) - S) / S at each value, [G], with
        S(value) the least sum of squares with the parameter at the value, and
        S the least over all values.
      threshold: Deviance at the ends of the interval.
    """

    parameter: str
    estimate: float
    low: float
    high: float
    level: float
    identified: bool
    values: np.ndarray
    deviances: np.ndarray
    threshold: float


def profile(
    costs: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    parameter: str = "L_inf",
    level: float = 0.95,
) -> Profile:
    """Returns the profile likelihood of the floor or of the exponent.

    S(v) = min over the other parameters of sum_x w_x residual_x^2, at value v
    interval = {v: (X - k) (S(v) - S) / S <= F_{1, X - k}(level)}

    with residuals of log L; if they are Gaussian, this is the F-test of a
    likelihood ratio. With the floor or the exponent fixed the other parameters
    are nearly linear. Least squares are used because the interval of a Huber
    loss far inside the noise (the default of `fit`) depends on the few
    residuals near its kink. The points are taken as independent, which those of
    a frontier are not: see `text_bootstrap`.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point, above 0, [X].
      weights: Weight of each point, not negative, [X]; 1 each if left out.
      parameter: Name of the parameter, "L_inf" or "alpha".
      level: Confidence of the interval, between 0 and 1.

    Raises:
      ValueError: Points that `fit` would refuse; another parameter; a level not
        between 0 and 1.

    Source: Bates and Watts 1988, Nonlinear Regression Analysis, section 6.1;
    Golub and Pereyra 1973 (variable projection).

    >>> import numpy as np
    >>> P = np.geomspace(1e8, 1e10, 12)
    >>> L = (400 * P**-0.35 + 1.5) * np.exp(0.001 * np.tile([1, -1], 6))
    >>> found = profile(P, L)
    >>> print(f"{found.low:.2f} {found.high:.2f} {found.identified}")
    1.49 1.51 True
    """
    if parameter not in ("L_inf", "alpha"):
        raise ValueError(f"no profile of {parameter!r}; L_inf or alpha.")
    checked_level(level)
    form = FORMS["power_law"]
    (P,), L, w = checked_points(form, costs, losses, weights)
    w = w * len(w) / w.sum()

    ends = functools.partial(
        newton_ends,
        "power_law",
        (np.tile(P, (_NUM_VALUES, 1)),),
        np.tile(L, (_NUM_VALUES, 1)),
        np.tile(w, (_NUM_VALUES, 1)),
        delta=LEAST_SQUARES,
        num_starts=_NUM_STARTS,
    )
    # The same fit in every row: one shape, so XLA compiles once.
    best, _ = ends(fixed={})
    index = list(form.parameters).index(parameter)
    if not optima.falls(best.objectives[0], elementary.log(L), w):
        raise ValueError(
            "losses do not fall with costs: there is no law to profile."
        )
    least = 2 * float(best.objectives[0])
    unit = _mean_square(least, len(L))
    end = threshold(len(L), level)
    bottom, top = _limits(parameter, P, L)
    center = min(max(float(best.logs[0, index]), bottom), top)

    def deviances_at(logs: np.ndarray) -> np.ndarray:
        found, _ = ends(fixed={parameter: logs})
        return (2 * found.objectives - least) / unit

    low, *below = _crossing(deviances_at, center, bottom, end)
    high, *above = _crossing(deviances_at, center, top, end)
    has_low, has_high = low > bottom, high < top
    logs = np.concatenate([[center], below[0], above[0]])
    heights = np.concatenate([[0.0], below[1], above[1]])
    order = np.argsort(logs)
    return Profile(
        parameter=parameter,
        estimate=float(elementary.exp(best.logs[0, index])),
        low=float(elementary.exp(low)) if has_low else 0.0,
        high=float(elementary.exp(high)) if has_high else np.inf,
        level=level,
        identified=bool(has_low and has_high),
        values=elementary.exp(logs[order]),
        deviances=heights[order],
        threshold=end,
    )


def _limits(
    parameter: str, P: np.ndarray, L: np.ndarray
) -> tuple[float, float]:
    """Returns the logarithms of the parameter between which is searched."""
    if parameter == "L_inf":
        return math.log(_NO_FLOOR * L.min()), math.log(2 * L.max())
    log_range = math.log(P.max() / P.min())
    return math.log(1e-4 / log_range), math.log(_STEP / log_range)


def _crossing(
    deviances_at: Callable[[np.ndarray], np.ndarray],
    center: float,
    limit: float,
    end: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns where the deviance passes the threshold, and what was tried.

    Args:
      deviances_at: Returns the deviance at each of _NUM_VALUES logarithms.
      center: Logarithm at which the deviance is 0.
      limit: Logarithm at which the search ends.
      end: Threshold of the deviance.

    Returns:
      The logarithm at which the deviance passes the threshold, or the limit;
      all logarithms that were tried; their deviances.
    """
    tried, heights_tried = [], []

    def result(log):
        return log, np.concatenate(tried), np.concatenate(heights_tried)

    near, far = center, limit
    near_height = 0.0
    # Finer near the centre at first: the scale of the noise is not known.
    shares = elementary.log_spaced_shares(1e-6, _NUM_VALUES)
    for _ in range(_NUM_ROUNDS):
        logs = near + (far - near) * shares
        heights = deviances_at(logs)
        tried.append(logs)
        heights_tried.append(heights)
        beyond = ~(heights <= end)  # NaN and infinity count as beyond.
        if not beyond.any():
            return result(limit)
        first = int(beyond.argmax())
        if first:
            near, near_height = logs[first - 1], heights[first - 1]
        far, far_height = logs[first], heights[first]
        shares = np.linspace(0, 1, _NUM_VALUES + 1)[1:]
    if not np.isfinite(far_height):
        return result(far)
    share = (end - near_height) / (far_height - near_height)
    return result(near + (far - near) * share)


def deviances(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    parameter: str,
    value: float,
) -> np.ndarray:
    """Returns the deviance of one value in each of R sets of points: [R].

    The interval of `profile` holds the value where the deviance is not above
    `threshold`. Many simulated sets take one compiled call.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point of each set, above 0, [R, X].
      parameter: Name of the parameter, "L_inf" or "alpha".
      value: Value of the parameter, above 0.

    >>> P = np.geomspace(1e8, 1e10, 12)
    >>> L = (400 * P**-0.35 + 1.5) * np.exp(0.001 * np.tile([1, -1], 6))
    >>> found = deviances(P, [L, L], parameter="L_inf", value=1.6)
    >>> found > threshold(12)
    array([ True,  True])
    """
    losses = np.asarray(losses, np.float64)
    costs = np.broadcast_to(np.asarray(costs, np.float64), losses.shape)
    least, limited = (
        2
        * newton_ends(
            "power_law",
            (costs,),
            losses,
            np.ones(losses.shape),
            delta=LEAST_SQUARES,
            num_starts=_NUM_STARTS,
            fixed=fixed,
        )[0].objectives
        for fixed in ({}, {parameter: np.full(len(losses), math.log(value))})
    )
    return (limited - least) / _mean_square(least, losses.shape[1])


def threshold(num_points: int, level: float = 0.95) -> float:
    """Returns the deviance at the ends of an interval.

    Args:
      num_points: Number of points X, above 3.
      level: Confidence of the interval, between 0 and 1.
    """
    # The quantile of the F distribution. Importing scipy.stats takes a second.
    return float(scipy.special.fdtri(1, num_points - _NUM_PARAMETERS, level))


def _mean_square(squares, num_points: int):
    """Returns the variance of log L that a sum of squares stands for."""
    rounding = num_points * _LEAST_RESIDUAL**2
    return np.maximum(squares, rounding) / (num_points - _NUM_PARAMETERS)


def statement(found: Profile, least_loss: float) -> str:
    """Returns what a profile says, as one sentence.

    Args:
      found: Profile of a parameter.
      least_loss: Least loss of the points; a floor cannot be above it.
    """
    name = {"L_inf": "floor", "alpha": "exponent"}[found.parameter]
    name = f"the {name} {found.parameter}"
    percent = f"{100 * found.level:g} percent"
    if found.identified:
        return (
            f"By least squares {name} is {found.estimate:.4g}, between "
            f"{found.low:.4g} and {found.high:.4g} ({percent})."
        )
    if found.parameter == "L_inf":
        return (
            f"The points do not identify {name}: they exclude no value "
            f"from 0 to {min(found.high, least_loss):.4g} ({percent})."
        )
    if found.low > 0:
        return (
            f"The points do not identify {name}: they exclude none above "
            f"{found.low:.4g} ({percent}), and the law may be a step."
        )
    return (
        f"The points do not identify {name}: they exclude none below "
        f"{found.high:.4g} ({percent}), and the law may be a logarithm."
    )
