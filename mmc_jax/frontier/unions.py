"""The sums of unions of subsets, a tile at a time: what the searches run on.

M models, X texts, S and R subsets.

One `min_sum` joins S subsets with R others once the least regret of each on
each text is known. Those minima come from a tree: subsets are cut into eights
of models, each pattern of an eight that occurs is reduced once, then each
triple of patterns, and so on: two or three passes over a subset instead of one
for each of its models, and nothing to be kept from one level to the next.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.regrets import Regrets

# Subsets on one side of a tile: beyond, a tile is no faster.
TILE_ROWS = 1024

# Patterns that are joined at once, after the eights.
_ARITY = 3


def union_sums(
    regrets: Regrets, masks: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """Returns the regret sum of every union of two subsets: float32 or 64.

    out_sr = sum_x min(min_{i in S} R_ix, min_{j in R} R_jx): [S, R]

    Args:
      regrets: of the search.
      masks: [S, M], up to `TILE_ROWS` of them.
      others: [R, M], up to as many; if left out the single models and, in the
        last column, no model: [S, M + 1].
    """
    tree = _tree(masks)
    other_tree = None if others is None else _tree(others)
    num_others = masks.shape[1] + 1 if others is None else len(others)
    total = None
    for table in regrets.chunks:
        values = _minima(table, tree)
        right = table if other_tree is None else _minima(table, other_tree)
        sums = np.asarray(_min_sum(values, right))[: len(masks), :num_others]
        if total is None:
            # float32 where there is but one chunk.
            many = len(regrets.chunks) > 1
            total = sums.astype(np.float64) if many else sums
        else:
            total += sums
    return total


def tiles(masks: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the masks, `TILE_ROWS` at a time."""
    for start in range(0, len(masks), TILE_ROWS):
        yield masks[start : start + TILE_ROWS]


@jax.jit
def _min_sum(values: jax.Array, others: jax.Array) -> jax.Array:
    # Under `jit` the values are not looked through for NaN once more.
    return oracle.min_sum(values, others)


@jax.jit
def _least(table: jax.Array, rows: jax.Array) -> jax.Array:
    """Returns the minimum of some rows of the table: [S, X] for rows [n, S]."""
    least = table.at[rows[0]].get(mode="clip")
    for row in rows[1:]:
        least = jnp.minimum(least, table.at[row].get(mode="clip"))
    return least


def _minima(table: jax.Array, tree: Sequence[np.ndarray]) -> jax.Array:
    for rows in tree:
        table = _least(table, rows)
    return table


def _tree(masks: np.ndarray) -> list[np.ndarray]:
    """Returns which rows to join in each step: [n, rows of the step] each.

    The first step joins rows of the table (its last is no model), each other
    step rows of the one before. Lengths are powers of two: XLA compiles for
    every shape.
    """
    num_subsets, num_models = masks.shape
    # A byte is eight models; patterns that occur are numbered, eight by eight.
    packed = np.packbits(masks, axis=1, bitorder="little")
    num_eights = packed.shape[1]
    occurs = np.zeros((num_eights, 256), bool)
    occurs[np.arange(num_eights), packed] = True
    number = np.cumsum(occurs).reshape(occurs.shape) - 1
    ids = number[np.arange(num_eights), packed]
    eight, pattern = np.nonzero(occurs)
    models = 8 * eight + np.arange(8)[:, None]
    has = (pattern >> np.arange(8)[:, None] & 1).astype(bool)
    steps = [np.where(has, models, num_models)]
    while ids.shape[1] > 1:
        # The last id fills up: joined twice it changes nothing.
        ids = np.pad(ids, ((0, 0), (0, -ids.shape[1] % _ARITY)), mode="edge")
        groups = ids.reshape(num_subsets, -1, _ARITY)
        if groups.shape[1] == 1:
            steps.append(groups[:, 0].T)
            break
        num_rows = steps[-1].shape[1]
        keys = groups @ num_rows ** np.arange(_ARITY)
        distinct, ids = np.unique(keys, return_inverse=True)
        ids = ids.reshape(keys.shape)
        steps.append(
            distinct // num_rows ** np.arange(_ARITY)[:, None] % num_rows
        )
    else:
        steps.append(ids.T)
    return [
        np.pad(
            rows.astype(np.int32),
            ((0, 0), (0, _padded(rows.shape[1]) - rows.shape[1])),
            mode="edge",
        )
        for rows in steps
    ]


def _padded(num_rows: int) -> int:
    return max(16, 1 << (num_rows - 1).bit_length())
