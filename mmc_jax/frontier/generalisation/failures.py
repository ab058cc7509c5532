"""Texts on which every model fails: what no choice among them can mend.

M models, X texts.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.statistics.inputs import checked_inputs, checked_level


class CoFailures(NamedTuple):
    """How many texts no model of the pool solves.

    Attributes:
      num_failures: Number of texts on which every model fails.
      num_texts: Number of texts X.
      share: Share of the texts on which every model fails; no selection among
        the models solves more than 1 - share of them.
      low: Lower end of the interval of the share.
      high: Upper end of the interval of the share.
    """

    num_failures: int
    num_texts: int
    share: float
    low: float
    high: float


def co_failures(
    losses: ArrayLike, fail_above: float, level: float = 0.95
) -> CoFailures:
    """Returns the share of the texts on which every model fails.

    k / X with k = number of x with min_i L_ix > threshold, and the interval of
    Clopper and Pearson, which holds the true share with at least its level if
    the texts were drawn independently:

    low = Beta^-1((1 - level) / 2; k, X - k + 1), 0 for k = 0
    high = Beta^-1((1 + level) / 2; k + 1, X - k), 1 for k = X

    Args:
      losses: Loss of each text under each model, finite, [M, X]; lower is
        better, as 1 - accuracy.
      fail_above: Loss above which a model fails on a text.
      level: Confidence level of the interval, between 0 and 1.

    Raises:
      ValueError: losses that do not fit, with the place; a threshold that is
        not finite; a level outside (0, 1).

    Source: Clopper and Pearson 1934, Biometrika 26, 404-413.

    >>> losses = [[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    >>> found = co_failures(losses, fail_above=0.5)
    >>> print(found.num_failures, found.share, round(found.high, 3))
    1 0.25 0.806
    """
    losses = np.asarray(losses, np.float64)
    losses = checked_inputs(losses, np.zeros(losses.shape[:1]), None).losses
    if not np.isfinite(fail_above):
        raise ValueError(f"fail_above is {fail_above}; a number is needed.")
    checked_level(level)
    num_texts = losses.shape[1]
    num_failures = int((losses.min(axis=0) > fail_above).sum())
    from scipy import stats  # It takes a second, which few analyses need.

    interval = stats.binomtest(num_failures, num_texts).proportion_ci(
        level, method="exact"
    )
    return CoFailures(
        num_failures,
        num_texts,
        num_failures / num_texts,
        float(interval.low),
        float(interval.high),
    )
