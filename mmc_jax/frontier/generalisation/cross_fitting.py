"""Selection bias: one half of the texts chooses subsets for the other.

M models, X texts, B budgets, K splits.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import stages
from mmc_jax.frontier.generalisation.other_texts import held_out
from mmc_jax.frontier.pareto import Frontier, places_at
from mmc_jax.statistics.inputs import Inputs, checked_inputs
from mmc_jax.statistics.resampling import halves

# (losses [M, X], costs [M], weights [X] or None) -> the frontier.
Search = Callable[[np.ndarray, np.ndarray, np.ndarray | None], Frontier]

_NUM_BUDGETS = 64


class CrossFitted(NamedTuple):
    """What budgets buy on the texts that chose the subset, and on others.

    The optimism of the choice is `held_out - in_sample`, that of each split
    `held_out_of_split - in_sample_of_split`.

    Attributes:
      budgets: Budgets, [B] float64.
      in_sample: Loss on the half that chose, the mean over splits, [B].
      held_out: Loss of the same subsets on the other half, the mean over
        splits, [B]. Unlike a frontier it may rise with the budget.
      in_sample_std: Standard deviation of `in_sample` over splits, [B].
      held_out_std: Standard deviation of `held_out` over splits, [B].
      optimism_std: Standard deviation of the optimism over splits, [B].
      in_sample_of_split: Mean in-sample loss of a split's two halves, [K, B].
      held_out_of_split: Mean held-out loss of a split's two halves, [K, B].
      share_of_split: Share of the subsets of one half's frontier that do not
        dominate each other on the other half, [K].
    """

    budgets: np.ndarray
    in_sample: np.ndarray
    held_out: np.ndarray
    in_sample_std: np.ndarray
    held_out_std: np.ndarray
    optimism_std: np.ndarray
    in_sample_of_split: np.ndarray
    held_out_of_split: np.ndarray
    share_of_split: np.ndarray


def cross_fitted(
    losses: ArrayLike,
    costs: ArrayLike,
    *,
    search: Search,
    num_splits: int = 20,
    seed: int = 0,
    weights: ArrayLike | None = None,
    clusters: Sequence[str] | None = None,
    budgets: ArrayLike | None = None,
) -> CrossFitted:
    """Returns the in-sample and the held-out loss at a grid of budgets.

    The texts are cut at random into halves, K times. The frontier of each half
    is found, and at each budget the subset that it buys is taken to the other
    half: no text counts where it chose. Takes as long as 2 K searches on half
    of the texts. Half of the texts choose worse than all do: the held-out loss
    of the subsets that all texts choose is a little less.

    The same seed and texts give the same splits, so that two searches are
    compared in pairs. Splits share their texts: the deviation over them is of
    the choice of the halves, not a standard error of the mean.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      search: Function that finds a frontier, called as
        `search(losses, costs, weights)`: `frontier.pruned`,
        `frontier.exhaustive`, ... Some weights may be 0.
      num_splits: Number of splits K.
      seed: Seed of the random halves.
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      clusters: Source, domain or document of each text, [X], if texts of one
        are alike: no cluster is then cut; single texts if left out.
      budgets: Budgets, [B]; if left out 64 of them, from the least that buys a
        subset in every half to the cost of the dearest subset, evenly spread on
        a log scale.

    Raises:
      ValueError: arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_splits below 1; a budget that buys nothing.

    >>> from mmc_jax import frontier
    >>> losses = [[1.0, 2.0], [2.0, 1.0]]
    >>> found = cross_fitted(
    ...     losses, [5, 5], search=frontier.pruned, num_splits=1, budgets=[5]
    ... )
    >>> found.in_sample, found.held_out
    (array([1.]), array([2.]))
    """
    inputs = checked_inputs(losses, costs, weights)
    firsts = list(halves(inputs.losses.shape[1], clusters, num_splits, seed))
    lines, share_of_split = _lines_of_halves(inputs, firsts, search)
    if budgets is None:
        budgets = _spread(
            max(cost[0] for cost, _, _ in lines),
            max(cost[-1] for cost, _, _ in lines),
        )
    budgets = np.asarray(budgets, np.float64)
    bought = np.empty((2, 2 * num_splits, len(budgets)))
    for row, (cost, chosen, elsewhere) in enumerate(lines):
        place = places_at(cost, budgets)
        bought[:, row] = chosen[place], elsewhere[place]
    in_sample, other = bought.reshape(2, num_splits, 2, -1).mean(axis=2)
    return CrossFitted(
        budgets,
        in_sample.mean(axis=0),
        other.mean(axis=0),
        in_sample.std(axis=0),
        other.std(axis=0),
        (other - in_sample).std(axis=0),
        in_sample,
        other,
        share_of_split,
    )


def _lines_of_halves(
    inputs: Inputs, firsts: Sequence[np.ndarray], search: Search
) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """Returns the frontier of each half, and what it loses on the other.

    Args:
      inputs: Losses, costs and weights.
      firsts: Texts of the first half of each split, [X] of booleans each.
      search: Function that finds a frontier.

    Returns:
      Costs, losses and losses on the other half of each of 2 K frontiers, and
      the share of their subsets that stay on the frontier, [K].
    """
    width = max(max(first.sum(), (~first).sum()) for first in firsts)
    lines, share_of_split = [], []
    for number, first in enumerate(firsts, 1):
        share = 0.0
        for half in (first, ~first):
            here = _of_texts(inputs, half, width)
            there = _of_texts(inputs, ~half, width)
            with stages.stage(f"searching split {number} of {len(firsts)}"):
                line = search(*here)
            elsewhere = held_out(line.masks, *there)
            lines.append((line.costs, line.losses, elsewhere.losses))
            share += elsewhere.share / 2
        share_of_split.append(share)
    return lines, np.array(share_of_split)


def _of_texts(inputs: Inputs, texts: np.ndarray, width: int) -> Inputs:
    """Returns some of the texts, filled up to a width by weights of 0.

    XLA compiles for every shape, and halves of clusters have many.
    """
    columns = np.flatnonzero(texts)
    weights = np.zeros(width)
    weights[: len(columns)] = (
        1.0 if inputs.weights is None else inputs.weights[columns]
    )
    columns = np.pad(columns, (0, width - len(columns)), mode="edge")
    return Inputs(inputs.losses[:, columns], inputs.costs, weights)


def _spread(least: float, largest: float) -> np.ndarray:
    """Returns budgets, evenly spread on a log scale if that can be."""
    if least > 0:
        return np.geomspace(least, largest, _NUM_BUDGETS)
    return np.linspace(least, largest, _NUM_BUDGETS)
