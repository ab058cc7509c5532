"""How a frontier varies with its texts: resamples and a band.

M models, X texts, F subsets, R resamples.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import stages
from mmc_jax.frontier.generalisation.cross_fitting import Search
from mmc_jax.frontier.pareto import (
    Frontier,
    places_at,
    subset_costs,
    subset_losses,
)
from mmc_jax.oracle.subset_minima import minima_of_subsets
from mmc_jax.statistics import resampling
from mmc_jax.statistics.estimates import Estimate
from mmc_jax.statistics.inputs import (
    checked_inputs,
    checked_level,
    checked_subsets,
)

# Text-by-text minima of subsets that are held at once, [subsets, X].
_MINIMA_AT_ONCE = 2**23


class Band(NamedTuple):
    """A frontier with an interval at each of its points.

    Attributes:
      costs: Cost of each subset, [F] float64.
      losses: Oracle loss of each subset on all texts, [F] float64.
      mean: Mean of the resamples, [F].
      low: Lower end of each interval, [F].
      high: Upper end of each interval, [F].
      all_models: Loss of all models together, with its interval: no subset of
        the pool goes below it.
    """

    costs: np.ndarray
    losses: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    all_models: Estimate


def bootstrap_band(
    losses: ArrayLike,
    costs: ArrayLike,
    masks: ArrayLike,
    *,
    search: Search | None = None,
    clusters: Sequence[str] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> Band:
    """Returns intervals over texts for each subset of a frontier.

    Texts are drawn with replacement, as many as there are, R times; an interval
    holds the middle of what the resamples give. With fixed subsets it says how
    far their mean over these texts may be from that over all texts of the kind,
    if the subsets had been chosen beforehand.

    With a `search` each resample chooses its own subsets, and gives at each
    cost the loss of what that buys. That adds the variation of the choice and
    takes as long as R searches. The bootstrap frontier is biased low by about
    as much as the frontier of these texts is: its band may lie below the
    frontier, and `losses - mean` estimates the optimism.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      masks: Models of each subset of the frontier, [F, M] of booleans.
      search: Function that finds a frontier, called as
        `search(losses, costs, weights)`; the subsets are fixed if left out.
      clusters: Source, domain or document of each text, [X], if texts of one
        are alike: whole clusters are then drawn; single texts if left out.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      level: Share of the resamples in an interval, between 0 and 1.
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_resamples below 1; a level outside (0, 1); a subset
        cheaper than all that the search finds.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, the
    percentile interval (section 13.3).

    >>> losses = [[1.0, 1.0, 1.0], [2.0, 0.0, 2.0]]
    >>> masks = [[True, False], [True, True]]
    >>> band = bootstrap_band(losses, [1, 2], masks, num_resamples=100)
    >>> print(band.low, band.high, band.all_models)
    [1. 0.] [1. 1.] 0.667 [0, 1]
    """
    inputs = checked_inputs(losses, costs, weights)
    num_models = len(inputs.losses)
    masks = checked_subsets(masks, num_models)
    ends = checked_level(level)
    cost = subset_costs(masks, inputs.costs)
    everything = np.ones((1, num_models), bool)
    options = (clusters, num_resamples, seed, inputs.weights)
    all_models = resampled_losses(inputs.losses, everything, *options)
    if search is None:
        resampled = resampled_losses(inputs.losses, masks, *options)
    else:
        found = resampled_frontiers(*inputs[:2], search, *options)
        resampled = np.array(
            [line.losses[places_at(line.costs, cost)] for line, _ in found]
        )
    low, high = np.quantile(resampled, ends, axis=0)
    return Band(
        cost,
        subset_losses(inputs, masks),
        resampled.mean(axis=0),
        low,
        high,
        Estimate(
            float(subset_losses(inputs, everything)[0]),
            *map(float, np.quantile(all_models, ends)),
            level,
        ),
    )


def resampled_losses(
    losses: np.ndarray,
    masks: np.ndarray,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the loss of each subset on each resample of the texts: [R, F].

    The text-by-text minima of a subset do not depend on how often a text is
    drawn: all resamples are matrix products, with the same bits on every
    machine.

    Args:
      losses: Loss of each text under each model, [M, X].
      masks: Models of each subset, [F, M] of booleans.
      clusters: Cluster of each text, [X]; None to resample single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      weights: Weight of each text, [X]; None for 1 each.
    """
    num_texts = losses.shape[1]
    if num_texts > resampling.MOST_TEXTS:
        return _resampled_in_blocks(
            losses, masks, clusters, num_resamples, seed, weights
        )
    found = np.empty((num_resamples, len(masks)))
    step = max(1, _MINIMA_AT_ONCE // num_texts)
    row = 0
    for counts in resampling.resampled_counts(
        num_texts, clusters, num_resamples, seed
    ):
        rows = slice(row, row + len(counts))
        row = rows.stop
        num_drawn = counts.sum(axis=1, keepdims=True)
        if weights is not None:
            num_drawn = resampling.counted_sums(counts, weights[None])
        for start in range(0, len(masks), step):
            stages.say(
                f"{start:,} of {len(masks):,} subsets on resamples "
                f"{rows.start + 1} to {rows.stop} of {num_resamples:,}"
            )
            some = slice(start, start + step)
            minima = minima_of_subsets(losses, masks[some])
            if weights is not None:
                minima *= weights
            found[rows, some] = (
                resampling.counted_sums(counts, minima) / num_drawn
            )
    return found


def _resampled_in_blocks(
    losses: np.ndarray,
    masks: np.ndarray,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Returns the same to 8 digits, a block of texts at a time.

    Each minimum is worked out once, however few resamples fit in memory.
    """
    found = np.empty((num_resamples, len(masks)))
    step = max(1, _MINIMA_AT_ONCE // resampling.BLOCK)
    for start in range(0, len(masks), step):
        stages.say(
            f"{start:,} of {len(masks):,} subsets on {num_resamples:,} "
            "resamples"
        )
        some = masks[start : start + step]
        found[:, start : start + step] = resampling.resampled_means_of(
            lambda texts, some=some: minima_of_subsets(losses[:, texts], some),
            weights,
            num_texts=losses.shape[1],
            clusters=clusters,
            num_resamples=num_resamples,
            seed=seed,
        )
    return found


def resampled_frontiers(
    losses: np.ndarray,
    costs: np.ndarray,
    search: Search,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
    weights: np.ndarray | None = None,
) -> Iterator[tuple[Frontier, np.ndarray]]:
    """Yields the frontier of each resample, and what each text weighs in it.

    Args:
      losses: Loss of each text under each model, [M, X].
      costs: Cost of each model, [M].
      search: Function that finds a frontier, called as
        `search(losses, costs, weights)`.
      clusters: Cluster of each text, [X]; None to resample single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      weights: Weight of each text, [X], times which it counts as often as it
        is drawn; None for 1 each.
    """
    number = 0
    for counts in resampling.resampled_counts(
        losses.shape[1], clusters, num_resamples, seed
    ):
        for row in counts:
            number += 1
            if weights is not None:
                row = row * weights
            with stages.stage(
                f"searching resample {number} of {num_resamples}"
            ):
                line = search(losses, costs, row)
            yield line, row
