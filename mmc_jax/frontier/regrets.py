"""What each model loses beyond the best of all: the float32 table of searches.

M models, X texts.

A search compares sums of millions of subsets in float32 and settles in float64
only what float32 cannot tell apart. It sums regrets, not losses:

    R_ix = w_x (L_ix - min_j L_jx)

They are never negative, so that a sum is off by a share of itself, and the sum
of a subset is small where the frontier is crowded: near the loss of all models
float32 tells ten to a hundred times smaller differences apart than it would on
the losses. A subset that is best on every text sums to 0 exactly.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax.frontier.inputs import Inputs

# The contract of `oracle.min_sum` in float32, and the rounding of the table.
_KERNEL_ERROR = 1e-6
_TABLE_ERROR = 2.0**-24 + 4 * 2.0**-53

# What `oracle.oracle_losses` may be off by in float64, as a share of the sum of
# magnitudes; a quarter of it is what the kernels state.
_FLOAT64_ERROR = 4e-15

_FLOAT32 = np.finfo(np.float32)

# Whole numbers up to here add exactly in float32, in any order.
_FLOAT32_WHOLE = 2**24

# Texts in a chunk: the minima of a tile of 1,024 subsets are 16 MB, which XLA's
# allocator gives again without the system (5 times faster than 32 MB).
_CHUNK_TEXTS = 4096


class Regrets(NamedTuple):
    """The float32 table, a chunk of texts at a time, and what its sums are off.

    The true sum of a subset, and that of its float64 oracle loss, lies within
    `relative` times the float32 sum plus `absolute` of it, and is 0 where that
    is 0.

    Attributes:
      chunks: of [M + 1, texts] each. The last row, infinity, is no model.
      relative: share of the sum; 0 where all sums are exact.
      absolute: in the unit of the sums.
    """

    chunks: tuple[jax.Array, ...]
    relative: float
    absolute: float

    def bounds(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the least and the greatest that the true sums can be."""
        some = sums > 0
        low = sums * (1 - self.relative) - some * self.absolute
        high = sums * (1 + self.relative) + some * self.absolute
        return low, high

    def greatest_sum(self, low: np.ndarray) -> np.ndarray:
        """Returns float32 sums above which `bounds` are above `low`."""
        return (low + self.absolute) / (1 - self.relative)


def regrets(inputs: Inputs) -> Regrets:
    """Returns the table of regrets of checked inputs."""
    losses, _, weights = inputs
    num_models, num_texts = losses.shape
    num_chunks = -(-num_texts // _CHUNK_TEXTS)
    # Whole vector registers; texts without regret fill the last chunk.
    size = -(-num_texts // (64 * num_chunks)) * 64
    scale = _power_of_two_above(_largest_regret(losses, weights, size))
    chunks, exact, magnitude = [], scale <= _FLOAT32_WHOLE, 0.0
    greatest_sum = 0.0
    for start in range(0, num_texts, size):
        loss = losses[:, start : start + size]
        weight = None if weights is None else weights[start : start + size]
        regret = _regret(loss, weight)
        exact = exact and bool((regret == np.rint(regret)).all())
        greatest_sum += regret.max(axis=0).sum()
        terms = np.abs(loss).max(axis=0)
        magnitude += (terms if weight is None else terms * weight).sum()
        table = np.zeros((num_models + 1, size), np.float32)
        filled = table[:-1, : loss.shape[1]]
        filled[:] = regret / scale
        # A regret too small for float32 is not none.
        np.maximum(filled, _FLOAT32.tiny, where=regret > 0, out=filled)
        table[-1] = np.inf
        chunks.append(jnp.asarray(table))
    if exact and greatest_sum <= _FLOAT32_WHOLE:
        return Regrets(tuple(chunks), 0.0, 0.0)
    return Regrets(
        tuple(chunks),
        _KERNEL_ERROR + _TABLE_ERROR,
        _FLOAT64_ERROR * magnitude / scale,
    )


def _regret(loss: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    regret = loss - loss.min(axis=0)
    return regret if weight is None else regret * weight


def _largest_regret(
    losses: np.ndarray, weights: np.ndarray | None, size: int
) -> float:
    largest = 0.0
    for start in range(0, losses.shape[1], size):
        spread = np.ptp(losses[:, start : start + size], axis=0)
        if weights is not None:
            spread = spread * weights[start : start + size]
        largest = max(largest, float(spread.max()))
    return largest


def _power_of_two_above(number: float) -> float:
    """Returns the least power of two above it: a division by it is exact."""
    return float(np.ldexp(1.0, np.frexp(number)[1])) if number else 1.0
