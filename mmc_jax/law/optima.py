"""What surrounds an optimizer: shapes that compile once, and which end counts.

N starts, X points, R sets of points.
"""

from collections.abc import Callable

import jax
import numpy as np

from mmc_jax.law import elementary, optimizers
from mmc_jax.law.forms import Form

# Objectives that differ by less than this share are one optimum.
SAME_OPTIMUM = 1e-9
# Logarithms of parameters are rounded to multiples of this before the last
# steps of a fit. A power of two.
_GRID = 2.0**-20


def converged(ends: optimizers.Optima) -> np.ndarray:
    """Returns which ends met the tolerance on the gradient: bool [...].

    Args:
      ends: Where an optimizer ended, [...].
    """
    return np.isfinite(ends.objectives) & (
        ends.gradients <= optimizers.GRADIENT_TOLERANCE
    )


def best_start(ends: optimizers.Optima) -> int:
    """Returns the index of the end of least objective.

    Of ends that are equally good one that converged is taken.

    Args:
      ends: Where an optimizer ended from each start, [N].
    """
    equal = ends.objectives <= (1 + SAME_OPTIMUM) * ends.objectives.min()
    if (equal & converged(ends)).any():
        equal &= converged(ends)
    return int(np.where(equal, ends.objectives, np.inf).argmin())


def polished(
    function: Callable[..., jax.Array],
    ends: optimizers.Optima,
    best: int,
    points: optimizers.Points,
    delta: float,
) -> optimizers.Optima:
    """Returns the ends with the best one as exact as float64 has it.

    L-BFGS stops anywhere within its tolerance, elsewhere for each instruction
    set. Newton's method from the same rounded start ends in the same optimum,
    but for the last bits.

    Args:
      function: Function of the form, of budgets and parameters.
      ends: Where an optimizer ended from each start, [N].
      best: Index of the end that counts.
      points: Points that were fitted, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    start = np.round(ends.logs[best] / _GRID) * _GRID
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = on_host(optimizers.polish(function, start, points, delta))
    same = (1 + SAME_OPTIMUM) * ends.objectives[best]
    if not converged(found) or found.objectives > same:
        return ends
    ends = jax.tree.map(np.array, ends)
    for all_of, one in zip(ends, found, strict=True):
        all_of[best] = one
    return ends


def falls(
    objective: float,
    log_L: np.ndarray,
    w: np.ndarray,
    delta: float = optimizers.LEAST_SQUARES,
) -> bool:
    """Returns whether a fit describes the points better than a constant.

    Args:
      objective: Objective of the fit.
      log_L: Logarithm of the loss of each point, [X].
      w: Weight of each point, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    constant = constant_objective(log_L, w, delta)
    return bool(objective < (1 - SAME_OPTIMUM) * constant)


def constant_objective(log_L: np.ndarray, w: np.ndarray, delta: float) -> float:
    """Returns the objective of the constant that fits the points best.

    Args:
      log_L: Logarithm of the loss of each point, [X].
      w: Weight of each point, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    low, high = log_L.min(), log_L.max()
    for _ in range(100):  # Bisection of the derivative, which rises.
        middle = (low + high) / 2
        if (w * np.clip(middle - log_L, -delta, delta)).sum() > 0:
            high = middle
        else:
            low = middle
    residuals = np.abs(low - log_L)
    quadratic = np.minimum(residuals, delta)
    return float((w * (quadratic * (residuals - quadratic / 2))).sum())


def predicted(
    form: Form,
    variables: tuple[np.ndarray, ...],
    logs: np.ndarray,
) -> np.ndarray:
    """Returns the loss that a form predicts at each budget, in float64: [X].

    Args:
      form: Form of the law.
      variables: Budget of each point for each variable, in units of the
        scales, [X] each.
      logs: Logarithm of each parameter for such budgets, [k].
    """
    num_points = len(variables[0])
    more = (0, num_padded(num_points) - num_points)
    variables = tuple(np.pad(v, more, constant_values=1.0) for v in variables)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = optimizers.predictions(form.function, logs, variables)
    return np.asarray(found)[:num_points]


def in_unit_of_data(
    form: Form, at_scale: dict[str, float], scales: list[float]
) -> dict[str, float]:
    """Returns the parameters for budgets in the unit of the data, by name.

    Args:
      form: Form of the law.
      at_scale: Value of each parameter for budgets in units of the scales.
      scales: Scale of each variable, in the unit of the data.
    """
    scale_of = dict(zip(form.variables, scales, strict=True))
    found = {}
    for name, (_, variable, power) in form.parameters.items():
        exponent = at_scale[power] if isinstance(power, str) else power
        unit = elementary.power(scale_of.get(variable, 1.0), exponent)
        found[name] = float(at_scale[name]) * float(unit)
    return found


def padded(points: optimizers.Points, room: int = 0) -> optimizers.Points:
    """Returns the points with more of weight 0.

    XLA compiles for every shape: so there are few. A single set of points has
    16, 64, 256 ... of them. Many sets have 16, 32, 64 ..., as their fits take
    longer than to compile.

    Args:
      points: One set of points, [X], or R sets, [R, X].
      room: Points that there has to be room for, at least.
    """
    num_points = points.log_L.shape[-1]
    times = 4 if points.log_L.ndim == 1 else 2
    size = num_padded(max(num_points, room), times)
    more = (0, size - num_points)
    pad = [(0, 0)] * (points.log_L.ndim - 1) + [more]
    return optimizers.Points(
        tuple(np.pad(v, pad, constant_values=1.0) for v in points.variables),
        np.pad(points.log_L, pad),
        np.pad(np.asarray(points.weights, np.float64), pad),
    )


def num_padded(num_points: int, times: int = 4) -> int:
    """Returns the least of 16 and its multiples by powers that holds points.

    Args:
      num_points: Number of points.
      times: Number whose powers multiply 16.
    """
    size = 16
    while size < num_points:
        size *= times
    return size


def on_host(ends: optimizers.Optima) -> optimizers.Optima:
    """Returns the ends as NumPy arrays.

    Objectives that were lost to overflow become infinite.

    Args:
      ends: Where an optimizer ended, [...].
    """
    logs, objectives, gradients = map(np.asarray, ends)
    objectives = np.where(np.isfinite(objectives), objectives, np.inf)
    return optimizers.Optima(logs, objectives, gradients)
