"""One fit of a law to points of budget and loss, in float64.

N starts, X points, k parameters.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import elementary, optima, optimizers
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.points import MOST_POINTS, checked_points, spread_places
from mmc_jax.law.starts import start_logs

# Ends on some of many points from which a fit of all goes on.
_NUM_KEPT = 4


class FormFit(NamedTuple):
    """The parameters with which a form fits best, and how well.

    Attributes:
      form: Name of the form in FORMS.
      parameters: Value of each parameter by name, for budgets in the unit of
        the data. Infinity where one exceeds float64 (A of a steep law at large
        P); `at_scale` never does.
      at_scale: Value of each parameter by name, for budgets in units of
        `scales`.
      scales: Geometric mean of each budget, by the name of the variable.
      objective: Sum over the points of weight times Huber loss of the residual
        of log L.
      converged: Whether the best start met the tolerance on its gradient. If
        not, the parameters are those where the optimizer gave up.
      optimizer: "lbfgs", or "adam" if L-BFGS did not converge and Adam led to
        a lower objective.
      r_squared: 1 minus the share of the squared residuals in the weighted
        squares of log L about its mean.
      num_points: Number of points of positive weight.
      delta: Residual of log L from which on the Huber loss is linear.
      start_parameters: Parameters at which each start ended, for budgets in
        units of `scales`, [N, k]. Of more than 512 points the best 4 starts.
      start_objectives: Objective at which each start ended, [N]; infinity where
        it overflowed.
      start_converged: Whether each start met the tolerance, bool [N].
    """

    form: str
    parameters: dict[str, float]
    at_scale: dict[str, float]
    scales: dict[str, float]
    objective: float
    converged: bool
    optimizer: str
    r_squared: float
    num_points: int
    delta: float
    start_parameters: np.ndarray
    start_objectives: np.ndarray
    start_converged: np.ndarray


class Fit(NamedTuple):
    """The law L(P) = A P^-alpha + L_inf that fits best, and how well.

    Attributes:
      A: Loss above the floor at P = 1, in the unit of the losses. It says
        nothing without alpha: the two are correlated at 0.99. Infinity where it
        exceeds float64 (a steep law at large P); `A_at_scale` never does.
      alpha: Exponent of the budget.
      L_inf: Floor, in the unit of the losses.
      objective: Sum over the points of weight times Huber loss of the residual
        of log L.
      converged: Whether the best start met the tolerance on its gradient. If
        not, the parameters are those where the optimizer gave up.
      r_squared: 1 minus the share of the squared residuals in the weighted
        squares of log L about its mean.
      num_points: Number of points of positive weight.
      delta: Residual of log L from which on the Huber loss is linear.
      scale: Geometric mean of the budgets.
      A_at_scale: Loss above the floor at the budget `scale`, A scale^-alpha. It
        hardly depends on alpha.
      optimizer: "lbfgs", or "adam" if L-BFGS did not converge and Adam led to
        a lower objective.
      start_parameters: A_at_scale, alpha and L_inf at which each start ended,
        [N, 3]. Of more than 512 points the best 4 starts.
      start_objectives: Objective at which each start ended, [N]; infinity where
        it overflowed.
      start_converged: Whether each start met the tolerance, bool [N].
    """

    A: float
    alpha: float
    L_inf: float
    objective: float
    converged: bool
    r_squared: float
    num_points: int
    delta: float
    scale: float
    A_at_scale: float
    optimizer: str
    start_parameters: np.ndarray
    start_objectives: np.ndarray
    start_converged: np.ndarray


def fit(
    costs: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    room: int = 0,
) -> Fit:
    """Returns the power law with a floor that fits the points best.

    minimise sum_x w_x Huber_delta(log(A P_x^-alpha + L_inf) - log L_x)

    over log A, log alpha and log L_inf, so that all three stay positive, with P
    in units of its geometric mean, from many starts of L-BFGS. Of more than 512
    points the starts take 512 first, and the best 4 go on with all.

    Args:
      costs: Budget P of each point, above 0, in any unit, [X].
      losses: Loss of each point, above 0, [X].
      weights: Weight of each point, not negative, [X]; 1 each if left out. A
        point of weight 0 is left out.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts N of the optimizer.
      room: Points that the compiled programs are for, at least; 0 for no more
        than there are. Fits of equal room share their programs.

    Raises:
      ValueError: Lengths that differ; a budget or loss that is NaN, infinite,
        0 or negative; a weight that is negative or not finite; fewer than 4
        points, or 3 distinct budgets, for the 3 parameters; losses that are
        all equal, or that no falling law describes better than a constant;
        delta or num_starts not above 0.

    Source: arXiv 2512.23340 (the law); arXiv 2203.15556 (the objective).

    >>> import numpy as np
    >>> P = np.array([1e6, 1e7, 1e8, 1e9, 1e10])
    >>> law = fit(P, 40 * P**-0.25 + 1.5)
    >>> print(f"{law.A:.4f} {law.alpha:.4f} {law.L_inf:.4f} {law.converged}")
    40.0000 0.2500 1.5000 True
    """
    found = fit_form(
        "power_law",
        costs,
        losses,
        weights,
        delta=delta,
        num_starts=num_starts,
        room=room,
    )
    shared = found._asdict()
    for name in ("form", "parameters", "at_scale", "scales"):
        del shared[name]
    return Fit(
        **found.parameters,
        scale=found.scales["P"],
        A_at_scale=found.at_scale["A"],
        **shared,
    )


def fit_form(
    form: str,
    budgets: ArrayLike | Sequence[ArrayLike],
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    room: int = 0,
) -> FormFit:
    """Returns the parameters with which a form fits the points best.

    The objective and the optimizer are those of `fit`, for any of FORMS.

    Args:
      form: Name of the form in FORMS.
      budgets: Budget of each point for each variable of the form, above 0: one
        array [X], or a tuple (N, D) of them.
      losses: Loss of each point, above 0, [X].
      weights: Weight of each point, not negative, [X]; 1 each if left out.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts N of the optimizer.
      room: Points that the compiled programs are for, at least; 0 for no more
        than there are. Fits of equal room share their programs.

    Raises:
      ValueError: A name that is not in FORMS; points that `fit` would refuse,
        for the variables and parameters of this form.

    >>> import numpy as np
    >>> P = np.array([1e6, 1e7, 1e8, 1e9, 1e10])
    >>> found = fit_form("logarithmic", P, 5 - 0.1 * np.log(P))
    >>> print(f"{found.parameters['slope']:.4f}")
    0.1000
    """
    if form not in FORMS:
        raise ValueError(f"no form {form!r}; there are {', '.join(FORMS)}.")
    if not delta > 0:
        raise ValueError(f"delta is {delta}; above 0 is needed.")
    if num_starts < 1:
        raise ValueError(f"num_starts is {num_starts}; at least 1 is needed.")
    variables, L, w = checked_points(FORMS[form], budgets, losses, weights)
    scales = [math.exp(elementary.log(values).mean()) for values in variables]
    scaled = tuple(v / s for v, s in zip(variables, scales, strict=True))
    log_L = elementary.log(L)
    room = min(room, MOST_POINTS)
    optimizer, ends = _ends(form, scaled, L, w, float(delta), num_starts, room)
    best = optima.best_start(ends)
    if optima.converged(ends)[best]:
        points = optima.padded(optimizers.Points(scaled, log_L, w), room)
        ends = optima.polished(
            FORMS[form].function, ends, best, points, float(delta)
        )
    if not optima.falls(ends.objectives[best], log_L, w, delta):
        constant = optima.constant_objective(log_L, w, delta)
        raise ValueError(
            f"losses do not fall with costs: no {form.replace('_', ' ')} "
            "describes them better than a constant does (objective "
            f"{constant:.6g})."
        )
    parameters = elementary.exp(ends.logs)
    at_scale = dict(zip(FORMS[form].parameters, parameters[best], strict=True))
    predicted = optima.predicted(FORMS[form], scaled, ends.logs[best])
    residuals = elementary.log(predicted) - log_L
    spread = log_L - np.average(log_L, weights=w)
    return FormFit(
        form=form,
        parameters=optima.in_unit_of_data(FORMS[form], at_scale, scales),
        at_scale={name: float(value) for name, value in at_scale.items()},
        scales=dict(zip(FORMS[form].variables, scales, strict=True)),
        objective=float(ends.objectives[best]),
        converged=bool(optima.converged(ends)[best]),
        optimizer=optimizer,
        r_squared=float(1 - (w * residuals**2).sum() / (w * spread**2).sum()),
        num_points=len(L),
        delta=float(delta),
        start_parameters=parameters,
        start_objectives=ends.objectives,
        start_converged=optima.converged(ends),
    )


def _ends(
    form: str,
    scaled: tuple[np.ndarray, ...],
    L: np.ndarray,
    w: np.ndarray,
    delta: float,
    num_starts: int,
    room: int,
) -> tuple[str, optimizers.Optima]:
    """Returns the optimizer that led furthest, and where it ended."""
    starts = start_logs(FORMS[form], scaled, L, num_starts)
    points = optimizers.Points(scaled, elementary.log(L), w)
    if len(L) > MOST_POINTS:
        some = spread_places(len(L), MOST_POINTS)
        few = jax.tree.map(lambda values: values[some], points)
        _, ends = _ends_from(form, starts, few, delta)
        best = np.argsort(ends.objectives, kind="stable")[:_NUM_KEPT]
        starts = ends.logs[best]
    return _ends_from(form, starts, points, delta, room)


def _ends_from(
    form: str,
    starts: np.ndarray,
    points: optimizers.Points,
    delta: float,
    room: int = 0,
) -> tuple[str, optimizers.Optima]:
    """Returns the same from starts that are given, [N, k]."""
    points = optima.padded(points, room)
    function = FORMS[form].function
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ends = optima.on_host(optimizers.lbfgs(function, starts, points, delta))
        best = optima.best_start(ends)
        if optima.converged(ends)[best]:
            return "lbfgs", ends
        near = optimizers.adam(function, ends.logs, points, delta)
        again = optima.on_host(
            optimizers.lbfgs(function, near.logs, points, delta)
        )
    if again.objectives.min() < ends.objectives[best]:
        return "adam", again
    return "lbfgs", ends
