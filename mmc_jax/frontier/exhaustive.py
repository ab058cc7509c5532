"""The exact frontier: every subset, or every one up to a size, is evaluated.

M models, X texts, S subsets that begin a union, R that end it.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.inputs import checked_inputs, checked_max_size
from mmc_jax.frontier.pareto import Frontier, frontier_of, no_subsets
from mmc_jax.frontier.unions import (
    ahead,
    frontier_with_unions,
    loss_chunks,
    tiles,
    union_sums,
)

MAX_SUBSETS = 2**24  # Times 5,000 texts: seconds on two cores.


def exhaustive(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    max_size: int | None = None,
) -> Frontier:
    """Returns the frontier over all subsets, or all up to a size.

    Up to 2^24 subsets: those of 24 models, the quadruples of 140, the triples
    of 400.

    Every subset is the union of one beginning and one end; beginnings meet ends
    in tiles, each tile one `min_sum` in float64, and a running filter keeps
    only what is not dominated. Losses that differ by less than their roundings,
    2e-15 of the mean magnitude, may come in either order.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      weights: [X], not negative; 1 for each text if left out.
      max_size: the most models in a subset; M if left out.

    Raises:
      ValueError: more than 2^24 subsets, with their number; max_size below 1;
        arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> frontier = exhaustive(losses, costs=[1, 2, 4])
    >>> frontier.costs, frontier.losses
    (array([1., 3.]), array([2.5, 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models = len(inputs.losses)
    max_size = checked_max_size(max_size, num_models)
    num_subsets = sum(math.comb(num_models, k) for k in range(1, max_size + 1))
    if num_subsets > MAX_SUBSETS:
        raise ValueError(
            f"{num_models} models have {num_subsets:,} subsets of up to "
            f"{max_size}; exhaustive takes up to {MAX_SUBSETS:,}: give a "
            "smaller max_size, or take frontier.pruned, for any number."
        )
    chunks = loss_chunks(inputs)
    found = no_subsets(num_models)
    joined = _joined_tiles(*_beginnings_and_ends(num_models, max_size))
    for (masks, others, valid), sums in ahead(
        lambda tile: union_sums(chunks, tile.masks, tile.others), joined
    ):
        sums[~valid] = np.inf
        found = frontier_with_unions(found, sums, inputs.costs, masks, others)
    return frontier_of(inputs, found.masks)


class _Joined(NamedTuple):
    """A tile of beginnings [S, M] and ends [R, M], and which join: [S, R]."""

    masks: np.ndarray
    others: np.ndarray
    valid: np.ndarray


def _joined_tiles(
    beginnings: np.ndarray, room: np.ndarray, ends: np.ndarray
) -> Iterator[_Joined]:
    """Yields the tiles in which something joins."""
    num_models = beginnings.shape[1]
    last = num_models - 1 - beginnings[:, ::-1].argmax(axis=1)
    last[~beginnings.any(axis=1)] = -1
    first = np.where(ends.any(axis=1), ends.argmax(axis=1), num_models)
    row = 0
    for masks in tiles(beginnings):
        rows = slice(row, row + len(masks))
        row, column = rows.stop, 0
        for others in tiles(ends):
            columns = slice(column, column + len(others))
            column = columns.stop
            valid = (last[rows, None] < first[columns]) & (
                others.sum(axis=1) <= room[rows, None]
            )
            if valid.any():
                yield _Joined(masks, others, valid)


def _beginnings_and_ends(
    num_models: int, max_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns subsets whose unions are all subsets, each of them once.

    A beginning [S, M] is joined with an end [R, M] if all its models come
    before all of the end's, and the end has no more models than the beginning
    leaves room for: [S].
    """
    half = (num_models + 1) // 2
    if 2 * max_size > num_models:
        # The two halves of the pool.
        beginnings = _all_subsets(range(half), half, num_models)
        ends = _all_subsets(range(half, num_models), half, num_models)
        return beginnings, max_size - beginnings.sum(axis=1), ends
    # The first half of a subset's models, and its last. Only a whole half has
    # anything behind it.
    size = (max_size + 1) // 2
    beginnings = _all_subsets(range(num_models), size, num_models)
    ends = _all_subsets(range(num_models), max_size - size, num_models)
    room = np.where(beginnings.sum(axis=1) == size, max_size - size, 0)
    # In this order whole tiles hold nothing to join.
    by_last = np.lexsort(beginnings.T)
    by_first = np.lexsort(ends.T[::-1])
    return beginnings[by_last], room[by_last], ends[by_first]


def _all_subsets(models: range, max_size: int, num_models: int) -> np.ndarray:
    """Returns the masks of the subsets of up to so many of the models."""
    rows = [
        subset
        for size in range(min(max_size, len(models)) + 1)
        for subset in itertools.combinations(models, size)
    ]
    masks = np.zeros((len(rows), num_models), bool)
    for mask, subset in zip(masks, rows, strict=True):
        mask[list(subset)] = True
    return masks
