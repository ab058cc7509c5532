"""What a pair of models, or a pool, gains over the best single model.

M models, X texts, K references.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.statistics import percentile_interval
from mmc_jax.statistics.inputs import checked_inputs, checked_losses
from mmc_jax.statistics.resampling import resampled_means


class Bonus(NamedTuple):
    """What is gained, and between what it lies.

    Attributes:
      bonus: The gain, in the unit of the losses.
      low: The lower end of its 95 percent interval.
      high: The upper end.
      standard_error: The standard deviation over the resamples.
    """

    bonus: float
    low: float
    high: float
    standard_error: float


def pair_gains(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns what each pair gains over the better of its models: [M, M].

    gain_ij = min(L({i}), L({j})) - L({i, j})

    Symmetric and never negative; exactly 0 on the diagonal, and wherever one of
    the two is at least as good on every text.

    Args:
      losses: [M, X], finite.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> pair_gains([[1.0, 4.0], [3.0, 2.0], [3.0, 4.0]])
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    pairs = _pair_losses(*checked_losses(losses, weights))
    single = np.diagonal(pairs)
    return np.minimum(single[:, None], single) - pairs


def pair_gains_per_cost(
    losses: ArrayLike, costs: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns the gain of each pair for a unit of its larger cost: [M, M].

    gain_ij / max(c_i, c_j), in the unit of the losses for a unit of cost.

    Args:
      losses: [M, X], finite.
      costs: [M], above 0.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: Arguments that do not fit, with the place; a cost of 0.

    >>> pair_gains_per_cost([[1.0, 4.0], [3.0, 2.0]], costs=[1, 4])
    array([[0.  , 0.25],
           [0.25, 0.  ]])
    """
    inputs = checked_inputs(losses, costs, weights)
    if not inputs.costs.all():
        raise ValueError(
            f"costs[{int(inputs.costs.argmin())}] is 0; a gain for a unit of "
            "cost needs costs above 0."
        )
    larger = np.maximum(inputs.costs[:, None], inputs.costs)
    return pair_gains(inputs.losses, inputs.weights) / larger


def equal_cost_gains(
    losses: ArrayLike, costs: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns what each pair gains over one model of no more cost: [M, M].

    bonus_ij = min over m with c_m <= c_i + c_j of L({m}) - L({i, j})

    Negative where one larger model is the better use of the same cost. NaN on
    the diagonal: one model is no pair.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> equal_cost_gains([[1.0, 4.0], [3.0, 2.0], [1.0, 1.0]], [1, 2, 3])
    array([[ nan, -0.5,  0. ],
           [-0.5,  nan,  0. ],
           [ 0. ,  0. ,  nan]])
    """
    inputs = checked_inputs(losses, costs, weights)
    pairs = _pair_losses(inputs.losses, inputs.weights)
    by_cost = np.argsort(inputs.costs, kind="stable")
    best = np.minimum.accumulate(np.diagonal(pairs)[by_cost])
    totals = inputs.costs[:, None] + inputs.costs
    place = np.searchsorted(inputs.costs[by_cost], totals, side="right") - 1
    gains = best[place] - pairs
    np.fill_diagonal(gains, np.nan)
    return gains


def pair_bonus(
    losses_a: ArrayLike,
    losses_b: ArrayLike,
    num_resamples: int = 1000,
    seed: int = 0,
    *,
    weights: ArrayLike | None = None,
    clusters: Sequence[str] | None = None,
) -> Bonus:
    """Returns what a pair gains over the better of its two models.

    min(L({a}), L({b})) - L({a, b})

    The interval is the percentile interval of resampled texts; each resample
    has its own better model. The gain is never negative, so a lower end of 0
    means that one of the two is the best on all texts of some resamples.

    Args:
      losses_a: [X].
      losses_b: [X].
      num_resamples: Of the texts.
      seed: Of the draws: the same seed, number of texts and clusters draw the
        same texts.
      weights: [X], not negative; 1 for each text if left out.
      clusters: The source of each text, [X], if texts of one are alike: then
        whole clusters are drawn.

    Raises:
      ValueError: Arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_resamples below 1.

    >>> pair_bonus([1.0, 4.0] * 50, [3.0, 2.0] * 50).bonus
    1.0
    """
    losses_a, losses_b = (
        np.asarray(losses, np.float64) for losses in (losses_a, losses_b)
    )
    if losses_a.ndim != 1 or losses_a.shape != losses_b.shape:
        raise ValueError(
            f"losses_a {losses_a.shape} and losses_b {losses_b.shape} must be "
            "[X], of the same texts."
        )
    pair = np.stack([losses_a, losses_b])
    return bonus(
        pair,
        pair.min(axis=0),
        num_resamples,
        seed,
        weights=weights,
        clusters=clusters,
    )


def bonus(
    references: ArrayLike,
    losses: ArrayLike,
    num_resamples: int = 1000,
    seed: int = 0,
    *,
    weights: ArrayLike | None = None,
    clusters: Sequence[str] | None = None,
) -> Bonus:
    """Returns how far losses lie below those of the best reference.

    min over k of mean_x R_kx - mean_x L_x

    Each resample of the texts has its own best reference.

    Args:
      references: [K, X], the losses of what it is compared with.
      losses: [X], such as the oracle losses of a pool.
      num_resamples: As for `pair_bonus`, and so are the rest.
      seed: Of the draws.
      weights: [X].
      clusters: [X].

    Raises:
      ValueError: As for `pair_bonus`.
    """
    references = np.asarray(references, np.float64)
    losses = np.asarray(losses, np.float64)
    if references.ndim != 2 or losses.shape != references.shape[1:]:
        raise ValueError(
            f"references {references.shape} and losses {losses.shape} must be "
            "[K, X] and [X], of the same texts."
        )
    rows = np.vstack([references, losses])
    drawn = resampled_means(
        rows,
        weights,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    found, drawn = (
        means[..., :-1].min(axis=-1) - means[..., -1]
        for means in (np.average(rows, axis=1, weights=weights), drawn)
    )
    low, high = percentile_interval(drawn)
    return Bonus(float(found), low, high, float(drawn.std()))


def _pair_losses(losses: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Returns the oracle loss of each pair, of the singles on the diagonal.

    All in one order of addition, so that a sum over smaller terms is never
    rounded to the larger sum.
    """
    with jax.enable_x64(True):
        sums = np.asarray(oracle.min_sum(losses, losses, weights))
    return sums / (losses.shape[1] if weights is None else weights.sum())
