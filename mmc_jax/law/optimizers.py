"""Optimizers of the one objective of all fits, float64 inside.

N starts, X points, R sets of points, k parameters.

objective(u) = sum_x w_x Huber_delta(log L(P_x; exp u) - log L_x)

The objective is a sum. An optimizer's tolerance would depend on whether it is a
sum or a mean, so all work in the unit of `_unit`. Call them under
`jax.enable_x64(True)` and `jax.numpy_dtype_promotion("standard")`: optax.lbfgs
adds int32 to int64. They stay in one file: each starts where another ends.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmc_jax.law.compiled import for_cpu

# Residual of log L from which on the Huber loss is linear. Source: Hoffmann et
# al. 2022 (arXiv 2203.15556), section 3.3.
HUBER_DELTA = 1e-3

# A delta that no residual of log L reaches: the Huber loss is then that of
# least squares.
LEAST_SQUARES = 1e3

# A start has converged when no derivative of the objective by the logarithm of
# a parameter exceeds this, in the unit of `_unit`: there the derivatives of a
# bad fit are of order 1.
GRADIENT_TOLERANCE = 1e-10

# Steps of L-BFGS after which a start is given up; most need 20 to 100.
MAX_STEPS = 1000

# Starts of L-BFGS that are under way at a time, and the fewest that its program
# has room for.
_NUM_AT_ONCE = 8
_FEWEST_STARTS = 64

# Newton's method follows all starts for so many steps on the wider Huber loss
# of so many times delta, which has no local kinks; the best few go on.
_NUM_COARSE_STEPS = 12
_COARSE_DELTA = 64.0
_NUM_KEPT = 4

# The widths of the Huber loss, times delta, through which the best few go, and
# the most steps at each: where delta is far inside the noise the objective is
# nearly one of absolute values, and steps straight to it get stuck at its
# kinks.
_STAGES = (16.0, 30), (8.0, 30), (4.0, 30), (2.0, 30), (1.0, 400)

# The longest step of the logarithm of a parameter in Newton's method.
_MAX_STEP = 2.0

# Added to the second derivatives at first, in the unit of `_unit`.
_FIRST_DAMPING = 0.1

# Steps of the last Newton method from an optimum that L-BFGS found, and the
# gradient at which it ends: about what rounding leaves.
_NUM_POLISH_STEPS = 60
_POLISH_TOLERANCE = 1e-15

_ADAM_STEPS = 3000
_ADAM_LEARNING_RATE = 0.03

# A law's prediction is not taken to be below this: a straight line can be.
_LEAST_LOSS = 1e-300

Function = Callable[..., jax.Array]


class Points(NamedTuple):
    """Points to fit.

    Attributes:
      variables: Budget of each point for each variable, [X] each, in units
        that make them of order 1.
      log_L: Logarithm of the loss of each point, [X].
      weights: Weight of each point, [X]; 0 leaves a point out.
    """

    variables: tuple[jax.Array, ...]
    log_L: jax.Array
    weights: jax.Array


class Optima(NamedTuple):
    """Where an optimizer ended.

    Attributes:
      logs: Logarithms of the parameters, [..., k].
      objectives: Objective at each end, [...].
      gradients: Largest derivative at each end, in the unit of
        GRADIENT_TOLERANCE, [...].
    """

    logs: jax.Array
    objectives: jax.Array
    gradients: jax.Array


def objective(
    function: Function, logs: jax.Array, points: Points, delta: jax.Array
) -> jax.Array:
    """Returns the sum of Huber losses of the residuals.

    Args:
      function: Function of the form, of budgets and parameters.
      logs: Logarithms of its parameters, [k].
      points: Points to fit, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    predicted = function(*points.variables, *jnp.exp(logs))
    residuals = jnp.log(jnp.maximum(predicted, _LEAST_LOSS)) - points.log_L
    size = jnp.abs(residuals)
    quadratic = jnp.minimum(size, delta)
    return jnp.sum(points.weights * quadratic * (size - quadratic / 2))


objective_on_cpu = for_cpu(objective, static_argnums=0)


@functools.partial(for_cpu, static_argnums=0)
def predictions(
    function: Function, logs: jax.Array, variables: tuple[jax.Array, ...]
) -> jax.Array:
    """Returns the loss that a form predicts at each budget: [X].

    Args:
      function: Function of the form, of budgets and parameters.
      logs: Logarithms of its parameters, [k].
      variables: Budget of each point for each variable, [X] each.
    """
    return function(*variables, *jnp.exp(logs))


