"""Unions of subsets, a tile at a time: what every search runs on.

M models, X texts, S and R subsets, F frontier points.

One call of a kernel joins S subsets with R others: nothing is kept from one
tile to the next.

All in whole numbers: the same minima give the same sum, on whatever device and
however a subset was put together, so that ties are seen as ties.
"""

import concurrent.futures
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.pareto import (
    Frontier,
    cost_and_rest,
    non_dominated,
    padded_rows,
    rounded_sum,
    subset_costs,
    undominated,
)
from mmc_jax.statistics.inputs import Inputs

_Tile = TypeVar("_Tile")

# Subsets on one side of a tile: beyond, a tile is no faster.
TILE_ROWS = 1024

# Texts in a chunk: where no kernel takes masks, the minima of a tile are 32 MB.
_CHUNK_TEXTS = 8192

# Losses are split where the widest is so many times the usual one, into at most
# so many layers.
_FAR, _MOST_LAYERS = 2.0**12, 4

# Losses of larger exponents are scaled down before they are subtracted.
_MOST_EXPONENT = 900

# Units of two layers are no further apart, so that sums do not overflow: the
# smaller ones count where the larger are equal, as in float64 anyway.
_MOST_RATIO = 2.0**200

# Points that go through the filter at once, and those that go first.
_POINTS, _SAMPLE = 2**17, 2**12


class LossChunk(NamedTuple):
    """Losses of some texts in whole numbers.

    Attributes:
      values: Weighted losses above the text's least, [M, texts] uint32, on the
        device.
      unit: One unit of these losses, relative to the other chunks: a power of
        two.
    """

    values: jax.Array
    unit: float


def loss_chunks(inputs: Inputs) -> tuple[LossChunk, ...]:
    """Returns w_x (L_ix - min_j L_jx), some texts at a time.

    Whole numbers, in units of at most 2^-31 of the largest. If losses are
    thousands of times as large as the usual ones, what they have above a limit
    goes into chunks with a unit of their own, and so on: a minimum is the sum
    of the minima of all parts, and the others can still be told apart.
    """
    losses, _, weights = inputs
    # Powers of two change no digit, and keep what follows from overflowing.
    exponent = math.frexp(np.abs(losses).max())[1]
    losses = np.ldexp(losses, -max(exponent - _MOST_EXPONENT, 0))
    excess = losses - losses.min(axis=0)
    if weights is not None:
        excess *= np.ldexp(weights, -math.frexp(weights.max())[1])
    chunks: list[LossChunk] = []
    below, unit = 0.0, 1.0
    for _ in range(_MOST_LAYERS - 1):
        limit = _limit(excess)
        if limit is None:
            break
        low = oracle.quantised(np.minimum(excess, limit))
        unit *= _ratio(low.scale, below)
        chunks += _in_chunks(low.values, unit)
        below = low.scale
        excess = np.maximum(excess[:, (excess > limit).any(axis=0)] - limit, 0)
    high = oracle.quantised(excess)
    chunks += _in_chunks(high.values, unit * _ratio(high.scale, below))
    return tuple(chunks)


def _ratio(scale: float, below: float) -> float:
    """Returns the scale of a layer relative to the one below it, 1 if none."""
    if not below:
        return 1.0
    return _MOST_RATIO if scale / _MOST_RATIO >= below else scale / below


def _limit(excess: np.ndarray) -> float | None:
    """Returns a loss above which some are far from the usual, or None."""
    positive = excess[excess > 0]
    if not positive.size:
        return None
    place = positive.size // 2
    positive.partition(place)
    most = _FAR * float(positive[place])
    if most >= positive.max():
        return None
    return float(positive[positive <= most].max())


def _in_chunks(values: np.ndarray, unit: float) -> list[LossChunk]:
    """Returns whole losses [M, X] on the device, some texts at a time."""
    num_texts = values.shape[1]
    num_chunks = -(-num_texts // _CHUNK_TEXTS)
    # Whole vector registers; texts without a loss fill the last chunk.
    size = -(-num_texts // (64 * num_chunks)) * 64
    # Kept there, whichever thread computes with them.
    (device,) = jnp.zeros(()).devices()
    chunks = []
    for start in range(0, num_texts, size):
        value = values[:, start : start + size]
        table = np.pad(value, ((0, 0), (0, size - value.shape[1])))
        chunks.append(LossChunk(jax.device_put(table, device), unit))
    return tuple(chunks)


def union_sums(
    chunks: Sequence[LossChunk], masks: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Returns the loss sum of every union of two subsets: [S, R] float64.

    out_sr = sum_x min_{i in S or R} c_ix, c the chunks

    Args:
      chunks: Losses, from `loss_chunks`.
      masks: Models of each subset, [S, M], up to `TILE_ROWS` of them.
      others: Models that are added to it, [R, M], up to as many.
    """
    padded = jnp.asarray(padded_rows(masks, factor=2))
    joined = jnp.asarray(others)
    total = np.zeros((len(masks), len(others)))
    with jax.enable_x64(True):
        for values, unit in chunks:
            sums = np.asarray(oracle.union_sums(values, padded, joined))
            total += unit * sums[: len(masks)]
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
      frontier: Frontier so far; its losses are sums over texts.
      sums: Loss sum of each union, [S, R]; infinity leaves one out.
      costs: Cost of each model, [M].
      masks: Models of each subset, [S, M].
      others: Models that are added to it, [R, M].
    """
    # By cost, the search for the place in the frontier is four times faster.
    by_cost = np.argsort(subset_costs(others, costs))
    others = others[by_cost]
    costs_of_masks = cost_and_rest(masks, costs)
    costs_of_others = cost_and_rest(others, costs)
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
        cost, points = cost[stays], points[stays]
        # Most of these dominate each other: only the rest gets masks.
        leads = undominated(cost, points)
        found = (
            cost[leads],
            points[leads],
            masks[rows][row[leads]] | others[column[leads]],
        )
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
