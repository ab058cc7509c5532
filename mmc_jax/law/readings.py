"""What fitted laws say at a series of budgets, and at a series of losses.

G places on the axis.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law.evaluation import budget_for, loss
from mmc_jax.law.resampling import ResampledFit, estimate_answer
from mmc_jax.statistics import Estimate


class Readings(NamedTuple):
    """A law, read at budgets and at losses.

    Attributes:
      loss: Loss that each budget buys, with the interval of the law's
        resamples, [G].
      budget: Budget that each loss takes, with its interval, [G]. It is
        infinity for a loss that is not above the floor.
    """

    loss: Estimate
    budget: Estimate


def law_readings(
    found: ResampledFit, budgets: ArrayLike, losses: ArrayLike
) -> Readings:
    """Returns what a law says at some budgets and losses, with intervals.

    Args:
      found: Law with its resamples; without resamples there are no intervals.
      budgets: Budgets at which the law is read, above 0, [G].
      losses: Losses at which the law is read, [G].

    >>> from mmc_jax import law
    >>> fit = law.fit([1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0])
    >>> found = law_readings(law.ResampledFit(fit, None), [100.0], [1.5, 0.5])
    >>> found.loss.value.round(4), found.budget.value.round(2)
    (array([1.5]), array([100.,  inf]))
    """
    return Readings(
        _read(found, loss, np.asarray(budgets, np.float64)),
        _read(found, budget_for, np.asarray(losses, np.float64)),
    )


def _read(found: ResampledFit, answer, places: np.ndarray) -> Estimate:
    if found.resampled is None:
        none = np.full(places.shape, np.nan)
        return Estimate(np.asarray(answer(found.fit, places)), none, none)
    one_by_one = [
        estimate_answer(lambda laws, at=at: answer(laws, at), found)
        for at in places
    ]
    fields = np.array([one[:3] for one in one_by_one]).reshape(-1, 3).T
    return Estimate(*fields)