def lbfgs(
    function: Function, starts: np.ndarray, points: Points, delta: float
) -> Optima:
    """Returns where L-BFGS with a line search ends from each start: [N].

    Args:
      function: Function of the form, of budgets and parameters.
      starts: Logarithms of the parameters at each start, [N, k].
      points: Points to fit, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    num_starts = len(starts)
    # XLA compiles for every shape: up to 64 starts are of one.
    more = max(_FEWEST_STARTS, 1 << (num_starts - 1).bit_length()) - num_starts
    padded = np.pad(starts, ((0, more), (0, 0)), mode="edge")
    ends = _lbfgs(function, padded, num_starts, MAX_STEPS, points, delta)
    return jax.tree.map(lambda end: np.asarray(end)[:num_starts], ends)


@functools.partial(for_cpu, static_argnums=0)
def _lbfgs(function, starts, num_starts, max_steps, points, delta):
    """Returns the ends of the first starts; of the others their beginnings.

    A few starts are under way at a time, and the next one begins where one has
    ended: some take many times as many steps as most.
    """
    unit = _unit(points, delta)

    def scaled(logs):
        return objective(function, logs, points, delta) / unit

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(scaled)

    def begun(start):
        return start, optimizer.init(start), jnp.inf, 0

    @jax.vmap
    def step(run):
        logs, state, _, num_steps = run
        value, grad = value_and_grad(logs, state=state)
        updates, state = optimizer.update(
            grad, state, logs, value=value, grad=grad, value_fn=scaled
        )
        logs = optax.apply_updates(logs, updates)
        gradient = jnp.abs(optax.tree.get(state, "grad")).max()
        return logs, state, gradient, num_steps + 1

    def go_on(carry):
        runs, places, num_begun, ends = carry
        runs = logs, _, gradients, num_steps = step(runs)
        ended = (num_steps >= max_steps) | ~(gradients > GRADIENT_TOLERANCE)
        # A place beyond the last is that of nobody: it is not written to.
        nobody = len(starts)
        ends = ends.at[jnp.where(ended, places, nobody)].set(logs, mode="drop")
        following = num_begun + jnp.cumsum(ended) - 1
        following = jnp.where(following < num_starts, following, nobody)
        fresh = jax.vmap(begun)(starts.at[following].get(mode="clip"))
        runs = jax.tree.map(
            lambda new, old: jax.vmap(jnp.where)(ended, new, old), fresh, runs
        )
        places = jnp.where(ended, following, places)
        return runs, places, num_begun + ended.sum(), ends

    first = jnp.arange(min(_NUM_AT_ONCE, len(starts)))
    carry = (
        jax.vmap(begun)(starts[: len(first)]),
        jnp.where(first < num_starts, first, len(starts)),
        jnp.minimum(len(first), num_starts),
        starts,
    )
    *_, ends = jax.lax.while_loop(
        lambda carry: (carry[1] < len(starts)).any(), go_on, carry
    )
    values, grads = jax.vmap(jax.value_and_grad(scaled))(ends)
    return Optima(ends, unit * values, jnp.abs(grads).max(axis=1))


@functools.partial(for_cpu, static_argnums=0)
def adam(
    function: Function, starts: jax.Array, points: Points, delta: jax.Array
) -> Optima:
    """Returns where Adam ends from each start: [N].

    It helps where there is no curvature that L-BFGS could use: it gets near an
    optimum from almost anywhere, but seldom within the tolerance. The learning
    rate falls to 0 along a cosine.

    Args:
      function: Function of the form, of budgets and parameters.
      starts: Logarithms of the parameters at each start, [N, k].
      points: Points to fit, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    unit = _unit(points, delta)

    def scaled(logs):
        return objective(function, logs, points, delta) / unit

    optimizer = optax.adam(
        optax.cosine_decay_schedule(_ADAM_LEARNING_RATE, _ADAM_STEPS)
    )

    def step(carry, _):
        logs, state = carry
        updates, state = optimizer.update(jax.grad(scaled)(logs), state)
        return (optax.apply_updates(logs, updates), state), None

    def optimum(start):
        carry = start, optimizer.init(start)
        (logs, _), _ = jax.lax.scan(step, carry, length=_ADAM_STEPS)
        value, grad = jax.value_and_grad(scaled)(logs)
        return Optima(logs, unit * value, jnp.abs(grad).max())

    return jax.vmap(optimum)(starts)


