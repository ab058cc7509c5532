"""The paper's search, level by level, and a local search that polishes it.

M models, X texts, S subsets.
"""

import functools
from collections.abc import Callable, Hashable, Sequence

import jax
import numpy as np
from absl import logging
from jax.typing import ArrayLike

from mmc_jax import stages
from mmc_jax.frontier.groups import group_numbers, group_of_each, mixes
from mmc_jax.frontier.pareto import (
    Frontier,
    frontier_of,
    no_subsets,
    non_dominated,
)
from mmc_jax.frontier.unions import (
    ahead,
    frontier_with_unions,
    loss_chunks,
    tiles,
    union_sums,
)
from mmc_jax.statistics.inputs import checked_inputs, checked_max_size

# Minima of a level, subsets x models x texts: a second or two on two cores. Of
# 71 models and 10,000 texts no level has as many subsets.
MOST_MINIMA = 2**35

# The same where one analysis takes many searches.
QUICK_MINIMA = 2**32

# Subsets of a level that are extended however large the table is, and where one
# analysis takes many searches.
_LEAST_WIDTH, _LEAST_QUICK_WIDTH = 512, 64

# Full levels that a search pays for, of `minima` each; in all others so few
# subsets are extended, that a pool of a thousand models comes to its end.
_NUM_FULL, _LAST_WIDTH = 64, 16


