"""The exact frontier: every subset, or every one up to a size, is evaluated.

M models, X texts, S subsets that begin a union, R that end it.
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.groups import group_numbers, group_of_each, mixes
from mmc_jax.frontier.pareto import Frontier, frontier_of, no_subsets
from mmc_jax.frontier.unions import (
    ahead,
    frontier_with_unions,
    loss_chunks,
    tiles,
    union_sums,
)
from mmc_jax.statistics.inputs import checked_inputs, checked_max_size

MAX_SUBSETS = 2**24  # Times 5,000 texts: seconds on two cores.


def exhaustive(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    max_size: int | None = None,
    *,
    min_size: int = 1,
    groups: Sequence[Hashable] | None = None,
) -> Frontier:
    """Returns the frontier over all subsets, or all of some sizes.

    Up to 2^24 subsets: those of 24 models, the quadruples of 140, the triples
    of 400.

    Every subset is the union of one beginning and one end; beginnings meet ends
    in tiles, each tile one `min_sum` in whole numbers, and a running filter
    keeps only what is not dominated. Losses that differ by less than 2^-31 of
    the most that two models differ by on a text may come in either order.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      max_size: Largest number of models in a subset; M if left out.
      min_size: Smallest number of models in a subset.
      groups: Group of each model, such as its family, [M]: only subsets that
        mix models of several groups count. All count if left out.

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
    max_size = checked_max_size(max_size, num_models, min_size)
    if num_subsets(num_models, max_size) > MAX_SUBSETS:
        raise ValueError(
            f"{num_models} models have {num_subsets(num_models, max_size):,} "
            f"subsets of up to {max_size}; exhaustive takes up to "
            f"{MAX_SUBSETS:,}: give a smaller max_size, or take "
            "frontier.pruned, for any number."
        )
    numbers = None if groups is None else group_numbers(groups, num_models)
    chunks = loss_chunks(inputs)
    found = no_subsets(num_models)
    joined = _joined_tiles(
        *_beginnings_and_ends(num_models, max_size), min_size, numbers
    )
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
    beginnings: np.ndarray,
    room: np.ndarray,
    ends: np.ndarray,
    min_size: int,
    numbers: np.ndarray | None,
) -> Iterator[_Joined]:
    """Yields the tiles in which something joins, of models of such groups."""
    num_models = beginnings.shape[1]
    last = num_models - 1 - beginnings[:, ::-1].argmax(axis=1)
    last[~beginnings.any(axis=1)] = -1
    first = np.where(ends.any(axis=1), ends.argmax(axis=1), num_models)
    if numbers is not None:
        of_beginnings = group_of_each(beginnings, numbers)
        of_ends = group_of_each(ends, numbers)
    row = 0
    for masks in tiles(beginnings):
        rows = slice(row, row + len(masks))
        row, column = rows.stop, 0
        for others in tiles(ends):
            columns = slice(column, column + len(others))
            column = columns.stop
            sizes = others.sum(axis=1)
            valid = (last[rows, None] < first[columns]) & (
                sizes <= room[rows, None]
            )
            valid &= masks.sum(axis=1)[:, None] + sizes >= min_size
            if numbers is not None:
                valid &= mixes(of_beginnings[rows], of_ends[columns])
            if valid.any():
                yield _Joined(masks, others, valid)


def num_subsets(num_models: int, max_size: int | None = None) -> int:
    """Returns how many subsets there are, of up to so many models."""
    sizes = range(1, checked_max_size(max_size, num_models) + 1)
    return sum(math.comb(num_models, size) for size in sizes)


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
