"""How alike two models err once the difficulty of the texts is taken away.

M models, X texts.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.groups import group_numbers
from mmc_jax.statistics import (
    checked_losses,
    pair_products,
    weighted_sums,
)


class GroupMeans(NamedTuple):
    """Mean over pairs of models, those of one group and those of two.

    Attributes:
      within: Mean over pairs of one group; NaN where there is none.
      across: Mean over pairs of two groups; NaN where there is none.
    """

    within: float
    across: float


def residual_correlations(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns how the losses of models correlate beyond difficulty: [M, M].

    corr_x(e_ix, e_jx), e_ix = L_ix - a_i - b_i d_x

    A text's difficulty d is its mean loss over the models of the pool; a_i and
    b_i are those of least squares, for a small model suffers more from a
    difficult text than a large one. What is left says where a model is better
    or worse than it should be. As the M residuals of a text sum to 0, models
    that err independently and alike correlate at -1 / (M - 1), not at 0; two
    models always at -1. NaN for a model of which nothing is left.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> losses = [[1, 4, 3, 6], [1, 4, 3, 6], [2, 5, 5, 5]]
    >>> residual_correlations(losses).round(3)
    array([[ 1.,  1., -1.],
           [ 1.,  1., -1.],
           [-1., -1.,  1.]])
    """
    losses, weights = checked_losses(losses, weights)
    share = np.ones(losses.shape[1]) if weights is None else weights
    share = share / share.sum()
    difficulty = losses.mean(axis=0)
    difficulty = difficulty - (difficulty * share).sum()
    residuals = losses - weighted_sums(losses, share)[:, None]
    variance = (difficulty**2 * share).sum()
    if variance > 0:
        slopes = weighted_sums(residuals, share * difficulty) / variance
        residuals -= slopes[:, None] * difficulty
    covariances = pair_products(residuals, share)
    deviations = np.sqrt(np.diagonal(covariances))
    # Where difficulty alone moves a model's losses, only rounding is left.
    deviations = np.where(
        deviations > 1e-12 * np.abs(losses).max(), deviations, np.nan
    )
    return covariances / deviations[:, None] / deviations


def group_means(matrix: ArrayLike, groups: Sequence[Hashable]) -> GroupMeans:
    """Returns the mean of a symmetric matrix within and across groups.

    Args:
      matrix: A number for each pair of models, such as a gain or a correlation,
        [M, M]. The diagonal and NaN are left out.
      groups: Family of each model, [M].

    Raises:
      ValueError: Not one group for each model.

    >>> group_means([[1, 0.5, 0.1], [0.5, 1, 0.3], [0.1, 0.3, 1]], "aab")
    GroupMeans(within=0.5, across=0.2)
    """
    matrix = np.asarray(matrix, np.float64)
    numbers = group_numbers(groups, len(matrix))
    same = numbers[:, None] == numbers
    pairs = np.triu(np.isfinite(matrix), 1)

    def mean(chosen):
        return float(matrix[chosen].mean()) if chosen.any() else float("nan")

    return GroupMeans(mean(pairs & same), mean(pairs & ~same))