def pruned(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    max_size: int | None = None,
    polish: bool = False,
    *,
    width: int | None = None,
    minima: int = MOST_MINIMA,
    min_size: int = 1,
    groups: Sequence[Hashable] | None = None,
) -> Frontier:
    """Returns the frontier that iterative Pareto pruning finds.

    Level 1 is the single models. Level k + 1 is every subset kept at level k
    joined by every model not in it. Of each level the subsets that no other of
    it dominates are kept. It ends with the first level that adds no
    point to the frontier over all levels, which is the answer. Every point is
    true, but a better subset may exist: a heuristic.

    With `polish` a local search follows: of every subset on the frontier each
    model is dropped, exchanged for each model outside, and each of those added,
    until the frontier does not change any more.

    Subsets below `min_size` are extended but are no answers. With `groups` only
    subsets that mix groups are answers; level 1 is extended all the same.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      max_size: Largest number of models in a subset; M if left out.
      polish: Whether the local search follows; the frontier is never worse.
      width: Largest number of subsets of a level that are extended, spread
        evenly over its frontier (a beam). If left out, as many as `minima`
        allows.
      minima: Largest number of minima of a level: the product of its subsets,
        the models and the texts. Of 1,018 models on 10,000 texts it allows
        3,375 subsets. No fewer than 512 are extended (64, of fewer minima than
        the default), and level 1 as it is.
        Once the levels have taken 64 times as many, 16 subsets are extended.
      min_size: Smallest number of models in a subset.
      groups: Group of each model, such as its family, [M]: only subsets that
        mix models of several groups count. All count if left out.

    Raises:
      ValueError: arguments that do not fit; max_size or width below 1.

    Source: arXiv 2512.23340; the polish is not in it.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> frontier = pruned(losses, costs=[1, 2, 4])
    >>> frontier.costs, frontier.losses
    (array([1., 3.]), array([2.5, 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models = len(inputs.losses)
    max_size = checked_max_size(max_size, num_models, min_size)
    if width is not None and width < 1:
        raise ValueError(f"width is {width}; at least 1 is needed.")
    numbers = None if groups is None else group_numbers(groups, num_models)
    least = _LEAST_WIDTH if minima >= MOST_MINIMA else _LEAST_QUICK_WIDTH
    beam = width or max(least, minima // inputs.losses.size)
    chunks = loss_chunks(inputs)
    frontier = none = no_subsets(num_models)
    if min_size == 1:
        nobody = np.zeros((1, num_models), bool)
        frontier = _extended(none, inputs.costs, chunks, nobody, 1, 1, numbers)
    level = np.eye(num_models, dtype=bool)
    spent = 0
    for size in range(2, max_size + 1):
        if not width and spent > _NUM_FULL * minima:
            beam = min(beam, _LAST_WIDTH)
        if len(level) > beam and (width or size > 2):
            if not width:
                logging.log_first_n(
                    logging.WARNING,
                    "%d models on %d texts: levels of the pruning are cut to "
                    "%d subsets or fewer; width sets another number",
                    1,
                    *inputs.losses.shape,
                    beam,
                )
            level = level[np.linspace(0, len(level) - 1, beam).astype(int)]
        stages.say(
            f"subsets of {size} models, of {len(level):,} smaller ones, "
            f"{len(frontier.costs):,} points so far"
        )
        found = _extended(
            none, inputs.costs, chunks, level, size, size, numbers
        )
        spent += len(level) * inputs.losses.size
        level = found.masks
        if size < min_size:
            continue
        frontier = non_dominated(
            *map(np.concatenate, zip(frontier, found, strict=True))
        )
        if not (frontier.masks.sum(axis=1) == size).any():
            break
    if polish:
        frontier = _polished(
            frontier, inputs.costs, chunks, min_size, max_size, numbers
        )
    return frontier_of(inputs, frontier.masks)


def quick(search: Callable[..., Frontier]) -> Callable[..., Frontier]:
    """Returns a search for analyses that take many of them.

    That of `pruned`, with fewer minima a level (2^32), which changes nothing
    for tables of 71 models and 10,000 texts; any other as it is.

    Args:
      search: Function that finds a frontier, called as
        `search(losses, costs, weights)`.
    """
    inner = search
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inner is not pruned:
        return search
    return functools.partial(search, minima=QUICK_MINIMA)


def _polished(
    frontier: Frontier,
    costs: np.ndarray,
    chunks: Sequence[jax.Array],
    min_size: int,
    max_size: int,
    numbers: np.ndarray | None,
) -> Frontier:
    """Returns a frontier of which no subset is one exchange from a better.

    A subset without one of its models is extended by all models: that drops the
    model and exchanges it. Each such base is evaluated once.
    """
    done: set[bytes] = set()
    while True:
        subset, model = np.nonzero(frontier.masks)
        without = frontier.masks[subset]
        without[np.arange(len(without)), model] = False
        bases = {mask.tobytes(): mask for mask in (*frontier.masks, *without)}
        new = [mask for key, mask in bases.items() if key not in done]
        if not new:
            return frontier
        done |= bases.keys()
        stages.say(
            f"exchanges in {len(new):,} subsets, "
            f"{len(frontier.costs):,} points so far"
        )
        frontier = _extended(
            frontier, costs, chunks, np.array(new), min_size, max_size, numbers
        )


def _extended(
    frontier: Frontier,
    costs: np.ndarray,
    chunks: Sequence[jax.Array],
    subsets: np.ndarray,
    min_size: int,
    max_size: int,
    numbers: np.ndarray | None,
) -> Frontier:
    """Returns the frontier of what it was, subsets and their extensions.

    Of the subsets [S, M], and of each joined by a model not in it, those of the
    sizes asked for go in, and of these, where models have numbers of groups
    [M], those that mix. Losses are sums over texts.
    """
    num_models = subsets.shape[1]
    # The last is no model: the subset itself.
    added = np.eye(num_models + 1, num_models, dtype=bool)
    for masks, sums in ahead(
        lambda masks: union_sums(chunks, masks, added), tiles(subsets)
    ):
        sizes = masks.sum(axis=1)[:, None] + added.any(axis=1)
        sums[(sizes < min_size) | (sizes > max_size)] = np.inf
        sums[:, :num_models][masks] = np.inf
        if numbers is not None:
            of_masks = group_of_each(masks, numbers)
            sums[~mixes(of_masks, group_of_each(added, numbers))] = np.inf
        frontier = frontier_with_unions(frontier, sums, costs, masks, added)
    return frontier
