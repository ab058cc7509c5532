"""Means of resampled texts, for the intervals of this package.

K rows, X texts, R resamples.
"""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.draws import resamples
from mmc_jax.frontier.inputs import checked_losses


def resampled_means(
    rows: ArrayLike,
    weights: ArrayLike | None,
    *,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns the mean of each row over the texts of each resample: [R, K].

    sum_x n_rx w_x v_kx / sum_x n_rx w_x, n_rx how often text x was drawn

    Args:
      rows: [K, X], a number for each text.
      weights: [X], not negative; 1 for each text if None.
      clusters: The source of each text, [X]; then whole clusters are drawn.
      num_resamples: R.
      seed: Of the draws.

    Raises:
      ValueError: Arguments that do not fit, with the place; fewer than 2 texts
        or clusters; a resample without a text of positive weight.
    """
    rows, weights = checked_losses(rows, weights)
    num_texts = rows.shape[1]
    weights = np.ones(num_texts) if weights is None else weights
    found = []
    for counts in resamples(num_texts, clusters, num_resamples, seed):
        totals = counts @ weights
        if not totals.all():
            raise ValueError(
                "a resample has no text of positive weight: give more texts a "
                "weight."
            )
        found.append((counts * weights) @ rows.T / totals[:, None])
    return np.concatenate(found)
