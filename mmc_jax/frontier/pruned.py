"""The paper's search: level by level, keeping what is not dominated.

M models, X texts, S subsets of one size, F frontier points.
"""

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.inputs import Inputs, checked_inputs
from mmc_jax.frontier.pareto import (
    Frontier,
    frontier_of,
    non_dominated,
    subset_costs,
)
from mmc_jax.frontier.unions import rows_in_tile, union_losses


def pruned(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    max_size: int | None = None,
) -> Frontier:
    """Returns the frontier that iterative Pareto pruning finds.

    Level 1 is the single models. Level k + 1 is every subset kept at level k
    joined by every model not in it; of each level the subsets that no other of
    that level dominates are kept. It ends with the first level that adds no
    point to the frontier over all levels, which is the answer. Every point is
    true, but a better subset may be missed: a heuristic.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative; whole numbers add exactly up to 2^53.
      weights: [X], not negative; 1 for each text if left out.
      max_size: the most models in a subset; M if left out.

    Raises:
      ValueError: arguments that do not fit, with the place; max_size below 1.

    Source: arXiv 2512.23340.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> frontier = pruned(losses, costs=[1, 2, 4])
    >>> frontier.costs, frontier.losses
    (array([1., 3.]), array([2.5, 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models = len(inputs.losses)
    if max_size is not None and max_size < 1:
        raise ValueError(f"max_size is {max_size}; at least 1 is needed.")
    level = np.eye(num_models, dtype=bool)
    frontier = frontier_of(inputs, level)
    for size in range(2, min(max_size or num_models, num_models) + 1):
        found = _next_level(inputs, level)
        level = found.masks
        frontier = non_dominated(
            *map(np.concatenate, zip(frontier, found, strict=True))
        )
        if not (frontier.masks.sum(axis=1) == size).any():
            break
    return frontier_of(inputs, frontier.masks)


def _next_level(inputs: Inputs, subsets: np.ndarray) -> Frontier:
    """Returns what stays of all subsets with one model more."""
    parents, models = _extensions(subsets)
    losses = np.empty(len(parents))
    # A subset whose extensions all belong to others is not evaluated.
    used, row = np.unique(parents, return_inverse=True)
    singles = np.eye(subsets.shape[1], dtype=bool)
    step = rows_in_tile(inputs.losses.shape[1])
    for start in range(0, len(used), step):
        rows = used[start : start + step]
        tile = union_losses(inputs, subsets[rows], singles)
        here = (row >= start) & (row < start + step)
        losses[here] = tile[row[here] - start, models[here]]
    masks = subsets[parents] | singles[models]
    return non_dominated(subset_costs(masks, inputs.costs), losses, masks)


def _extensions(subsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (subset, model) for each distinct subset with one model more.

    Of the ways to reach a subset the one from the first row stays.
    """
    parents, models = np.nonzero(~subsets)
    masks = subsets[parents]
    masks[np.arange(len(masks)), models] = True
    packed = np.packbits(masks, axis=1)
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words = packed.view(np.uint64).T
    order = np.lexsort(words)  # Stable: the first row of equals stays first.
    words = words[:, order]
    new = np.ones(len(order), bool)
    new[1:] = (words[:, 1:] != words[:, :-1]).any(axis=0)
    first = np.sort(order[new])
    return parents[first], models[first]
