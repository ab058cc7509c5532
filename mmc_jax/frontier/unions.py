"""The losses of unions of subsets, a tile at a time: what the searches run on.

M models, X texts, S and R subsets.
"""

import jax
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.inputs import Inputs
from mmc_jax.frontier.pareto import padded_rows
from mmc_jax.oracle import xla

# Bytes of the minima [rows, X] of one side of a tile; the kernel takes up to
# two more copies of them.
_TILE_BYTES = 2**26

# Rows beyond which a tile is no faster.
_MAX_ROWS = 1024


def rows_in_tile(num_texts: int) -> int:
    """Returns how many subsets one side of a tile holds, a power of two."""
    rows = max(1, _TILE_BYTES // (8 * num_texts))
    return min(_MAX_ROWS, 1 << (rows.bit_length() - 1))


def union_losses(
    inputs: Inputs, masks: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Returns the oracle loss of every union of two subsets: [S, R] float64.

    L(S or R) = sum_x w_x min(min_{i in S} L_ix, min_{j in R} L_jx) / sum_x w_x

    one `min_sum` of the minima of both sides. Equal to the last bit to what
    `oracle_losses` says of the union: minima are exact and the order of
    addition depends on the texts alone.

    Args:
      inputs: the checked arguments of the search.
      masks: [S, M], at most `rows_in_tile` of them: their minima [S, X] are
        held at once.
      others: [R, M], at most as many, or the single models.
    """
    losses, _, weights = inputs
    with jax.enable_x64(True):
        sums = _union_sums(losses, padded_rows(masks), others, weights)
        if weights is None:
            total = losses.shape[1]
        else:
            one = np.ones((1, losses.shape[1]))
            total = float(oracle.min_sum(one, one, weights)[0, 0])
    return np.asarray(sums)[: len(masks)] / total


@jax.jit
def _union_sums(losses, masks, others, weights):
    return oracle.min_sum(
        xla.minima(losses, masks), xla.minima(losses, others), weights
    )
