"""Unions of subsets, a tile at a time: what every search runs on.

M models, X texts, S and R subsets, F frontier points.

One `min_sum` joins S subsets with R others once the least loss of each on each
text is known. Those minima come from a tree: subsets are cut into eights of
models, each pattern of an eight that occurs is reduced once, then each triple
of patterns, and so on: two or three passes over a subset instead of one for
each of its models, and nothing to be kept from one tile to the next.

All in whole numbers: the same minima give the same sum, on whatever device and
however a subset was put together, so that ties are seen as ties.
"""

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.inputs import Inputs
from mmc_jax.frontier.pareto import (
    Frontier,
    cost_parts,
    non_dominated,
    rounded_sum,
    subset_costs,
)

_Tile = TypeVar("_Tile")

# Subsets on one side of a tile: beyond, a tile is no faster.
TILE_ROWS = 1024

# Texts in a chunk: the minima of a tile are 16 MB, which XLA's allocator gives
# again without the system (5 times faster than 32 MB).
_CHUNK_TEXTS = 4096

# Patterns that are joined at once, after the eights.
_ARITY = 3

# Points that go through the filter at once, and those that go first.
_POINTS, _SAMPLE = 2**17, 2**12


def loss_chunks(inputs: Inputs) -> tuple[jax.Array, ...]:
    """Returns w_x (L_ix - min_j L_jx), some texts at a time.

    [M + 1, texts] uint32 each, in units of at most 2^-31 of the largest; the
    last row is of no model.
    """
    losses, _, weights = inputs
    num_models, num_texts = losses.shape
    excess = losses - losses.min(axis=0)
    if weights is not None:
        excess *= weights
    values = oracle.quantised(excess, np.uint32, power_of_two=True).values
    num_chunks = -(-num_texts // _CHUNK_TEXTS)
    # Whole vector registers; texts without a loss fill the last chunk.
    size = -(-num_texts // (64 * num_chunks)) * 64
    # Kept there, whichever thread computes with them.
    (device,) = jnp.zeros(()).devices()
    chunks = []
    for start in range(0, num_texts, size):
        value = values[:, start : start + size]
        table = np.zeros((num_models + 1, size), np.uint32)
        table[:-1, : value.shape[1]] = value
        table[-1] = np.iinfo(np.uint32).max
        chunks.append(jax.device_put(table, device))
    return tuple(chunks)


def union_sums(
    chunks: Sequence[jax.Array],
    masks: np.ndarray,
    others: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the loss sum of every union of two subsets: [S, R] float64.

    out_sr = sum_x min(min_{i in S} c_ix, min_{j in R} c_jx), c the chunks

    Args:
      chunks: of `loss_chunks`.
      masks: [S, M], up to `TILE_ROWS` of them.
      others: [R, M], up to as many; if left out the single models and, in the
        last column, no model: [S, M + 1].
    """
    tree = _tree(masks)
    other_tree = None if others is None else _tree(others)
    num_others = masks.shape[1] + 1 if others is None else len(others)
    total = np.zeros((len(masks), num_others))
    with jax.enable_x64(True):
        for table in chunks:
            values = _minima(table, tree)
            right = table if other_tree is None else _minima(table, other_tree)
            sums = np.asarray(_min_sum(values, right))
            total += sums[: len(masks), :num_others]
    return total


def tiles(masks: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the masks, `TILE_ROWS` at a time."""
    for start in range(0, len(masks), TILE_ROWS):
        yield masks[start : start + TILE_ROWS]


def ahead(
    sums: Callable[[_Tile], np.ndarray], tiles: Iterable[_Tile]
) -> Iterator[tuple[_Tile, np.ndarray]]:
    """Yields each tile and its sums, in order.

    The sums of the next tile are computed meanwhile, in a thread of their own:
    the kernels do not wait for the filter, nor the filter for them.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        last = None
        for tile in tiles:
            computed = thread.submit(sums, tile)
            if last is not None:
                yield last[0], last[1].result()
            last = tile, computed
        if last is not None:
            yield last[0], last[1].result()


def frontier_with_unions(
    frontier: Frontier,
    sums: np.ndarray,
    costs: np.ndarray,
    masks: np.ndarray,
    others: np.ndarray,
) -> Frontier:
    """Returns the frontier of what it was and a tile of unions.

    Its losses are sums over texts. Only what is below the frontier so far gets
    a mask and is sorted.

    Args:
      frontier: so far.
      sums: [S, R], the loss sum of each union; infinity leaves one out.
      costs: [M].
      masks: [S, M].
      others: [R, M].
    """
    # By cost, the search for the place in the frontier is four times faster.
    by_cost = np.argsort(subset_costs(others, costs))
    others = others[by_cost]
    costs_of_masks = cost_parts(masks, costs)
    costs_of_others = cost_parts(others, costs)
    for rows in _slices(*sums.shape):
        cost = rounded_sum(
            *(part[rows, None] for part in costs_of_masks), *costs_of_others
        )
        points = sums[rows][:, by_cost]
        place = np.searchsorted(frontier.costs, cost, side="right")
        # Where nothing costs less, all but infinity stays.
        greatest = np.concatenate([[np.finfo(np.float64).max], frontier.losses])
        stays = points <= greatest[place]
        row, column = np.nonzero(stays)
        found = (cost[stays], points[stays], masks[rows][row] | others[column])
        frontier = non_dominated(
            *map(np.concatenate, zip(frontier, found, strict=True))
        )
    return frontier


def _slices(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Yields slices of the rows: a few of all, then all, some at a time.

    What the first leave on the frontier keeps most others from being sorted.
    """
    step = max(1, _SAMPLE // num_columns)
    if step < num_rows:
        yield slice(None, None, -(-num_rows // step))
    step = max(1, _POINTS // num_columns)
    for start in range(0, num_rows, step):
        yield slice(start, start + step)


@jax.jit
def _min_sum(values: jax.Array, others: jax.Array) -> jax.Array:
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
