"""A pool in whole numbers, on which bounds and comparisons are exact.

M models, X texts.
"""

import math
from typing import NamedTuple

import jax
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.pareto import padded_rows
from mmc_jax.statistics.inputs import Inputs

# Costs are taken as decimal numbers of at most so many places.
_MOST_DECIMALS = 9

# Costs that are no such numbers are cut to so many bits of their sum.
_COST_BITS = 40

# Sums below are exact in float64, with room for a bound's.
_MOST_SUM = 2**52


class IntegerPool(NamedTuple):
    """A pool of which losses and costs are whole numbers.

    w_x L_ix is scale (offsets_x + values_ix), off by at most scale / 2; cost i
    is costs_i / cost_scale.

    Attributes:
      values: [M, X] uint32, the weighted losses less the text's offset.
      offsets: [X] int64, in units of the scale.
      scale: One unit of a weighted loss, a power of two.
      error: What rounding moves an oracle loss by at most, in the unit of the
        losses; 0 where all are multiples of the scale.
      total_weight: sum_x w_x.
      costs: [M] int64.
      cost_scale: Whole units in 1 of the cost's own unit.
    """

    values: np.ndarray
    offsets: np.ndarray
    scale: float
    error: float
    total_weight: float
    costs: np.ndarray
    cost_scale: float


def integer_pool(inputs: Inputs) -> IntegerPool:
    """Returns the pool in whole numbers; the arguments are checked already.

    Raises:
      ValueError: losses so large, for how close together they are, that float64
        cannot tell them apart on the scale; too many texts: some millions.
    """
    losses, costs, weights = inputs
    num_texts = losses.shape[1]
    weighted = losses if weights is None else losses * weights
    total_weight = float(num_texts if weights is None else weights.sum())
    table = oracle.quantised(weighted)
    if int(table.values.max(axis=0).astype(np.int64).sum()) >= _MOST_SUM:
        raise ValueError(
            f"the losses of {num_texts:,} texts are too many for exact sums: "
            "take fewer texts."
        )
    units = weighted / table.scale
    moved = np.abs(units - table.offsets - table.values).max(axis=0).sum()
    whole_costs, cost_scale = _whole_costs(costs)
    return IntegerPool(
        table.values,
        table.offsets,
        table.scale,
        float(table.scale * moved / total_weight),
        total_weight,
        whole_costs,
        cost_scale,
    )


def mean_losses(pool: IntegerPool, sums: np.ndarray) -> np.ndarray:
    """Returns the oracle losses, in the unit of the losses, of whole sums."""
    base = int(pool.offsets.sum())
    return pool.scale * ((np.asarray(sums, float) + base) / pool.total_weight)


def loss_sums(pool: IntegerPool, masks: np.ndarray) -> np.ndarray:
    """Returns the whole loss sum of each subset [S, M], exact: [S] int64."""
    with jax.enable_x64(True):
        sums = oracle.oracle_sums(pool.values, padded_rows(masks))
    return np.asarray(sums)[: len(masks)]


def _whole_costs(costs: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the costs in whole units [M], and the units in 1."""
    total = float(costs.sum())
    for decimals in range(_MOST_DECIMALS + 1):
        scale = 10.0**decimals
        whole = np.rint(costs * scale)
        if total * scale < 2**52 and np.array_equal(whole / scale, costs):
            return whole.astype(np.int64), scale
    scale = math.ldexp(1.0, _COST_BITS - math.frexp(total)[1])
    return np.rint(costs * scale).astype(np.int64), scale
