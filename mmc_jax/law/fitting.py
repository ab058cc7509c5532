"""Fits of L(P) = A P^-alpha + L_inf by many starts of L-BFGS, in float64.

N starts, X points.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from mmc_jax.law.forms import power_law

# Residual of log L from which on the Huber loss is linear. Source: Hoffmann et
# al. 2022 (arXiv 2203.15556), section 3.3.
HUBER_DELTA = 1e-3

_NUM_PARAMETERS = 3

# A start has converged when no derivative of the objective by a logarithm of a
# parameter exceeds this. The objective is taken in units of delta and as a mean
# there: its derivatives by log A and log L_inf are at most 1.
_GRADIENT_TOLERANCE = 1e-10

# Steps of L-BFGS after which a start is given up; most need 20 to 100.
_MAX_STEPS = 1000

# Objectives that differ by less than this share are one optimum.
_SAME_OPTIMUM = 1e-9


class Fit(NamedTuple):
    """The law L(P) = A P^-alpha + L_inf that fits best, and how well.

    Attributes:
      A: the loss above the floor at P = 1, in the unit of the losses. Without
        alpha it says nothing: the two are correlated at 0.99. Infinity where
        it exceeds float64 (a steep law at large P); A_at_scale never does.
      alpha: the exponent.
      L_inf: the floor, in the unit of the losses.
      objective: the sum over the points of weight times Huber loss of the
        residual of log L.
      converged: whether the best start met the tolerance on its gradient. If
        not, the parameters are where it was given up.
      r_squared: 1 minus the residuals' share of the weighted squares of log L
        about its mean.
      num_points: X, those of positive weight.
      delta: the residual from which on the Huber loss is linear.
      scale: the geometric mean of the budgets.
      A_at_scale: A scale^-alpha, the loss above the floor at the geometric
        mean; it hardly depends on alpha.
      start_objectives: [N], the objective where each start ended; infinity
        where it was lost to overflow.
      start_converged: [N] bool, whether each start met the tolerance.
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
    start_objectives: np.ndarray
    start_converged: np.ndarray


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
    in units of its geometric mean, from a grid of starts over alpha and L_inf
    (A follows from them).

    Args:
      costs: [X], the budgets P, in any unit.
      losses: [X], above 0.
      weights: [X], not negative; 1 for each point if left out. A point of
        weight 0 is left out.
      delta: the residual of log L from which on the Huber loss is linear.
      num_starts: N.

    Raises:
      ValueError: lengths that differ; a budget or loss that is NaN, infinite,
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
    if not delta > 0:
        raise ValueError(f"delta is {delta}; above 0 is needed.")
    if num_starts < 1:
        raise ValueError(f"num_starts is {num_starts}; at least 1 is needed.")
    P, L, w = _checked_points(costs, losses, weights)
    scale = math.exp(np.log(P).mean())
    p, log_L = P / scale, np.log(L)

    # Points of weight 0 up to 16, 64, 256 ...: XLA compiles for every shape.
    num_padded = 16
    while num_padded < len(P):
        num_padded *= 4
    pad = (0, num_padded - len(P))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        logs, objectives, gradients = map(
            np.asarray,
            optima(
                _starts(p, L, w, num_starts),
                np.pad(p, pad, constant_values=1.0),
                np.pad(log_L, pad),
                np.pad(w, pad),
                float(delta),
            ),
        )
    objectives = np.where(np.isfinite(objectives), objectives, np.inf)
    converged = np.isfinite(objectives) & (gradients <= _GRADIENT_TOLERANCE)
    best = _best(objectives, converged)
    constant = _constant_objective(log_L, w, delta)
    if not objectives[best] < (1 - _SAME_OPTIMUM) * constant:
        raise ValueError(
            "losses do not fall with costs: no power law describes them better "
            f"than a constant does (objective {constant:.6g})."
        )

    log_A, log_alpha, log_L_inf = logs[best]
    alpha = math.exp(log_alpha)
    A_at_scale, L_inf = math.exp(log_A), math.exp(log_L_inf)
    with np.errstate(over="ignore"):
        A = float(A_at_scale * np.float64(scale) ** alpha)
    residuals = np.log(power_law(p, A_at_scale, alpha, L_inf)) - log_L
    spread = log_L - np.average(log_L, weights=w)
    return Fit(
        A=A,
        alpha=alpha,
        L_inf=L_inf,
        objective=float(objectives[best]),
        converged=bool(converged[best]),
        r_squared=float(1 - (w @ residuals**2) / (w @ spread**2)),
        num_points=len(P),
        delta=float(delta),
        scale=scale,
        A_at_scale=A_at_scale,
        start_objectives=objectives,
        start_converged=converged,
    )


