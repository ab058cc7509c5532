"""The paper's search, level by level, and a local search that polishes it.

M models, X texts, S subsets.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.candidates import (
    Candidates,
    distinct,
    no_candidates,
    with_unions,
)
from mmc_jax.frontier.exhaustive import checked_max_size
from mmc_jax.frontier.inputs import Inputs, checked_inputs
from mmc_jax.frontier.pareto import Frontier, frontier_of, non_dominated
from mmc_jax.frontier.regrets import Regrets, regrets
from mmc_jax.frontier.unions import tiles, union_sums


def pruned(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    max_size: int | None = None,
    polish: bool = False,
) -> Frontier:
    """Returns the frontier that iterative Pareto pruning finds.

    Level 1 is the single models. Level k + 1 is every subset kept at level k
    joined by every model not in it; of each level the subsets that no other of
    that level dominates are kept. It ends with the first level that adds no
    point to the frontier over all levels, which is the answer. Every point is
    true, but a better subset may be missed: a heuristic.

    With `polish` a local search follows: of every subset on the frontier each
    model is dropped, exchanged for each model outside, and each of those added,
    until the frontier does not change any more.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      weights: [X], not negative; 1 for each text if left out.
      max_size: the most models in a subset; M if left out.
      polish: whether the local search follows; the frontier is never worse.

    Raises:
      ValueError: arguments that do not fit, with the place; max_size below 1.

    Source: arXiv 2512.23340; the polish is not in it.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> frontier = pruned(losses, costs=[1, 2, 4])
    >>> frontier.costs, frontier.losses
    (array([1., 3.]), array([2.5, 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models = len(inputs.losses)
    max_size = checked_max_size(max_size, num_models)
    table = regrets(inputs)
    with jax.enable_x64(True):
        # On the device once, for the level after level that is settled there.
        inputs = inputs._replace(losses=jnp.asarray(inputs.losses))
    level = np.eye(num_models, dtype=bool)
    frontier = frontier_of(inputs, level)
    for size in range(2, max_size + 1):
        found = _with_neighbours(
            no_candidates(num_models), inputs, table, level, size, size
        )
        reached = frontier_of(inputs, distinct(found.masks))
        level = reached.masks
        frontier = non_dominated(
            *map(np.concatenate, zip(frontier, reached, strict=True))
        )
        if not (frontier.masks.sum(axis=1) == size).any():
            break
    if polish:
        frontier = _polished(inputs, table, frontier, max_size)
    return frontier_of(inputs, frontier.masks)


def _polished(
    inputs: Inputs, table: Regrets, frontier: Frontier, max_size: int
) -> Frontier:
    """Returns the frontier of which no subset is one exchange from a better."""
    found = no_candidates(frontier.masks.shape[1])
    done: set[bytes] = set()
    while True:
        masks = frontier.masks
        subset, model = np.nonzero(masks)
        without = masks[subset]
        without[np.arange(len(without)), model] = False
        bases = distinct(np.concatenate([masks, without]))
        bases = bases[
            [m.any() and m.tobytes() not in done for m in bases]
        ]  # fmt: skip
        if not len(bases):
            return frontier
        done.update(mask.tobytes() for mask in bases)
        found = _with_neighbours(found, inputs, table, bases, 1, max_size)
        frontier = frontier_of(inputs, distinct(found.masks))


def _with_neighbours(
    candidates: Candidates,
    inputs: Inputs,
    table: Regrets,
    subsets: np.ndarray,
    min_size: int,
    max_size: int,
) -> Candidates:
    """Returns the filter's candidates after subsets and their extensions.

    Of the subsets [S, M], and of each joined by a model not in it, those of the
    sizes asked for go in.
    """
    num_models = subsets.shape[1]
    # The last is no model: the subset itself.
    added = np.eye(num_models + 1, num_models, dtype=bool)
    for masks in tiles(subsets):
        sums = union_sums(table, masks)
        sizes = masks.sum(axis=1)[:, None] + added.any(axis=1)
        out = (sizes < min_size) | (sizes > max_size)
        out[:, :num_models] |= masks
        candidates = with_unions(
            candidates,
            table,
            inputs.costs,
            masks,
            added,
            np.where(out, np.inf, sums),
        )
    return candidates
