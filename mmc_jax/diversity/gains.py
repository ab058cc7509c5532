"""What a pair of models, or a pool, gains over the best single model.

M models, X texts, K references.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.statistics.estimates import Estimate, estimate
from mmc_jax.statistics.inputs import checked_inputs, checked_losses
from mmc_jax.statistics.resampling import resampled_means
from mmc_jax.statistics.sums import pair_minima_sums


class Gain(NamedTuple):
    """What is gained, with its interval over texts.

    Attributes:
      estimate: The gain in the unit of the losses, with its 95 percent
        interval.
      standard_error: Standard deviation of the gain over the resamples.
    """

    estimate: Estimate
    standard_error: float


def pair_losses(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns the oracle loss of each pair of models: [M, M].

    On the diagonal stands the mean loss of one model. All sums add the texts in
    one order, on every machine, so that a pair never seems to lose more than
    either of its models.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> pair_losses([[1.0, 4.0], [3.0, 2.0]])
    array([[2.5, 1.5],
           [1.5, 2.5]])
    """
    losses, weights = checked_losses(losses, weights)
    weights = np.ones(losses.shape[1]) if weights is None else weights
    return pair_minima_sums(losses, weights) / weights.sum()


def pair_gains(
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    pairs: np.ndarray | None = None,
) -> np.ndarray:
    """Returns what each pair gains over the better of its models: [M, M].

    gain_ij = min(L({i}), L({j})) - L({i, j})

    The matrix is symmetric and never negative. It is exactly 0 on the diagonal,
    and where one of the two models is at least as good on every text.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      pairs: What `pair_losses` returns of the same losses and weights, where
        it is at hand.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> pair_gains([[1.0, 4.0], [3.0, 2.0], [3.0, 4.0]])
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    if pairs is None:
        pairs = pair_losses(losses, weights)
    single = np.diagonal(pairs)
    return np.minimum(single[:, None], single) - pairs


def pair_gains_per_cost(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    pairs: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the gain of each pair for a unit of its larger cost: [M, M].

    gain_ij / max(c_i, c_j), in the unit of the losses for a unit of cost.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, above 0, [M].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      pairs: What `pair_losses` returns of the same losses and weights, where
        it is at hand.

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
    gains = pair_gains(inputs.losses, inputs.weights, pairs=pairs)
    return gains / larger


def equal_cost_gains(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    pairs: np.ndarray | None = None,
) -> np.ndarray:
    """Returns what each pair gains over one model of no more cost: [M, M].

    bonus_ij = min over m with c_m <= c_i + c_j of L({m}) - L({i, j})

    The gain is negative where one larger model is the better use of the same
    cost. The diagonal is NaN, as one model is no pair.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      pairs: What `pair_losses` returns of the same losses and weights, where
        it is at hand.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> equal_cost_gains([[1.0, 4.0], [3.0, 2.0], [1.0, 1.0]], [1, 2, 3])
    array([[ nan, -0.5,  0. ],
           [-0.5,  nan,  0. ],
           [ 0. ,  0. ,  nan]])
    """
    inputs = checked_inputs(losses, costs, weights)
    if pairs is None:
        pairs = pair_losses(inputs.losses, inputs.weights)
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
) -> Gain:
    """Returns what a pair gains over the better of its two models.

    min(L({a}), L({b})) - L({a, b})

    The interval is the percentile interval of resampled texts; each resample
    has its own better model. The gain is never negative, so a lower end of 0
    means that one of the two is the best on all texts of some resamples.

    Args:
      losses_a: Losses of the first model, [X].
      losses_b: Losses of the second model on the same texts, [X].
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples. The same seed, number of texts and
        clusters give the same resamples.
      weights: Weight of each text, not negative, [X]; None for 1 each.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.

    Raises:
      ValueError: Arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_resamples below 1.

    >>> pair_bonus([1.0, 4.0] * 50, [3.0, 2.0] * 50).estimate.value
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
) -> Gain:
    """Returns how far losses lie below those of the best reference.

    min over k of mean_x R_kx - mean_x L_x

    Each resample of the texts has its own best reference.

    Args:
      references: Losses of the K references, such as single models, [K, X].
      losses: Losses that may be lower, such as the oracle losses of a pool,
        [X].
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples.
      weights: Weight of each text, not negative, [X]; None for 1 each.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.

    Raises:
      ValueError: Arguments that do not fit, with the place; fewer than 2 texts
        or clusters; num_resamples below 1.
    """
    references = np.asarray(references, np.float64)
    losses = np.asarray(losses, np.float64)
    if references.ndim != 2 or losses.shape != references.shape[1:]:
        raise ValueError(
            f"references {references.shape} and losses {losses.shape} must be "
            "[K, X] and [X], of the same texts."
        )
    rows = np.vstack([references, losses])
    resampled = resampled_means(
        rows,
        weights,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    found, of_resample = (
        means[..., :-1].min(axis=-1) - means[..., -1]
        for means in (np.average(rows, axis=1, weights=weights), resampled)
    )
    return Gain(estimate(found, of_resample), float(of_resample.std()))
