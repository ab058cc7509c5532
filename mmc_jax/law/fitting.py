"""Fits of laws to points of budget and loss, in float64.

N starts, X points, R sets of points, k parameters.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import optimizers
from mmc_jax.law.forms import FORMS, Form, power_law
from mmc_jax.law.starts import starts as starts_of

# Residual of log L from which on the Huber loss is linear. Source: Hoffmann et
# al. 2022 (arXiv 2203.15556), section 3.3.
HUBER_DELTA = 1e-3

# A delta that no residual of log L reaches: least squares.
LEAST_SQUARES = 1e3

# Objectives that differ by less than this share are one optimum.
_SAME_OPTIMUM = 1e-9


class FormFit(NamedTuple):
    """The parameters with which a form fits best, and how well.

    Attributes:
      form: Its name in FORMS.
      parameters: By name, for budgets in the unit of the data. Infinity where
        one exceeds float64 (A of a steep law at large P); at_scale never does.
      at_scale: By name, for budgets in units of `scales`.
      scales: The geometric mean of each budget, by the name of the variable.
      objective: The sum over the points of weight times Huber loss of the
        residual of log L.
      converged: Whether the best start met the tolerance on its gradient. If
        not, the parameters are where it was given up.
      optimizer: "lbfgs", or "adam" if L-BFGS ended short of it.
      r_squared: 1 minus the residuals' share of the weighted squares of log L
        about its mean.
      num_points: X, those of positive weight.
      delta: The residual from which on the Huber loss is linear.
      start_parameters: [N, k], where each start ended, as `at_scale`.
      start_objectives: [N]; infinity where a start was lost to overflow.
      start_converged: [N] bool, whether each start met the tolerance.
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
      A: The loss above the floor at P = 1, in the unit of the losses. Without
        alpha it says nothing: the two are correlated at 0.99. Infinity where
        it exceeds float64 (a steep law at large P); A_at_scale never does.
      alpha: The exponent.
      L_inf: The floor, in the unit of the losses.
      objective: As in FormFit, and so are the next five.
      converged:
      r_squared:
      num_points:
      delta:
      scale: The geometric mean of the budgets.
      A_at_scale: A scale^-alpha, the loss above the floor at the geometric
        mean; it hardly depends on alpha.
      optimizer: As in FormFit, and so are the next three; start_parameters are
        A_at_scale, alpha and L_inf.
      start_parameters:
      start_objectives:
      start_converged:
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


