"""Pools of one family against pools that mix families, at equal budgets.

M models, X texts, F frontier points, B budgets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier
from mmc_jax.frontier import Frontier
from mmc_jax.frontier.enumeration import MAX_SUBSETS, num_subsets
from mmc_jax.frontier.groups import group_numbers
from mmc_jax.frontier.pareto import frontier_of, no_subsets, places_at
from mmc_jax.frontier.pruning import QUICK_MINIMA
from mmc_jax.oracle.subset_minima import minima_of_subsets
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics.estimates import Estimate, estimate
from mmc_jax.statistics.inputs import Inputs, checked_inputs
from mmc_jax.statistics.resampling import halves, resampled_means

# What models can be grouped by: attributes of a `ScoredModel`.
GROUPINGS = ("family", "kind")


class Comparison(NamedTuple):
    """What mixing families buys, at equal budgets.

    Attributes:
      homogeneous: Frontier of the subsets of one family.
      heterogeneous: Frontier of the subsets that mix families.
      budgets: Rising costs of points of the two frontiers, from the first that
        buys a subset of each, [B].
      in_sample: Loss of the best homogeneous subset of each budget less that of
        the best heterogeneous one, on the texts that chose both, [B]. It is
        biased in favour of the side with more subsets.
      held_out: Difference of the same losses on texts that did not choose,
        with its 95 percent interval, [B].
    """

    homogeneous: Frontier
    heterogeneous: Frontier
    budgets: np.ndarray
    in_sample: np.ndarray
    held_out: Estimate


def groups_of(table: ScoreTable, by: str = "family") -> tuple[str, ...]:
    """Returns the family, or the kind, of each model of a table: [M].

    Args:
      table: Score table of the models and texts.
      by: One of GROUPINGS.

    Raises:
      ValueError: Another grouping; models without one, which are named.
    """
    if by not in GROUPINGS:
        raise ValueError(f"no grouping {by!r}; there are {GROUPINGS}.")
    groups = tuple(getattr(model, by) for model in table.models)
    without = [
        m.name for m, g in zip(table.models, groups, strict=True) if not g
    ]
    if without:
        raise ValueError(
            f"models without a {by}: {', '.join(without)}; give each its {by} "
            "in the pool or models file, or leave these models out."
        )
    return groups


def homogeneous(
    losses: ArrayLike,
    costs: ArrayLike,
    families: Sequence[str],
    weights: ArrayLike | None = None,
    *,
    min_size: int = 1,
    max_size: int | None = None,
) -> Frontier:
    """Returns the frontier over the subsets of models of one family.

    It is the frontier of the union of the families' own frontiers: exact for
    families of up to 24 models, or of more where `max_size` leaves no more than
    2^24 subsets; by pruning beyond.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      families: Family of each model, [M].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      min_size: Smallest number of models in a subset.
      max_size: Largest number of models in a subset; None for all models.

    Raises:
      ValueError: Arguments that do not fit, with the place; no family has
        `min_size` models.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> found = homogeneous(losses, [1, 2, 4], "aba")
    >>> found.costs, found.losses
    (array([1., 4., 5.]), array([2.5, 2. , 1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    numbers = group_numbers(families, len(inputs.losses))
    masks = [no_subsets(len(numbers)).masks]
    for family in range(numbers.max() + 1):
        members = np.flatnonzero(numbers == family)
        if len(members) < min_size:
            continue
        found = _search(
            inputs._replace(
                losses=inputs.losses[members], costs=inputs.costs[members]
            ),
            min_size,
            max_size,
            # A family gets its share of what a search of all models gets.
            minima=QUICK_MINIMA * len(members) // len(numbers),
        )
        of_family = np.zeros((len(found.masks), len(numbers)), bool)
        of_family[:, members] = found.masks
        masks.append(of_family)
    if len(masks) == 1:
        raise ValueError(
            f"no family has {min_size} models: there is no homogeneous subset "
            "of that size."
        )
    return frontier_of(inputs, np.concatenate(masks))


def heterogeneous(
    losses: ArrayLike,
    costs: ArrayLike,
    families: Sequence[str],
    weights: ArrayLike | None = None,
    *,
    min_size: int = 2,
    max_size: int | None = None,
) -> Frontier:
    """Returns the frontier over the subsets of models of several families.

    Exact for up to 2^24 subsets, by pruning beyond.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      families: Family of each model, [M].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      min_size: Smallest number of models in a subset.
      max_size: Largest number of models in a subset; None for all models.

    Raises:
      ValueError: Arguments that do not fit, with the place; there is only one
        family.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> found = heterogeneous(losses, [1, 2, 4], "aba")
    >>> found.costs, found.losses
    (array([3.]), array([1.5]))
    """
    inputs = checked_inputs(losses, costs, weights)
    numbers = group_numbers(families, len(inputs.losses))
    if not numbers.any():
        raise ValueError(
            f"all models are of the family {families[0]!r}: there is no "
            "heterogeneous subset."
        )
    return _search(inputs, min_size, max_size, families)


def compare(
    losses: ArrayLike,
    costs: ArrayLike,
    families: Sequence[str],
    weights: ArrayLike | None = None,
    *,
    size: int | None = None,
    num_budgets: int = 25,
    num_splits: int = 3,
    num_resamples: int = 1000,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Comparison:
    """Returns what mixing families buys at equal budgets.

    The difference is cross-fitted: subsets are chosen on one half of the texts
    and judged on the other, and the other way round, over several splits, so
    that every text judges only subsets that it did not choose. There are more
    mixed subsets than subsets of one family, and the best of more is better by
    chance alone: on the texts that chose, that would count as diversity.

    The interval is the percentile interval of resampled texts of this
    difference. The subsets are not chosen anew in each resample: a text drawn
    twice would choose and judge.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      families: Family of each model, [M].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      size: Number of models in a subset; None for any number, with single
        models among the homogeneous subsets.
      num_budgets: Largest number of budgets B.
      num_splits: Number of random splits of the texts into halves.
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random splits and resamples.
      clusters: Source, domain or document of each text, [X]; whole clusters
        are split and resampled. None for single texts.

    Raises:
      ValueError: Arguments that do not fit, with the place; there is no
        homogeneous, or no heterogeneous, subset of that size; fewer than 2
        texts or clusters; a number below 1.
    """
    inputs = checked_inputs(losses, costs, weights)
    if num_budgets < 1:
        raise ValueError(f"num_budgets is {num_budgets}; at least 1 is needed.")

    lines = _both(inputs, families, size)
    budgets = np.unique(np.concatenate([line.costs for line in lines]))
    budgets = budgets[budgets >= max(line.costs[0] for line in lines)]
    chosen = np.linspace(0, len(budgets) - 1, num_budgets).round().astype(int)
    budgets = budgets[np.unique(chosen)]
    of_text = np.zeros((len(budgets), inputs.losses.shape[1]))
    for first in halves(inputs.losses.shape[1], clusters, num_splits, seed):
        for chooses in (first, ~first):
            choice = _both(_of_texts(inputs, chooses), families, size)
            judged = inputs.losses[:, ~chooses]
            same, mixed = (_losses_at(line, budgets, judged) for line in choice)
            of_text[:, ~chooses] += (same - mixed) / num_splits
    resampled = resampled_means(
        of_text,
        inputs.weights,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    held_out = np.average(of_text, axis=1, weights=inputs.weights)
    same, mixed = (
        line.losses[places_at(line.costs, budgets)] for line in lines
    )
    return Comparison(
        *lines,
        budgets,
        same - mixed,
        estimate(held_out, resampled),
    )


def _both(
    inputs: Inputs, families: Sequence[str], size: int | None
) -> tuple[Frontier, Frontier]:
    """Returns the homogeneous and the heterogeneous frontier of one size."""
    sizes = {} if size is None else {"min_size": size, "max_size": size}
    arguments = (inputs.losses, inputs.costs, families, inputs.weights)
    return homogeneous(*arguments, **sizes), heterogeneous(*arguments, **sizes)


def _search(
    inputs: Inputs,
    min_size: int,
    max_size: int | None,
    groups: Sequence[str] | None = None,
    minima: int = QUICK_MINIMA,
) -> Frontier:
    sizes = {"min_size": min_size, "groups": groups}
    if num_subsets(len(inputs.losses), max_size) <= MAX_SUBSETS:
        return frontier.exhaustive(*inputs, max_size, **sizes)
    return frontier.pruned(*inputs, max_size, minima=minima, **sizes)


def _of_texts(inputs: Inputs, texts: np.ndarray) -> Inputs:
    weights = None if inputs.weights is None else inputs.weights[texts]
    return Inputs(inputs.losses[:, texts], inputs.costs, weights)


def _losses_at(
    line: Frontier, budgets: np.ndarray, losses: np.ndarray
) -> np.ndarray:
    """Returns the loss of each text under each budget's best subset: [B, X]."""
    place = places_at(line.costs, budgets)
    points, which = np.unique(place, return_inverse=True)
    return minima_of_subsets(losses, line.masks[points])[which]
