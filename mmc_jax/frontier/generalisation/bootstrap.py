"""What a frontier would have been with other texts: resamples and a band.

M models, X texts, F subsets, R resamples.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.generalisation.cross_fitting import Search
from mmc_jax.frontier.pareto import (
    Frontier,
    places_at,
    subset_costs,
    subset_losses,
)
from mmc_jax.statistics.inputs import (
    checked_inputs,
    checked_level,
    checked_subsets,
)
from mmc_jax.statistics.resampling import resampled_counts

# Text-by-text minima of subsets that are held at once, [subsets, X].
_MINIMA_AT_ONCE = 2**23


class Band(NamedTuple):
    """A frontier with an interval at each of its points.

    Attributes:
      costs: [F] float64, of the subsets.
      losses: [F] float64, on all texts.
      mean: [F], of the resamples.
      low: [F], the lower end of the interval.
      high: [F], the upper end.
      all_models: the loss of all models together on all texts: no subset of the
        pool goes below it.
      all_models_low: the lower end of its interval.
      all_models_high: the upper end.
    """

    costs: np.ndarray
    losses: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    all_models: float
    all_models_low: float
    all_models_high: float


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
) -> Band:
    """Returns intervals over texts for each subset of a frontier.

    Texts are drawn with replacement, as many as there are, R times; the
    interval holds the middle of what each resample gives. With the subsets
    fixed it says how far their mean over these texts is from that over all
    texts of the kind, had they been chosen beforehand.

    With a `search` each resample chooses anew, and gives at each cost the loss
    of what that buys: what the choice of the subsets adds, in as long as R
    searches. A resample flatters once more, as far below these texts as they
    are below the truth, roughly: its band may lie below the frontier, and
    `losses - mean` is an estimate of the optimism.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      masks: [F, M] of booleans, the subsets of the frontier.
      search: as for `cross_fitted`; the subsets are fixed if left out.
      clusters: the source, domain or document of each text, [X], if texts of
        one are alike: then whole clusters are drawn.
      num_resamples: R.
      seed: of the draws.
      level: the share of the resamples in the interval.

    Raises:
      ValueError: arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_resamples below 1; a level outside (0, 1); a subset
        cheaper than all that the search finds.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, the
    percentile interval (section 13.3).

    >>> losses = [[1.0, 1.0, 1.0], [2.0, 0.0, 2.0]]
    >>> masks = [[True, False], [True, True]]
    >>> band = bootstrap_band(losses, [1, 2], masks, num_resamples=100)
    >>> print(band.low, band.high, round(band.all_models, 3))
    [1. 0.] [1. 1.] 0.667
    """
    inputs = checked_inputs(losses, costs, None)
    num_models = len(inputs.losses)
    masks = checked_subsets(masks, num_models)
    ends = checked_level(level)
    line = subset_losses(inputs, masks)
    cost = subset_costs(masks, inputs.costs)
    everything = np.ones((1, num_models), bool)
    all_models = resampled_losses(
        inputs.losses, everything, clusters, num_resamples, seed
    )
    if search is None:
        drawn = resampled_losses(
            inputs.losses, masks, clusters, num_resamples, seed
        )
    else:
        drawn = np.array(
            [
                found.losses[places_at(found.costs, cost)]
                for found, _ in resampled_frontiers(
                    inputs.losses,
                    inputs.costs,
                    search,
                    clusters,
                    num_resamples,
                    seed,
                )
            ]
        )
    low, high = np.quantile(drawn, ends, axis=0)
    return Band(
        cost,
        line,
        drawn.mean(axis=0),
        low,
        high,
        float(subset_losses(inputs, everything)[0]),
        *map(float, np.quantile(all_models, ends)),
    )


def resampled_losses(
    losses: np.ndarray,
    masks: np.ndarray,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns the loss of each subset on each resample of the texts: [R, F].

    The text-by-text minima of a subset do not depend on how often a text is
    drawn: all resamples are matrix products.
    """
    num_texts = losses.shape[1]
    found = np.empty((num_resamples, len(masks)))
    step = max(1, _MINIMA_AT_ONCE // num_texts)
    row = 0
    for counts in resampled_counts(num_texts, clusters, num_resamples, seed):
        rows = slice(row, row + len(counts))
        row = rows.stop
        num_drawn = counts.sum(axis=1, keepdims=True)
        for start in range(0, len(masks), step):
            some = slice(start, start + step)
            minima = np.stack([losses[m].min(axis=0) for m in masks[some]])
            found[rows, some] = counts @ minima.T / num_drawn
    return found


def resampled_frontiers(
    losses: np.ndarray,
    costs: np.ndarray,
    search: Search,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> Iterator[tuple[Frontier, np.ndarray]]:
    """Yields the frontier of each resample, and how often texts were drawn."""
    for counts in resampled_counts(
        losses.shape[1], clusters, num_resamples, seed
    ):
        for row in counts:
            yield search(losses, costs, row), row
