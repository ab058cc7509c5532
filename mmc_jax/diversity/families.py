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
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import percentile_interval
from mmc_jax.statistics.inputs import Inputs, checked_inputs
from mmc_jax.statistics.resampling import halves, resampled_means

# By what models are grouped; each is an attribute of a `ScoredModel`.
GROUPINGS = ("family", "kind")


class Comparison(NamedTuple):
    """What mixing families buys, at equal budgets.

    Attributes:
      homogeneous: Frontier of the subsets of one family.
      heterogeneous: Frontier of the subsets that mix families.
      budgets: [B], rising: costs of the two, from the first that both afford.
      in_sample: [B], the loss of the best homogeneous subset of no more than
        the budget less that of the best heterogeneous one, on the texts that
        chose both. It flatters the side with the more subsets.
      held_out: [B], the same on texts that did not choose.
      low: [B], the lower end of its 95 percent interval.
      high: [B], the upper end.
    """

    homogeneous: Frontier
    heterogeneous: Frontier
    budgets: np.ndarray
    in_sample: np.ndarray
    held_out: np.ndarray
    low: np.ndarray
    high: np.ndarray


def groups_of(table: ScoreTable, by: str = "family") -> tuple[str, ...]:
    """Returns what each model of a table belongs to: [M].

    Args:
      table: The scores.
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
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      families: [M].
      weights: [X], not negative; 1 for each text if left out.
      min_size: The fewest models in a subset.
      max_size: The most models in a subset.

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
      losses: As for `homogeneous`, and so are the rest.
      costs: [M].
      families: [M].
      weights: [X].
      min_size: The fewest models in a subset.
      max_size: The most models in a subset.

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
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      families: [M].
      weights: [X], not negative; 1 for each text if left out.
      size: How many models a subset has; any number, single models among the
        homogeneous, if left out.
      num_budgets: B at most.
      num_splits: Into halves.
      num_resamples: Of the texts.
      seed: Of the splits and draws.
      clusters: The source of each text, [X], if texts of one are alike: then
        whole clusters are split and drawn.

    Raises:
      ValueError: As for `homogeneous` and `heterogeneous`; fewer than 2 texts
        or clusters; a number below 1.
    """
    inputs = checked_inputs(losses, costs, weights)
    if num_budgets < 1:
        raise ValueError(f"num_budgets is {num_budgets}; at least 1 is needed.")

    def both(part: Inputs) -> tuple[Frontier, Frontier]:
        sizes = {} if size is None else {"min_size": size, "max_size": size}
        arguments = (part.losses, part.costs, families, part.weights)
        return (
            homogeneous(*arguments, **sizes),
            heterogeneous(*arguments, **sizes),
        )

    lines = both(inputs)
    budgets = np.unique(np.concatenate([line.costs for line in lines]))
    budgets = budgets[budgets >= max(line.costs[0] for line in lines)]
    chosen = np.linspace(0, len(budgets) - 1, num_budgets).round().astype(int)
    budgets = budgets[np.unique(chosen)]
    of_text = np.zeros((len(budgets), inputs.losses.shape[1]))
    for first in halves(inputs.losses.shape[1], clusters, num_splits, seed):
        for chooses in (first, ~first):
            choice = both(_part(inputs, chooses))
            judged = inputs.losses[:, ~chooses]
            same, mixed = (_losses_at(line, budgets, judged) for line in choice)
            of_text[:, ~chooses] += (same - mixed) / num_splits
    drawn = resampled_means(
        of_text,
        inputs.weights,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    ends = [percentile_interval(column) for column in drawn.T]
    same, mixed = (
        line.losses[places_at(line.costs, budgets)] for line in lines
    )
    return Comparison(
        *lines,
        budgets,
        same - mixed,
        np.average(of_text, axis=1, weights=inputs.weights),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
    )


def _search(
    inputs: Inputs,
    min_size: int,
    max_size: int | None,
    groups: Sequence[str] | None = None,
) -> Frontier:
    few = num_subsets(len(inputs.losses), max_size) <= MAX_SUBSETS
    search = frontier.exhaustive if few else frontier.pruned
    return search(*inputs, max_size, min_size=min_size, groups=groups)


def _part(inputs: Inputs, texts: np.ndarray) -> Inputs:
    weights = None if inputs.weights is None else inputs.weights[texts]
    return Inputs(inputs.losses[:, texts], inputs.costs, weights)


def _losses_at(
    line: Frontier, budgets: np.ndarray, losses: np.ndarray
) -> np.ndarray:
    """Returns the loss of each text under each budget's best subset: [B, X]."""
    place = places_at(line.costs, budgets)
    points, which = np.unique(place, return_inverse=True)
    return np.stack([losses[line.masks[p]].min(axis=0) for p in points])[which]
