"""How alike two models err once the difficulty of the texts is taken away.

M models, X texts.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.inputs import checked_losses
from mmc_jax.frontier.mixtures import group_numbers


class GroupMeans(NamedTuple):
    """The mean of a number of pairs, by whether the two are of one group.

    Attributes:
      within: Over pairs of one group; NaN where there is none.
      across: Over pairs of two groups; NaN where there is none.
    """

    within: float
    across: float


def residual_correlations(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns how the losses of models correlate beyond difficulty: [M, M].

    corr_x(e_ix, e_jx), e_ix = L_ix - mean over models of L_x

    A text's difficulty is its mean loss over the models of the pool: what is
    left says where a model is better or worse than its pool. As the M residuals
    of a text sum to 0, models that err independently and alike correlate at
    -1 / (M - 1), not at 0; two models always at -1. NaN for a model whose
    residual does not vary.

    Args:
      losses: [M, X], finite.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0, 3.0], [2.0, 5.0, 4.0], [3.0, 3.0, 5.0]]
    >>> residual_correlations(losses).round(3)
    array([[ 1.,  1., -1.],
           [ 1.,  1., -1.],
           [-1., -1.,  1.]])
    """
    losses, weights = checked_losses(losses, weights)
    share = np.ones(losses.shape[1]) if weights is None else weights
    share = share / share.sum()
    residuals = losses - losses.mean(axis=0)
    residuals -= (residuals @ share)[:, None]
    covariances = residuals * share @ residuals.T
    deviations = np.sqrt(np.diagonal(covariances))
    # What is left of a model that never varies is rounding.
    deviations = np.where(
        deviations > 1e-12 * np.abs(losses).max(), deviations, np.nan
    )
    return covariances / deviations[:, None] / deviations


def group_means(matrix: ArrayLike, groups: Sequence[Hashable]) -> GroupMeans:
    """Returns the mean of a symmetric matrix within and across groups.

    Args:
      matrix: [M, M], a number for each pair, such as gains or correlations.
        The diagonal and NaN are left out.
      groups: [M], the family of each model.

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
