"""The paper's search, level by level, and a local search that polishes it.

M models, X texts, S subsets.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from jax.typing import ArrayLike

from mmc_jax import stages
from mmc_jax.frontier.groups import group_numbers, group_of_each, mixes
from mmc_jax.frontier.lazy_levels import Extensions, Level, extensions
from mmc_jax.frontier.pareto import (
    Frontier,
    frontier_of,
    no_subsets,
    undominated,
)
from mmc_jax.frontier.unions import (
    LossChunk,
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

# Models from which on most of a level need not be computed, and subsets of a
# level that are extended where one analysis takes many searches of them.
MANY_MODELS, _QUICK_WIDTH = 128, 192

# No level of 71 models has many more subsets on its frontier.
_THOUSANDS = 4096


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
        Of 128 models or more, 2^32 minima or fewer count as a 32nd of them,
        and no fewer than 192 subsets are extended.
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
    is_lazy = num_models >= MANY_MODELS
    beam, minima = _beam(minima, *inputs.losses.shape)
    beam = width or beam
    chunks = loss_chunks(inputs)
    kept = _Kept.nothing(num_models)
    if min_size == 1:
        nobody = np.zeros((1, num_models), bool)
        kept, _ = kept.joined(
            _of_level(chunks, inputs.costs, nobody, 1, numbers)
        )
    singles = np.eye(num_models, dtype=bool)
    level = Level(singles[_spread(num_models, width or num_models)])
    spent = 0
    for size in range(2, max_size + 1):
        stages.say(
            f"subsets of {size} models, of {len(level.masks):,} smaller ones, "
            f"{len(kept.costs):,} points so far"
        )
        if is_lazy:
            # What is joined to subsets that mix groups mixes them, too.
            of_pairs = numbers if size == 2 else None
            found = extensions(chunks, inputs.costs, level, of_pairs)
        else:
            found = _of_level(chunks, inputs.costs, level.masks, size, numbers)
        spent += len(level.masks) * inputs.losses.size
        if size >= min_size:
            kept, has_grown = kept.joined(found)
            if not has_grown:
                break
        if not width and spent > _NUM_FULL * minima:
            beam = min(beam, _LAST_WIDTH)
        if len(found.costs) > beam and not width and size < max_size:
            logging.log_first_n(
                logging.WARNING,
                "%d models on %d texts: levels of the pruning are cut to "
                "%d subsets or fewer; width sets another number",
                1,
                *inputs.losses.shape,
                beam,
            )
        level = found.next_level(_spread(len(found.costs), beam))
    frontier = kept.frontier(num_models)
    if polish:
        frontier = _polished(
            frontier, inputs.costs, chunks, min_size, max_size, numbers
        )
    return frontier_of(inputs, frontier.masks)


def quick(search: Callable[..., Frontier]) -> Callable[..., Frontier]:
    """Returns a search for analyses that take many of them.

    That of `pruned`, with fewer minima a level (2^32), which changes nothing
    for tables of 71 models and 10,000 texts; of many models on many texts it
    extends 192 subsets a level. Any other search as it is.

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


def cut_width(
    search: Callable[..., Frontier], num_models: int, num_texts: int
) -> int | None:
    """Returns how many subsets of a level a search extends at most.

    None where it extends thousands, as many as levels of dozens of models have,
    or is no pruning.

    Args:
      search: Function that finds a frontier, called as
        `search(losses, costs, weights)`.
      num_models: Number of models that it searches.
      num_texts: Number of texts that it searches on.

    >>> cut_width(quick(pruned), 1018, 10_000)
    192
    """
    options: dict[str, int] = {}
    inner = search
    while isinstance(inner, functools.partial):
        options = {**inner.keywords, **options}
        inner = inner.func
    if inner is not pruned:
        return None
    beam, _ = _beam(options.get("minima", MOST_MINIMA), num_models, num_texts)
    beam = options.get("width") or beam
    return beam if beam < _THOUSANDS else None


def _beam(minima: int, num_models: int, num_texts: int) -> tuple[int, int]:
    """Returns how many subsets a level extends at most, and minima to count."""
    least = _LEAST_WIDTH if minima >= MOST_MINIMA else _LEAST_QUICK_WIDTH
    size = num_models * num_texts
    if num_models >= MANY_MODELS and minima <= QUICK_MINIMA:
        least = _QUICK_WIDTH
        minima = max(minima // 32, least * size)
    return max(least, minima // size), minima


class _Kept(NamedTuple):
    """The frontier over all levels so far, eight models a byte.

    A table of a thousand models has hundreds of levels.

    Attributes:
      costs: Cost of each subset, [F].
      losses: Loss sum of each subset, [F].
      packed: Models of each subset, [F, M / 8] bytes.
    """

    costs: np.ndarray
    losses: np.ndarray
    packed: np.ndarray

    @classmethod
    def nothing(cls, num_models: int) -> "_Kept":
        """Returns the frontier before the first level."""
        none = no_subsets(num_models)
        return cls(none.costs, none.losses, np.packbits(none.masks, axis=1))

    def joined(self, found: "_Found | Extensions") -> tuple["_Kept", bool]:
        """Returns it with what a level of larger subsets adds, and if any."""
        costs = np.concatenate([self.costs, found.costs])
        losses = np.concatenate([self.losses, found.losses])
        # Of points that tie the first stays, which has the fewest models.
        stays = undominated(costs, losses)
        stays = stays[np.diff(costs[stays], prepend=-np.inf) > 0]
        is_new = stays >= len(self.costs)
        packed = np.empty((len(stays), self.packed.shape[1]), np.uint8)
        packed[~is_new] = self.packed[stays[~is_new]]
        new = stays[is_new] - len(self.costs)
        packed[is_new] = np.packbits(found.masks(new), axis=1)
        return _Kept(costs[stays], losses[stays], packed), bool(len(new))

    def frontier(self, num_models: int) -> Frontier:
        """Returns it as a frontier of sums."""
        masks = np.unpackbits(self.packed, axis=1, count=num_models)
        return Frontier(self.costs, self.losses, masks.astype(bool))


class _Found(NamedTuple):
    """The frontier of a level, all of which was computed: as `Extensions`."""

    line: Frontier

    @property
    def costs(self) -> np.ndarray:
        return self.line.costs

    @property
    def losses(self) -> np.ndarray:
        return self.line.losses

    def masks(self, some: np.ndarray) -> np.ndarray:
        return self.line.masks[some]

    def next_level(self, some: np.ndarray) -> Level:
        return Level(self.masks(some))


def _of_level(
    chunks: Sequence[LossChunk],
    costs: np.ndarray,
    subsets: np.ndarray,
    size: int,
    numbers: np.ndarray | None,
) -> _Found:
    """Returns the frontier of subsets [S, M] joined by a model, of one size."""
    none = no_subsets(len(costs))
    return _Found(_extended(none, costs, chunks, subsets, size, size, numbers))


def _spread(number: int, most: int) -> np.ndarray:
    """Returns indices, evenly spread; all where there are no more than most."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).astype(int)


def _polished(
    frontier: Frontier,
    costs: np.ndarray,
    chunks: Sequence[LossChunk],
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
    chunks: Sequence[LossChunk],
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