@functools.partial(for_cpu, static_argnums=0)
def newton(
    function: Function,
    starts: jax.Array,
    points: Points,
    delta: jax.Array,
    free: jax.Array,
) -> Optima:
    """Returns the best optimum of each of R sets of points: [R].

    Newton's method with exact second derivatives, damped until the objective
    falls. It fits many sets at once, where L-BFGS under `vmap` takes as long as
    its slowest start and line search. All starts take a few steps on a wider
    Huber loss; only the best of them, by the objective itself, go on to the
    end.

    Args:
      function: Function of the form, of budgets and parameters.
      starts: Logarithms of the parameters at each start of each set,
        [R, N, k].
      points: R sets of points, [R, X].
      delta: Residual of log L from which on the Huber loss is linear.
      free: Whether each parameter is fitted, bool [k]. A parameter that is not
        free keeps the value of its start.
    """
    coarse = _newton(
        function,
        starts,
        points,
        _COARSE_DELTA * delta,
        free,
        max_steps=_NUM_COARSE_STEPS,
    )
    values = _of_each_start(functools.partial(objective, function))(
        coarse.logs, points, delta
    )
    values = jnp.where(jnp.isnan(values), jnp.inf, values)
    best = jnp.argsort(values, axis=1)[:, :_NUM_KEPT]

    def narrower(logs, stage):
        times, max_steps = stage
        end = _newton(
            function, logs, points, times * delta, free, max_steps=max_steps
        )
        return end.logs, (end.objectives, end.gradients)

    logs, found = jax.lax.scan(
        narrower,
        jnp.take_along_axis(coarse.logs, best[..., None], axis=1),
        _stages(),
    )
    objectives, gradients = (of_stages[-1] for of_stages in found)
    values = jnp.where(jnp.isnan(objectives), jnp.inf, objectives)
    # Of equal optima one that converged.
    equal = values <= (1 + 1e-12) * values.min(axis=1, keepdims=True)
    chosen = jnp.where(equal, gradients, jnp.inf).argmin(axis=1)
    return jax.tree.map(
        lambda ends: jax.vmap(lambda end, start: end[start])(ends, chosen),
        Optima(logs, objectives, gradients),
    )


@functools.partial(for_cpu, static_argnums=0)
def polish(
    function: Function, start: jax.Array, points: Points, delta: jax.Array
) -> Optima:
    """Returns the optimum near a start, as exact as float64 has it.

    Newton's method, like `newton`, until the gradient does not get smaller.

    Args:
      function: Function of the form, of budgets and parameters.
      start: Logarithms of the parameters, [k].
      points: Points to fit, [X].
      delta: Residual of log L from which on the Huber loss is linear.
    """
    free = jnp.ones(len(start), bool)
    ends = _newton(
        function,
        start[None, None],
        jax.tree.map(lambda values: values[None], points),
        delta,
        free,
        max_steps=_NUM_POLISH_STEPS,
        tolerance=_POLISH_TOLERANCE,
    )
    return jax.tree.map(lambda end: end[0, 0], ends)


def _stages() -> tuple[jax.Array, jax.Array]:
    """Returns the widths of the Huber loss, times delta, and steps at each."""
    widths, steps = zip(*_STAGES, strict=True)
    return jnp.array(widths), jnp.array(steps)


def _of_each_start(function: Callable) -> Callable:
    """Returns a function of [R, N, k] and R sets for one of [k] and a set.

    Arguments behind these two are the same for all.
    """

    def of_all(logs, points, *others):
        def of_one(logs, points):
            return function(logs, points, *others)

        return jax.vmap(jax.vmap(of_one, (0, None)))(logs, points)

    return of_all


