"""Fits of thousands of sets of points in few compiled calls, in float64.

N starts, X points, R sets of points, k parameters.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax import stages
from mmc_jax.law import elementary, optima, optimizers
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.points import MOST_POINTS, checked_points, spread_places
from mmc_jax.law.starts import start_logs

# Sets of points that one call fits: the few that are left, and the others.
_SIZES = 8, 64

# Numbers in one array of Newton's method; more sets of points are looped over.
_NUMBERS_AT_ONCE = 2**16


class Fits(NamedTuple):
    """The power laws of R sets of points.

    Attributes:
      A_at_scale: Loss above the floor at the budget `scale`, [R].
      alpha: Exponent of each law, [R].
      L_inf: Floor, in the unit of the losses, [R].
      scale: Geometric mean of the budgets of all sets.
      objective: Sum over the points of weight times Huber loss of the residual
        of log L, [R].
      converged: Whether the best start met the tolerance on its gradient,
        bool [R].
      falls: Whether the law describes the set better than a constant does,
        bool [R]. If not, its parameters mean nothing.
    """

    A_at_scale: np.ndarray
    alpha: np.ndarray
    L_inf: np.ndarray
    scale: float
    objective: np.ndarray
    converged: np.ndarray
    falls: np.ndarray

    @property
    def A(self) -> np.ndarray:
        """The loss above the floor at P = 1: [R]."""
        with np.errstate(over="ignore"):
            return self.A_at_scale * elementary.power(self.scale, self.alpha)


def fit_batch(
    costs: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Fits:
    """Returns the power laws of R sets of points, many in one compiled call.

    The optima are those of `fit`, some hundred times faster a set, by Newton's
    method in place of L-BFGS (`optimizers.newton`). It gives up sooner, mostly
    where the points leave alpha open: `converged` says in which sets. Losses
    that do not fall are no error here: `falls` says in which sets.

    Args:
      costs: Budget of each point, above 0: [X] for all sets, or [R, X].
      losses: Loss of each point of each set, above 0, [R, X].
      weights: Weight of each point, not negative: [X] for all sets, or [R, X].
        A point of weight 0 is left out.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each set.

    Raises:
      ValueError: Points that `fit` would refuse; the set is named.

    >>> import numpy as np
    >>> P = np.array([1e6, 1e7, 1e8, 1e9, 1e10])
    >>> laws = fit_batch(P, [40 * P**-0.25 + 1.5, 40 * P**-0.2 + 1])
    >>> print(laws.alpha.round(4), laws.L_inf.round(4))
    [0.25 0.2 ] [1.5 1. ]
    """
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 2:
        raise ValueError(f"losses has shape {losses.shape}; [R, X] is needed.")
    costs = np.broadcast_to(np.asarray(costs, np.float64), losses.shape)
    w = np.ones(losses.shape) if weights is None else np.asarray(weights)
    w = np.broadcast_to(w, losses.shape)
    for row in range(len(losses)):
        try:
            checked_points(FORMS["power_law"], costs[row], losses[row], w[row])
        except ValueError as error:
            raise ValueError(f"set {row}: {error}") from error
    ends, (scale,) = newton_ends(
        "power_law", (costs,), losses, w, delta=delta, num_starts=num_starts
    )
    return Fits(
        *elementary.exp(ends.logs).T,
        scale=scale,
        objective=ends.objectives,
        converged=optima.converged(ends),
        falls=np.array(
            [
                optima.falls(
                    ends.objectives[row],
                    elementary.log(L[used]),
                    w[row][used],
                    delta,
                )
                for row, (L, used) in enumerate(zip(losses, w > 0, strict=True))
            ]
        ),
    )


def newton_ends(
    form: str,
    budgets: tuple[np.ndarray, ...],
    losses: np.ndarray,
    weights: np.ndarray,
    *,
    delta: float,
    num_starts: int,
    fixed: dict[str, np.ndarray] | None = None,
) -> tuple[optimizers.Optima, list[float]]:
    """Returns the optimum of each set of points, and the scales of the budgets.

    Of more than 512 points the starts of a set take 512 of them first, and the
    best goes on with all.

    Args:
      form: Name of the form in FORMS.
      budgets: Budget of each point for each variable, checked, [R, X] each.
      losses: Loss of each point, checked, [R, X].
      weights: Weight of each point, [R, X].
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each set.
      fixed: Logarithm of a parameter that is not to be fitted for each set,
        [R], by the name of the parameter, for budgets in units of the scales.
    """
    used = weights > 0
    scales = [
        math.exp(elementary.log(values[used]).mean()) for values in budgets
    ]
    scaled = tuple(
        np.where(used, values / scale, 1.0)
        for values, scale in zip(budgets, scales, strict=True)
    )
    losses = np.where(used, losses, 1.0)
    names = list(FORMS[form].parameters)
    starts = np.stack(
        [
            start_logs(
                FORMS[form],
                tuple(values[row][inside] for values in scaled),
                losses[row][inside],
                num_starts,
            )
            for row, inside in enumerate(used)
        ]
    )
    free = np.ones(len(names), bool)
    for name, logs in (fixed or {}).items():
        free[names.index(name)] = False
        starts[:, :, names.index(name)] = logs[:, None]
    points = optimizers.Points(scaled, elementary.log(losses), weights)
    function = FORMS[form].function
    if losses.shape[1] > MOST_POINTS:
        # The starts take some points of each set; the best goes on with all.
        near = _newton(function, starts, _some_of(points), delta, free)
        starts = near.logs[:, None]
    return _newton(function, starts, points, delta, free), scales


def _some_of(points: optimizers.Points) -> optimizers.Points:
    """Returns points spread over those of weight in each set, [R, n]."""
    rows = [np.flatnonzero(used) for used in points.weights > 0]
    width = min(max(map(len, rows)), MOST_POINTS)
    places = np.zeros((len(rows), width), int)
    is_there = np.zeros(places.shape)
    for row, used in enumerate(rows):
        some = used[spread_places(len(used), MOST_POINTS)]
        places[row, : len(some)] = some
        is_there[row, : len(some)] = 1
    found = jax.tree.map(
        lambda values: np.take_along_axis(values, places, axis=1), points
    )
    return found._replace(weights=found.weights * is_there)


def _newton(
    function: optimizers.Function,
    starts: np.ndarray,
    points: optimizers.Points,
    delta: float,
    free: np.ndarray,
) -> optimizers.Optima:
    """Returns the optima of sets of points, [R], from starts [R, N, k]."""
    points = optima.padded(points)
    num_sets, ends, done = len(starts), [], 0
    sizes = _sizes(num_sets, starts.shape[1] * points.log_L.shape[1])
    # The last set again and again, up to all that the sizes hold.
    more = sum(sizes) - num_sets
    starts, points = jax.tree.map(
        lambda rows: np.concatenate([rows, np.repeat(rows[-1:], more, axis=0)]),
        (starts, points),
    )
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for size in sizes:
            stages.say(f"{done:,} of {num_sets:,} fits")
            some = jax.tree.map(
                lambda rows, of=slice(done, done + size): rows[of],
                (starts, points),
            )
            end = optimizers.newton(function, *some, float(delta), free)
            ends.append(optima.on_host(end))
            done += size
    return jax.tree.map(lambda *rows: np.concatenate(rows)[:num_sets], *ends)


def _sizes(num_sets: int, num_numbers: int) -> list[int]:
    """Returns how many sets each call fits: of two sizes, few more than R.

    XLA compiles for every shape, so the sizes do not depend on R.

    Args:
      num_sets: Number of sets of points R.
      num_numbers: Numbers in one array of Newton's method for a single set.
    """
    limit = max(1, _NUMBERS_AT_ONCE // num_numbers)
    small, large = (min(size, 1 << (limit.bit_length() - 1)) for size in _SIZES)
    num_large, rest = divmod(num_sets, large)
    if 2 * rest > large:
        num_large, rest = num_large + 1, 0
    return num_large * [large] + -(-rest // small) * [small]


def usable(*laws: Fits) -> np.ndarray:
    """Returns which resamples have a law in every set: bool [R].

    A resample has a law if its fit converged and its losses fall.

    Args:
      laws: Laws of the same R resamples.
    """
    return np.all([law.converged & law.falls for law in laws], axis=0)