@jax.jit
def optima(
    starts: jax.Array,
    P: jax.Array,
    log_L: jax.Array,
    weights: jax.Array,
    delta: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns where L-BFGS ends from each start, for 64-bit mode.

    Pure, so that fits of many data sets are one `vmap`. optax.lbfgs adds int32
    to int64 in that mode: dtype promotion must be "standard".

    Args:
      starts: [N, 3], logarithms of A, alpha and L_inf.
      P: [X], budgets in a unit that makes them of order 1.
      log_L: [X].
      weights: [X].
      delta: where the Huber loss turns linear.

    Returns:
      The logarithms of the parameters [N, 3], the objective [N], and the
      largest derivative of the objective in the unit of _GRADIENT_TOLERANCE
      [N].
    """
    unit = delta * weights.sum()

    def objective(logs):
        residuals = jnp.log(power_law(P, *jnp.exp(logs))) - log_L
        huber = optax.losses.huber_loss(residuals, delta=delta)
        return jnp.sum(weights * huber) / unit

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def unfinished(carry):
        _, _, gradient, num_steps = carry
        return (num_steps < _MAX_STEPS) & (gradient > _GRADIENT_TOLERANCE)

    def step(carry):
        logs, state, _, num_steps = carry
        value, grad = value_and_grad(logs, state=state)
        updates, state = optimizer.update(
            grad, state, logs, value=value, grad=grad, value_fn=objective
        )
        logs = optax.apply_updates(logs, updates)
        gradient = jnp.abs(optax.tree.get(state, "grad")).max()
        return logs, state, gradient, num_steps + 1

    def optimum(start):
        carry = start, optimizer.init(start), jnp.inf, 0
        logs, _, _, _ = jax.lax.while_loop(unfinished, step, carry)
        value, grad = jax.value_and_grad(objective)(logs)
        return logs, unit * value, jnp.abs(grad).max()

    return jax.vmap(optimum)(starts)


def _checked_points(
    costs: ArrayLike, losses: ArrayLike, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns P, L and w [X] of the points with weight, in float64."""
    P = np.asarray(costs, np.float64)
    L = np.asarray(losses, np.float64)
    w = np.ones(P.shape) if weights is None else np.asarray(weights, np.float64)
    if P.ndim != 1 or L.shape != P.shape or w.shape != P.shape:
        raise ValueError(
            f"costs {P.shape}, losses {L.shape} and weights {w.shape} must be "
            "[X], one number for each point."
        )
    for name, numbers, valid in (
        ("costs", P, P > 0),
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
    P, L, w = P[w > 0], L[w > 0], w[w > 0]
    if len(P) <= _NUM_PARAMETERS:
        raise ValueError(
            f"{len(P)} points (of positive weight) for {_NUM_PARAMETERS} "
            f"parameters; at least {_NUM_PARAMETERS + 1} are needed."
        )
    num_budgets = len(np.unique(P))
    if num_budgets < _NUM_PARAMETERS:
        raise ValueError(
            f"costs has {num_budgets} distinct budget(s); at least "
            f"{_NUM_PARAMETERS} are needed for {_NUM_PARAMETERS} parameters."
        )
    if (L == L[0]).all():
        raise ValueError(f"losses are all equal ({L[0]}): there is no law.")
    return P, L, w


def _starts(
    p: np.ndarray, L: np.ndarray, w: np.ndarray, num_starts: int
) -> np.ndarray:
    """Returns the starts: [N, 3], logarithms of A, alpha and L_inf.

    Exponents from nearly straight to nearly a step over the range of budgets,
    floors evenly spread below the least loss; A by least squares given both.
    """
    num_alphas = math.ceil(math.sqrt(num_starts))
    num_floors = math.ceil(num_starts / num_alphas)
    decades = 2 * (np.arange(num_alphas) + 0.5) / num_alphas - 1
    alphas = 2 * 10**decades / np.log(p.max() / p.min())
    floors = L.min() * (np.arange(num_floors) + 0.5) / num_floors
    alphas, floors = np.meshgrid(alphas, floors)
    alphas = alphas.reshape(-1)[:num_starts]
    floors = floors.reshape(-1)[:num_starts]
    log_A = np.log(L - floors[:, None]) + alphas[:, None] * np.log(p)
    return np.stack(
        [np.average(log_A, axis=1, weights=w), np.log(alphas), np.log(floors)],
        axis=1,
    )


def _best(objectives: np.ndarray, converged: np.ndarray) -> int:
    """Returns the start of least objective, of equals one that converged."""
    equal = objectives <= (1 + _SAME_OPTIMUM) * objectives.min()
    if (equal & converged).any():
        equal &= converged
    return int(np.where(equal, objectives, np.inf).argmin())


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