class Fits(NamedTuple):
    """The power laws of R sets of points.

    Attributes:
      A_at_scale: [R], the loss above the floor at the budget `scale`.
      alpha: [R].
      L_inf: [R].
      scale: A budget amid the points, the same for all.
      objective: [R], as in FormFit.
      converged: [R] bool: the best start met the tolerance on its gradient.
      falls: [R] bool: the law describes the set better than a constant does. If
        not, its parameters mean nothing.
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
            return self.A_at_scale * np.float64(self.scale) ** self.alpha


def fit(
    costs: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Fit:
    """Returns the power law with a floor that fits the points best.

    minimise sum_x w_x Huber_delta(log(A P_x^-alpha + L_inf) - log L_x)

    over log A, log alpha and log L_inf, so that all three stay positive, with P
    in units of its geometric mean, from many starts of L-BFGS.

    Args:
      costs: [X], the budgets P, in any unit.
      losses: [X], above 0.
      weights: [X], not negative; 1 for each point if left out. A point of
        weight 0 is left out.
      delta: The residual of log L from which on the Huber loss is linear.
      num_starts: N.

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
        "power_law", costs, losses, weights, delta=delta, num_starts=num_starts
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
) -> FormFit:
    """Returns the parameters with which a form fits the points best.

    As `fit`, for any of FORMS.

    Args:
      form: A name in FORMS.
      budgets: [X] for each variable of the form: one, or a tuple (N, D).
      losses: [X], above 0.
      weights: [X], not negative; 1 for each point if left out.
      delta: The residual of log L from which on the Huber loss is linear.
      num_starts: N.

    Raises:
      ValueError: As `fit`; a name that is not in FORMS.

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
    scales = [math.exp(np.log(values).mean()) for values in variables]
    scaled = tuple(v / s for v, s in zip(variables, scales, strict=True))
    log_L = np.log(L)
    starts = starts_of(FORMS[form], scaled, L, num_starts)
    points = _padded(optimizers.Points(scaled, log_L, w))
    function = FORMS[form].function
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ends = _host(optimizers.lbfgs(function, starts, points, float(delta)))
        optimizer, best = "lbfgs", _best(ends)
        if not converged(ends)[best]:
            near = optimizers.adam(function, ends.logs, points, float(delta))
            again = _host(
                optimizers.lbfgs(function, near.logs, points, float(delta))
            )
            if again.objectives.min() < ends.objectives[best]:
                optimizer, ends = "adam", again
                best = _best(ends)

    if not falls(ends.objectives[best], log_L, w, delta):
        raise ValueError(
            f"losses do not fall with costs: no {form.replace('_', ' ')} "
            "describes them better than a constant does (objective "
            f"{_constant_objective(log_L, w, delta):.6g})."
        )
    at_scale = dict(
        zip(FORMS[form].parameters, np.exp(ends.logs[best]), strict=True)
    )
    predicted = np.asarray(_predicted(FORMS[form], scaled, at_scale))
    residuals = np.log(predicted) - log_L
    spread = log_L - np.average(log_L, weights=w)
    return FormFit(
        form=form,
        parameters=in_unit_of_data(FORMS[form], at_scale, scales),
        at_scale={name: float(value) for name, value in at_scale.items()},
        scales=dict(zip(FORMS[form].variables, scales, strict=True)),
        objective=float(ends.objectives[best]),
        converged=bool(converged(ends)[best]),
        optimizer=optimizer,
        r_squared=float(1 - (w @ residuals**2) / (w @ spread**2)),
        num_points=len(L),
        delta=float(delta),
        start_parameters=np.exp(ends.logs),
        start_objectives=ends.objectives,
        start_converged=converged(ends),
    )


def fit_batch(
    costs: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Fits:
    """Returns the power laws of R sets of points, all in one compiled call.

    The optima of `fit`, some hundred times faster a set: Newton's method in
    place of L-BFGS, see `optimizers.newton`. It gives up sooner: `converged`
    says in which rows, mostly of points that leave alpha open. Losses that do
    not fall are no error here: `falls` says in which rows.

    Args:
      costs: [X], or [R, X].
      losses: [R, X].
      weights: [R, X] or [X]; a point of weight 0 is left out.
      delta: As for `fit`.
      num_starts: Of each set.

    Raises:
      ValueError: As `fit` for any of the sets, which is named.

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
        *np.exp(ends.logs).T,
        scale=scale,
        objective=ends.objectives,
        converged=converged(ends),
        falls=np.array(
            [
                falls(
                    ends.objectives[row], np.log(L[used]), w[row][used], delta
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

    Args:
      form: A name in FORMS.
      budgets: [R, X] for each variable, checked.
      losses: [R, X], checked.
      weights: [R, X].
      delta: As for `fit`.
      num_starts: Of each set.
      fixed: A parameter that is not to be fitted, and its logarithm for each
        set, [R], with budgets in units of the scales.
    """
    used = weights > 0
    scales = [math.exp(np.log(values[used]).mean()) for values in budgets]
    scaled = tuple(
        np.where(used, values / scale, 1.0)
        for values, scale in zip(budgets, scales, strict=True)
    )
    losses = np.where(used, losses, 1.0)
    names = list(FORMS[form].parameters)
    starts = np.stack(
        [
            starts_of(
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
    points = _padded(optimizers.Points(scaled, np.log(losses), weights))
    # The last set again and again, up to 8, 16, 32 ... sets: few shapes.
    num_sets = len(starts)
    more = max(8, 1 << (num_sets - 1).bit_length()) - num_sets
    starts, points = jax.tree.map(
        lambda rows: np.concatenate([rows, np.repeat(rows[-1:], more, axis=0)]),
        (starts, points),
    )
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ends = _host(
            optimizers.newton(
                FORMS[form].function, starts, points, float(delta), free
            )
        )
    return jax.tree.map(lambda rows: rows[:num_sets], ends), scales


def checked_points(
    form: Form,
    budgets: ArrayLike | Sequence[ArrayLike],
    losses: ArrayLike,
    weights: ArrayLike | None,
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Returns the budgets, L and w [X] of the points with weight, in float64.

    Raises:
      ValueError: As `fit`, for the parameters of the form.
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
    for name, numbers, valid in (
        *((n, v, v > 0) for n, v in zip(names, variables, strict=True)),
        ("losses", L, L > 0),
        ("weights", w, w >= 0),
    ):
        bad = ~(valid & np.isfinite(numbers))
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(
                f"{name}[{i}] is {numbers[i]}; a finite number "
                f"{'not below' if name == 'weights' else 'above'} 0 is needed."
            )
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


def loss(fitted: Fit | Fits, budgets: ArrayLike) -> np.ndarray:
    """Returns the law's loss at each budget.

    Args:
      fitted: One law, or R.
      budgets: Any shape for one law, one number for R.

    >>> law = fit([1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0])
    >>> print(f"{loss(law, 100.0):.4f}")
    1.5000
    """
    P = np.asarray(budgets, np.float64) / fitted.scale
    return power_law(P, fitted.A_at_scale, fitted.alpha, fitted.L_inf)


def form_loss(
    fitted: FormFit, budgets: ArrayLike | Sequence[ArrayLike]
) -> np.ndarray:
    """Returns the loss that a fitted form predicts at each budget: [X].

    Args:
      fitted: The form.
      budgets: [X] for each of its variables: one, or a tuple.
    """
    one = len(fitted.scales) == 1
    variables = tuple(
        np.asarray(values, np.float64) / scale
        for values, scale in zip(
            [budgets] if one else budgets, fitted.scales.values(), strict=True
        )
    )
    return np.asarray(
        _predicted(FORMS[fitted.form], variables, fitted.at_scale)
    )


def objective(
    form: str,
    parameters: dict[str, float],
    budgets: ArrayLike | Sequence[ArrayLike],
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
) -> float:
    """Returns the objective of given parameters, such as published ones.

    Args:
      form: A name in FORMS.
      parameters: By name, for budgets in the unit given.
      budgets: As for `fit_form`, and so are the rest.
      losses: [X].
      weights: [X].
      delta: The residual from which on the Huber loss is linear.

    >>> parameters = {"A": 5.0, "alpha": 0.5, "L_inf": 1.0}
    >>> budgets, losses = [1, 4, 16, 25], [6.0, 3.5, 2.25, 2.2]
    >>> print(f"{objective('power_law', parameters, budgets, losses):.6f}")
    0.000095
    """
    variables, L, w = checked_points(FORMS[form], budgets, losses, weights)
    ordered = [parameters[name] for name in FORMS[form].parameters]
    points = optimizers.Points(variables, np.log(L), w)
    with jax.enable_x64(True):
        found = optimizers.objective(
            FORMS[form].function, np.log(ordered), points, delta
        )
    return float(found)


def converged(ends: optimizers.Optima) -> np.ndarray:
    """Returns which ends met the tolerance on the gradient."""
    return np.isfinite(ends.objectives) & (
        ends.gradients <= optimizers.GRADIENT_TOLERANCE
    )


def falls(
    objective: float,
    log_L: np.ndarray,
    w: np.ndarray,
    delta: float = LEAST_SQUARES,
) -> bool:
    """Returns whether a fit describes the points better than a constant."""
    constant = _constant_objective(log_L, w, delta)
    return bool(objective < (1 - _SAME_OPTIMUM) * constant)


def _constant_objective(
    log_L: np.ndarray, w: np.ndarray, delta: float
) -> float:
    """Returns the objective of the best constant."""
    low, high = log_L.min(), log_L.max()
    for _ in range(100):  # Bisection of the derivative, which rises.
        middle = (low + high) / 2
        if w @ np.clip(middle - log_L, -delta, delta) > 0:
            high = middle
        else:
            low = middle
    residuals = np.abs(low - log_L)
    quadratic = np.minimum(residuals, delta)
    return float(w @ (quadratic * (residuals - quadratic / 2)))


def _predicted(form, variables, at_scale):
    with jax.enable_x64(True):
        return form.function(*variables, *at_scale.values())


def in_unit_of_data(
    form: Form, at_scale: dict[str, float], scales: list[float]
) -> dict[str, float]:
    """Returns the parameters for budgets in the unit of the data."""
    scale_of = dict(zip(form.variables, scales, strict=True))
    found = {}
    for name, (_, variable, power) in form.parameters.items():
        exponent = at_scale[power] if isinstance(power, str) else power
        with np.errstate(over="ignore"):
            unit = np.float64(scale_of.get(variable, 1.0)) ** exponent
            found[name] = float(at_scale[name] * unit)
    return found


def _padded(points: optimizers.Points) -> optimizers.Points:
    """Returns the points with more of weight 0, up to 16, 32, 64 ...

    XLA compiles for every shape: so there are few.
    """
    num_points = points.log_L.shape[-1]
    num_padded = max(16, 1 << (num_points - 1).bit_length())
    pad = [(0, 0)] * (points.log_L.ndim - 1) + [(0, num_padded - num_points)]
    return optimizers.Points(
        tuple(np.pad(v, pad, constant_values=1.0) for v in points.variables),
        np.pad(points.log_L, pad),
        np.pad(np.asarray(points.weights, np.float64), pad),
    )


def _host(ends: optimizers.Optima) -> optimizers.Optima:
    """Returns the ends as NumPy arrays; infinite where lost to overflow."""
    logs, objectives, gradients = map(np.asarray, ends)
    objectives = np.where(np.isfinite(objectives), objectives, np.inf)
    return optimizers.Optima(logs, objectives, gradients)


def _best(ends: optimizers.Optima) -> int:
    """Returns the start of least objective, of equals one that converged."""
    equal = ends.objectives <= (1 + _SAME_OPTIMUM) * ends.objectives.min()
    if (equal & converged(ends)).any():
        equal &= converged(ends)
    return int(np.where(equal, ends.objectives, np.inf).argmin())