def _newton(
    function,
    starts,
    points,
    delta,
    free,
    *,
    max_steps,
    tolerance=GRADIENT_TOLERANCE,
):
    """Returns where damped Newton steps end from each start: [R, N].

    The loop runs until all have ended; those that have ended stay. Under `vmap`
    it would do the same, but JAX would take three times as long to trace it.
    """
    k = starts.shape[-1]
    units = jax.vmap(_unit, (0, None))(points, delta)
    expansion = _of_each_start(functools.partial(_expansion, function))

    def unfinished(carry):
        _, (_, grad, _), damping, num_steps = carry
        return (
            (num_steps < max_steps)
            & (jnp.abs(grad).max(axis=-1) > tolerance)
            & (damping < 1e12)
        )

    def step(carry):
        logs, here, damping, num_steps = carry
        value, grad, hessian = here
        move = -_damped_solution(hessian, grad, damping)
        longest = jnp.abs(move).max(axis=-1, keepdims=True)
        move *= jnp.minimum(1.0, _MAX_STEP / longest)
        there = expansion(logs + move, (points, units), delta, free)
        # Near the optimum the objective is flat to the last bit: there the
        # gradient decides.
        better = (there[0] < value) | (
            (there[0] <= value * (1 + 1e-14))
            & (jnp.abs(there[1]).max(axis=-1) < jnp.abs(grad).max(axis=-1))
        )
        predicted = (grad * move).sum(axis=-1)
        as_predicted = there[0] - value < 0.25 * predicted
        new_damping = jnp.where(
            better, jnp.where(as_predicted, damping / 8, damping), 4 * damping
        )
        new_damping = jnp.maximum(new_damping, 1e-14)
        goes_on = unfinished(carry)

        def chosen(which, new, old):
            rank = new.ndim - which.ndim
            return jnp.where(which.reshape(*which.shape, *[1] * rank), new, old)

        logs, here = jax.tree.map(
            functools.partial(chosen, better & goes_on),
            (logs + move, there),
            (logs, here),
        )
        return (
            logs,
            here,
            jnp.where(goes_on, new_damping, damping),
            num_steps + goes_on,
        )

    # Before the first step the objective counts as infinite and the curvature
    # as 1e300, so that the first step has length 0 and is accepted: it only
    # evaluates the start. So the expansion is compiled once.
    rows = starts.shape[:-1]
    nowhere = (
        jnp.full(rows, jnp.inf),
        jnp.ones((*rows, k)),
        jnp.broadcast_to(1e300 * jnp.eye(k), (*rows, k, k)),
    )
    carry = (
        starts,
        nowhere,
        jnp.full(rows, _FIRST_DAMPING),
        jnp.zeros(rows, int),
    )
    logs, (value, grad, _), _, _ = jax.lax.while_loop(
        lambda carry: unfinished(carry).any(), step, carry
    )
    return Optima(logs, units[:, None] * value, jnp.abs(grad).max(axis=-1))


def _expansion(function, logs, points_and_unit, delta, free):
    """Returns the objective, its gradient and its second derivatives."""
    points, unit = points_and_unit

    def gradient(logs):
        value, grad = jax.value_and_grad(
            lambda logs: objective(function, logs, points, delta) / unit
        )(logs)
        return grad, (value, grad)

    hessian, (value, grad) = jax.jacfwd(gradient, has_aux=True)(logs)
    both = free[:, None] & free[None, :]
    fixed = jnp.diag(jnp.where(free, 0.0, 1.0))
    return (
        value,
        jnp.where(free, grad, 0.0),
        jnp.where(both, hessian, 0.0) + fixed,
    )


def _damped_solution(
    hessian: jax.Array, grad: jax.Array, damping: jax.Array
) -> jax.Array:
    """Returns the solution of H move = grad, H made positive and damped.

    H = L D L^T with each |D_j| + damping in place of D_j, so that the move goes
    downhill whatever the curvature. The loops over the few parameters are
    unrolled: a call of LAPACK for each start costs more than all the rest.

    Args:
      hessian: H, [..., k, k].
      grad: Right sides, [..., k].
      damping: What is added to each |D_j|, [...].
    """
    k = grad.shape[-1]
    lower = [[0.0] * k for _ in range(k)]
    diagonal = []
    for j in range(k):
        pivot = hessian[..., j, j]
        for m in range(j):
            pivot -= lower[j][m] ** 2 * diagonal[m]
        diagonal.append(jnp.abs(pivot) + damping)
        for i in range(j + 1, k):
            entry = hessian[..., i, j]
            for m in range(j):
                entry -= lower[i][m] * lower[j][m] * diagonal[m]
            lower[i][j] = entry / diagonal[j]
    move = []
    for i in range(k):
        move.append(grad[..., i] - sum(lower[i][m] * move[m] for m in range(i)))
    move = [entry / pivot for entry, pivot in zip(move, diagonal, strict=True)]
    for i in reversed(range(k)):
        move[i] -= sum(lower[m][i] * move[m] for m in range(i + 1, k))
    return jnp.stack(move, axis=-1)


def _unit(points: Points, delta: jax.Array) -> jax.Array:
    """Returns the scale of the objective's derivatives.

    This is the sum of the weights times the largest derivative of the Huber
    loss, or times the spread of log L where that is less. So a fit ends in the
    same place whether its objective is a sum or a mean.
    """
    total = points.weights.sum()
    mean = points.weights @ points.log_L / total
    variance = points.weights @ (points.log_L - mean) ** 2 / total
    return total * jnp.minimum(delta, jnp.sqrt(variance) + 1e-12)
