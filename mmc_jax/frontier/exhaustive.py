"""The exact frontier of a small pool: every subset is evaluated.

M models, X texts, S and R subsets of the two halves of the pool.
"""

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.inputs import checked_inputs
from mmc_jax.frontier.pareto import (
    Frontier,
    frontier_of,
    non_dominated,
    subset_costs,
)
from mmc_jax.frontier.unions import rows_in_tile, union_losses

MAX_MODELS = 20  # 2^20 subsets x 10^4 texts: seconds on two cores.

# Points that go through the filter at once.
_POINTS = 2**16


def exhaustive(
    losses: ArrayLike, costs: ArrayLike, weights: ArrayLike | None = None
) -> Frontier:
    """Returns the frontier over all 2^M - 1 subsets of at most 20 models.

    The pool is split in halves; the subsets of one half meet those of the other
    in tiles, each tile one `min_sum`, and a running filter keeps only what is
    not dominated.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative; whole numbers add exactly up to 2^53.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: more than 20 models; arguments that do not fit, with the
        place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> frontier = exhaustive(losses, costs=[1, 2, 4])
    >>> frontier.costs, frontier.losses
    (array([1., 3.]), array([2.5, 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models, num_texts = inputs.losses.shape
    if num_models > MAX_MODELS:
        raise ValueError(
            f"losses has {num_models} models: 2^{num_models} subsets are too "
            f"many. exhaustive takes up to {MAX_MODELS}; frontier.pruned takes "
            "any number."
        )
    half = (num_models + 1) // 2
    lower = _all_subsets(np.arange(half), num_models)
    upper = _all_subsets(np.arange(half, num_models), num_models)
    frontier = Frontier(
        np.empty(0), np.empty(0), np.empty((0, num_models), bool)
    )
    step = rows_in_tile(num_texts)
    for others in _chunks(upper, step):
        for masks in _chunks(lower, step):
            tile = union_losses(inputs, masks, others)
            rows = max(1, _POINTS // len(others))
            for few, found in zip(
                _chunks(masks, rows), _chunks(tile, rows), strict=True
            ):
                unions = (few[:, None] | others).reshape(-1, num_models)
                points = (
                    subset_costs(unions, inputs.costs),
                    found.reshape(-1),
                    unions,
                )
                frontier = non_dominated(
                    *map(np.concatenate, zip(frontier, points, strict=True))
                )
    return frontier_of(inputs, frontier.masks)


def _all_subsets(models: np.ndarray, num_models: int) -> np.ndarray:
    """Returns the masks of all subsets of k models: [2^k, M]."""
    k = len(models)
    masks = np.zeros((2**k, num_models), bool)
    masks[:, models] = np.arange(2**k)[:, None] >> np.arange(k) & 1
    return masks


def _chunks(rows: np.ndarray, step: int) -> list[np.ndarray]:
    return [rows[i : i + step] for i in range(0, len(rows), step)]
