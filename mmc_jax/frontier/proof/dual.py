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

All sums are of whole numbers, and the rest is NumPy's: the same thresholds on
every machine.

Source: Duran-Mateluna, Ales and Elloumi, EJOR 2023 (eq. 18 to 20) for the
linear program; Polyak 1969 for the step.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle, stages
from mmc_jax.frontier.proof.integers import IntegerPool

_NUM_STEPS = 100  # Of the ascent.

# The step is shortened after so many steps without a better bound.
_PATIENCE, _SHORTER = 8, 0.6

# Budgets times texts that are worked on at once.
_NUMBERS_AT_ONCE = 2**21

# Shares of models are whole multiples of 2^-20 where they are added up.
_SHARE = 2**20

_LARGEST = 2**32 - 1


def thresholds(
    pool: IntegerPool,
    budgets: np.ndarray,
    sums: np.ndarray,
    starts: np.ndarray,
) -> np.ndarray:
    """Returns thresholds tuned to each budget, in whole units: [V, X] uint32.

    Args:
      pool: Losses and costs in whole numbers.
      budgets: High part of each budget, [V] int64, enough for a model.
      sums: Whole loss sum of the best known subset of each budget, [V].
      starts: That subset of each budget, [V, M] bool.
    """
    num_budgets = len(budgets)
    at_once = max(1, _NUMBERS_AT_ONCE // pool.values.shape[1])
    # XLA compiles for every number of budgets: so there are few.
    at_once = min(at_once, 1 << (num_budgets - 1).bit_length())
    found = []
    with jax.enable_x64(True):
        values = jnp.asarray(pool.values)
        for first in range(0, num_budgets, at_once):
            stages.say(
                f"thresholds of {first:,} of {num_budgets:,} windows of budgets"
            )
            # The last is tuned again to fill up.
            some = np.minimum(
                np.arange(first, first + at_once), num_budgets - 1
            )
            found.append(
                _ascent(
                    values,
                    pool.costs.astype(np.float64),
                    budgets[some].astype(np.float64),
                    np.asarray(sums, np.float64)[some],
                    _halfway(pool.values, starts[some]),
                )
            )
    return np.concatenate(found)[:num_budgets]


def _ascent(
    values: jax.Array,
    costs: np.ndarray,
    budgets: np.ndarray,
    sums: np.ndarray,
    v: np.ndarray,
) -> np.ndarray:
    """Returns the thresholds of the best bound met: [V, X] uint32.

    Args:
      values: Losses, [M, X] uint32.
      costs: Costs, [M] float64.
      budgets: Budgets, [V] float64.
      sums: Loss sums of the best known subsets, [V] float64.
      v: First thresholds, [V, X] float64.
    """
    num_budgets = len(budgets)
    best, best_v = np.full(num_budgets, -np.inf), v.astype(np.uint32)
    length = np.ones(num_budgets)
    num_worse = np.zeros(num_budgets, np.int64)
    # The last step's thresholds are looked at, too.
    for _ in range(_NUM_STEPS + 1):
        whole = np.clip(np.rint(v), 0, _LARGEST).astype(np.uint32)
        placed = jnp.asarray(whole)
        total = whole.sum(axis=1, dtype=np.int64)
        joined = np.asarray(oracle.min_sum(placed, values))
        rho = (total[:, None] - joined).astype(np.float64)
        y = _bought(rho, costs, budgets)
        bound = total - (y * rho).sum(axis=1)
        better = bound > best
        num_worse = np.where(better, 0, num_worse + 1)
        best_v[better] = whole[better]
        best = np.maximum(bound, best)
        # Back to the best, with shorter steps.
        again = num_worse >= _PATIENCE
        length = np.where(again, _SHORTER * length, length)
        num_worse = np.where(again, 0, num_worse)
        shares = np.rint(y * _SHARE).astype(np.int32)
        g = np.asarray(_covered(values, placed, shares)) * (-1.0 / _SHARE)
        g += 1
        polyak = (sums - bound) / ((g * g).sum(axis=1) + 1e-9)
        g *= (length * polyak)[:, None]
        v += g
        v[again] = best_v[again]
    return best_v


@jax.jit
def _covered(values: jax.Array, v: jax.Array, shares: jax.Array) -> jax.Array:
    """Returns sum_j y_j [L_jx < v_x] in shares, model by model: [V, X]."""

    def add(j, covered):
        return covered + jnp.where(values[j] < v, shares[:, j][:, None], 0)

    return jax.lax.fori_loop(0, len(values), add, jnp.zeros(v.shape, jnp.int32))


def _halfway(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the middle of each subset's two least losses: [V, X] float64.

    The least itself where the subset has one model.
    """
    found = np.empty((len(starts), values.shape[1]))
    for row, mask in zip(found, starts, strict=True):
        inside = values[mask].astype(np.float64)
        if len(inside) > 1:
            inside = np.partition(inside, 1, axis=0)[:2]
        row[:] = inside.mean(axis=0)
    return found


def _bought(
    rho: np.ndarray, costs: np.ndarray, budgets: np.ndarray
) -> np.ndarray:
    """Returns how much of each model a budget buys for most rho: [V, M]."""
    fits = costs <= budgets[:, None]
    ratio = np.where(fits, rho / np.maximum(costs, 1e-9), -1.0)
    order = np.argsort(-ratio, axis=1, kind="stable")
    in_order = np.take_along_axis(np.where(fits, costs, 0), order, axis=1)
    before = np.cumsum(in_order, axis=1) - in_order
    left = budgets[:, None] - before
    share = np.clip(left / np.maximum(in_order, 1e-9), 0, 1)
    share *= np.take_along_axis(fits, order, axis=1)
    bought = np.zeros_like(rho)
    np.put_along_axis(bought, order, share, axis=1)
    return bought
