"""What one asks of a law. Each answer takes one law, or R resampled ones.

An answer from R laws (of `text_bootstrap`, or of `residual_bootstrap` where the
texts are not at hand) is [R]; `interval` says what it leaves open.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law.fitting import Fit, Fits

Law = Fit | Fits


class Interval(NamedTuple):
    """Between what an answer lies.

    Attributes:
      low: The lower end.
      high: The upper end.
      level: The share of the resamples between the two.
    """

    low: float
    high: float
    level: float


def budget_for(law: Law, loss: ArrayLike) -> np.ndarray:
    """Returns the budget that a loss takes.

    P(L) = (A / (L - L_inf))^(1 / alpha), infinity for a loss not above L_inf

    Args:
      law: One law, or R.
      loss: Any shape for one law, one number for R.

    >>> from mmc_jax import law
    >>> found = law.fit([1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0])
    >>> print(f"{budget_for(found, 1.5):.2f}")
    100.00
    """
    above = np.asarray(loss, np.float64) - law.L_inf
    with np.errstate(over="ignore"):
        budget = law.scale * (
            law.A_at_scale / np.where(above > 0, above, 1.0)
        ) ** np.divide(1.0, law.alpha)
    return np.where(above > 0, budget, np.inf)


def budget_ratio(single: Law, pool: Law, loss: ArrayLike) -> np.ndarray:
    """Returns how many times less a pool spends than a single model.

    P_single(L) / P_pool(L) at the same loss L: infinity at a loss below the
    floor of single models that the pool can reach, 0 the other way round, NaN
    at one that neither can.

    Args:
      single: The law of single models, or R.
      pool: The law of the pool, or R.
      loss: As for `budget_for`.
    """
    ours, theirs = budget_for(pool, loss), budget_for(single, loss)
    with np.errstate(invalid="ignore"):
        return theirs / ours


def floor_gap_percent(single: Law, pool: Law) -> np.ndarray:
    """Returns by how much the pool's floor is below that of single models.

    100 (1 - L_inf,pool / L_inf,single), the 43 percent of the paper.

    Source: arXiv 2512.23340 (2.21 and 1.25).
    """
    return 100 * (1 - np.divide(pool.L_inf, single.L_inf))


def usable(*laws: Fits) -> np.ndarray:
    """Returns which resamples have a law in every set: [R].

    Their fits converged, and their losses fall.
    """
    return np.all([law.converged & law.falls for law in laws], axis=0)


def interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Returns the percentile interval of resampled answers.

    Args:
      values: [R], those of resamples that have a law; infinities stay in.
      level: The share of them inside.

    Raises:
      ValueError: No values, or NaN among them.

    >>> interval(np.arange(5.0), 0.5)
    Interval(low=1.0, high=3.0, level=0.5)
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("no resample has a law: there is no interval.")
    if np.isnan(values).any():
        raise ValueError(
            f"values[{int(np.isnan(values).argmax())}] is NaN: this answer is "
            "not defined for every resample."
        )
    tail = (1 - level) / 2
    # Of the values themselves: between infinity and a number lies nothing.
    method = "linear" if np.isfinite(values).all() else "nearest"
    low, high = np.quantile(values, [tail, 1 - tail], method=method)
    return Interval(float(low), float(high), level)
