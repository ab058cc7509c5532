"""Thresholds of loss whose bounds are near the best: dual ascent.

M models, X texts, V budgets.

For any thresholds v [X] and any subset S that costs at most B,

    sum_x min_{i in S} L_ix >= sum_x v_x - K_v(B),
    K_v(B) = max over such S of sum_{j in S} rho_j,
    rho_j = sum_x max(v_x - L_jx, 0):

one v bounds all budgets at once. With models that may be bought in part, the
largest right side over v is the bound of the linear program of the p-median
problem with a budget. It is concave in v; a subgradient is

    g_x = 1 - sum_j y_j [L_jx < v_x],

y what the knapsack buys, and Polyak's step goes as far along it as the loss of
the best known subset allows.

Source: Duran-Mateluna, Ales and Elloumi, EJOR 2023 (eq. 18 to 20) for the
linear program; Polyak 1969 for the step.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.proof.integers import IntegerPool

_NUM_STEPS = 100  # Of the ascent.

# The step is shortened after so many steps without a better bound.
_PATIENCE, _SHORTER = 8, 0.6

# Budgets times texts that are worked on at once.
_NUMBERS_AT_ONCE = 2**21


def thresholds(
    pool: IntegerPool,
    budgets: np.ndarray,
    sums: np.ndarray,
    starts: np.ndarray,
) -> np.ndarray:
    """Returns thresholds tuned to each budget, in whole units: [V, X] uint32.

    Args:
      pool: The losses and costs.
      budgets: [V] int64, each enough for a model.
      sums: [V], the whole loss sum of the best known subset of each budget.
      starts: [V, M] bool, that subset.
    """
    num_budgets = len(budgets)
    values = jnp.asarray(pool.values, jnp.float32)
    at_once = max(1, _NUMBERS_AT_ONCE // pool.values.shape[1])
    # XLA compiles for every number of budgets: so there are few.
    at_once = min(at_once, 1 << (num_budgets - 1).bit_length())
    found = []
    with jax.enable_x64(True):
        costs = jnp.asarray(pool.costs, jnp.float64)
        for first in range(0, num_budgets, at_once):
            # The last is tuned again to fill up.
            part = np.minimum(
                np.arange(first, first + at_once), num_budgets - 1
            )
            tuned = _ascent(
                values,
                costs,
                jnp.asarray(budgets[part], jnp.float64),
                jnp.asarray(sums[part], jnp.float64),
                jnp.asarray(starts[part]),
            )
            found.append(np.asarray(tuned, np.float64))
    v = np.rint(np.concatenate(found)[:num_budgets])
    return np.clip(v, 0, np.iinfo(np.uint32).max).astype(np.uint32)


@jax.jit
def _ascent(values, costs, budgets, sums, starts):
    """Returns the thresholds of the best bound met, [V, X] float32."""

    def step(_, state):
        v, best_v, best, length, num_worse = state
        total = v.sum(axis=1, dtype=jnp.float64)
        joined = oracle.min_sum(v, values).astype(jnp.float64)
        rho = jnp.maximum(total[:, None] - joined, 0)
        y = jax.vmap(_bought, (0, None, 0))(rho, costs, budgets)
        bound = total - (y * rho).sum(axis=1)
        better = bound > best
        num_worse = jnp.where(better, 0, num_worse + 1)
        best_v = jnp.where(better[:, None], v, best_v)
        best = jnp.maximum(bound, best)
        # Back to the best, with shorter steps.
        again = num_worse >= _PATIENCE
        length = jnp.where(again, _SHORTER * length, length)
        num_worse = jnp.where(again, 0, num_worse)
        g = 1 - _covered(values, v, y.astype(v.dtype))
        polyak = (sums - bound).astype(v.dtype) / ((g * g).sum(axis=1) + 1e-9)
        ahead = v + (length * polyak)[:, None] * g
        v = jnp.where(again[:, None], best_v, ahead)
        return v, best_v, best, length, num_worse

    v = jax.vmap(_second_least, (None, 0))(values, starts)
    num_budgets = len(budgets)
    state = (
        v,
        v,
        jnp.full(num_budgets, -jnp.inf),
        jnp.ones(num_budgets, v.dtype),
        jnp.zeros(num_budgets, jnp.int32),
    )
    # The last step's thresholds are looked at, too.
    return jax.lax.fori_loop(0, _NUM_STEPS + 1, step, state)[1]


def _covered(values, v, y):
    """Returns sum_j y_j [L_jx < v_x], model by model: [V, X]."""

    def add(j, covered):
        return covered + jnp.where(values[j] < v, y[:, j][:, None], 0)

    return jax.lax.fori_loop(0, len(values), add, jnp.zeros_like(v))


def _second_least(values, start):
    """Returns half the way from a subset's least loss to its second: [X]."""
    inside = jnp.where(start[:, None], values, jnp.inf)
    least = inside.min(axis=0)
    ties = (inside == least).sum(axis=0)
    above = jnp.where(inside == least, jnp.inf, inside).min(axis=0)
    second = jnp.where((ties > 1) | jnp.isinf(above), least, above)
    return (least + second) / 2


def _bought(rho, costs, budget):
    """Returns how much of each model the budget buys for most rho: [M]."""
    fits = costs <= budget
    ratio = jnp.where(fits, rho / jnp.maximum(costs, 1e-9), -1.0)
    order = jnp.argsort(-ratio)
    in_order = jnp.where(fits, costs, 0)[order]
    before = jnp.cumsum(in_order) - in_order
    share = jnp.clip((budget - before) / jnp.maximum(in_order, 1e-9), 0, 1)
    share = jnp.where(fits[order], share, 0.0)
    return jnp.zeros_like(rho).at[order].set(share)
