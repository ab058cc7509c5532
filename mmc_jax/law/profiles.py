"""Profile likelihoods: what the points say of the floor, or of the exponent.

X points, G values of the parameter, k parameters.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jax.typing import ArrayLike

from mmc_jax.law import fitting, optimizers
from mmc_jax.law.forms import FORMS

# Values of the parameter in one compiled call, and how often a crossing is
# looked for between two of them: 16^-3 of the first spacing.
_NUM_VALUES = 16
_NUM_ROUNDS = 4

# Starts of the other two parameters at each value; the rest is nearly linear.
_NUM_STARTS = 8

# A floor below this share of the least loss cannot be told from none.
_NO_FLOOR = 1e-4

# Times the logarithm of the range of budgets, an exponent beyond which the law
# is a step: its powers stay inside float64.
_STEP = 300.0

# Residuals of log L below this are rounding and the optimiser's tolerance.
_LEAST_RESIDUAL = 1e-9


_NUM_PARAMETERS = len(FORMS["power_law"].parameters)


class Profile(NamedTuple):
    """What the points say of one parameter of the power law.

    Attributes:
      parameter: "L_inf" or "alpha".
      estimate: That of least squares on log L.
      low: The lower end of the interval. 0 where nothing below is excluded.
      high: The upper end. Infinity where nothing above is excluded.
      level: Of the interval, such as 0.95.
      identified: Whether both ends are there.
      values: [G], of the parameter, rising; the profile is drawn from them.
      deviances: [G], (X - k) (S(value) - S) / S, with S the least sum of
        squares with the parameter at the value, and over all values.
      threshold: The deviance at the ends.
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

    of residuals of log L: for Gaussian ones the F of a likelihood ratio. The
    others are projected out: with the floor or the exponent fixed they are
    nearly linear. Least squares, because the intervals of a Huber loss far
    inside the noise (the default of `fit`) hang on the few residuals near its
    kink; the points are taken as independent, which those of a frontier are
    not: see `text_bootstrap`.

    Args:
      costs: [X].
      losses: [X].
      weights: [X]; 1 for each point if left out.
      parameter: "L_inf" or "alpha".
      level: Of the interval.

    Raises:
      ValueError: As `fit`; another parameter; a level not between 0 and 1.

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
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; between 0 and 1 is needed.")
    form = FORMS["power_law"]
    (P,), L, w = fitting.checked_points(form, costs, losses, weights)
    w = w * len(w) / w.sum()

    def ends(fixed: dict[str, np.ndarray]) -> optimizers.Optima:
        found, _ = fitting.newton_ends(
            "power_law",
            (np.tile(P, (_NUM_VALUES, 1)),),
            np.tile(L, (_NUM_VALUES, 1)),
            np.tile(w, (_NUM_VALUES, 1)),
            delta=fitting.LEAST_SQUARES,
            num_starts=_NUM_STARTS,
            fixed=fixed,
        )
        return found

    # The same fit in every row: one shape, so XLA compiles once.
    best = ends({})
    index = list(form.parameters).index(parameter)
    center = float(best.logs[0, index])
    if not fitting.falls(best.objectives[0], np.log(L), w):
        raise ValueError(
            "losses do not fall with costs: there is no law to profile."
        )
    least = 2 * float(best.objectives[0])
    unit = _mean_square(least, len(L))
    end = threshold(len(L), level)
    if parameter == "L_inf":
        bottom = np.log(_NO_FLOOR * L.min())
        top = np.log(2 * L.max())
    else:
        log_range = np.log(P.max() / P.min())
        bottom, top = np.log(1e-4 / log_range), np.log(_STEP / log_range)
    center = min(max(center, bottom), top)

    drawn_logs, drawn = [np.array([center])], [np.zeros(1)]

    def crossing(limit: float) -> float:
        """Returns where the deviance passes the threshold, or the limit."""
        near, far = center, limit
        near_height = 0.0
        # Finer near the centre at first: the scale of the noise is not known.
        shares = np.geomspace(1e-6, 1, _NUM_VALUES)
        for _ in range(_NUM_ROUNDS):
            logs = near + (far - near) * shares
            found = ends({parameter: logs}).objectives
            heights = (2 * found - least) / unit
            drawn_logs.append(logs)
            drawn.append(heights)
            beyond = ~(heights <= end)  # Not finite: beyond.
            if not beyond.any():
                return limit
            first = int(beyond.argmax())
            if first:
                near, near_height = logs[first - 1], heights[first - 1]
            far, far_height = logs[first], heights[first]
            shares = np.linspace(0, 1, _NUM_VALUES + 1)[1:]
        if not np.isfinite(far_height):
            return far
        share = (end - near_height) / (far_height - near_height)
        return near + (far - near) * share

    low, high = crossing(bottom), crossing(top)
    has_low, has_high = low > bottom, high < top
    logs, heights = np.concatenate(drawn_logs), np.concatenate(drawn)
    order = np.argsort(logs)
    return Profile(
        parameter=parameter,
        estimate=float(np.exp(best.logs[0, index])),
        low=float(np.exp(low)) if has_low else 0.0,
        high=float(np.exp(high)) if has_high else np.inf,
        level=level,
        identified=bool(has_low and has_high),
        values=np.exp(logs[order]),
        deviances=heights[order],
        threshold=end,
    )


def deviances(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    parameter: str,
    value: float,
) -> np.ndarray:
    """Returns the deviance of one value in each of R sets of points: [R].

    The interval of `profile` holds the value where this is not above
    `threshold`: whether it does in many simulated sets takes one compiled call.

    Args:
      costs: [X].
      losses: [R, X].
      parameter: "L_inf" or "alpha".
      value: Above 0.

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
        * fitting.newton_ends(
            "power_law",
            (costs,),
            losses,
            np.ones(losses.shape),
            delta=fitting.LEAST_SQUARES,
            num_starts=_NUM_STARTS,
            fixed=fixed,
        )[0].objectives
        for fixed in ({}, {parameter: np.full(len(losses), np.log(value))})
    )
    return (limited - least) / _mean_square(least, losses.shape[1])


def threshold(num_points: int, level: float = 0.95) -> float:
    """Returns the deviance at the ends of an interval."""
    return float(scipy.stats.f.ppf(level, 1, num_points - _NUM_PARAMETERS))


def _mean_square(squares, num_points: int):
    """Returns the variance of log L that a sum of squares stands for."""
    rounding = num_points * _LEAST_RESIDUAL**2
    return np.maximum(squares, rounding) / (num_points - _NUM_PARAMETERS)


def statement(found: Profile, least_loss: float) -> str:
    """Returns in a plain sentence what a profile says.

    Args:
      found: The profile.
      least_loss: Of the points, in whose light a floor is seen.
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
