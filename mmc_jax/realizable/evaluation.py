"""What a router is worth on texts that it has not learned from.

M models, X texts, K prices, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier, oracle
from mmc_jax.statistics import (
    Estimate,
    checked_losses,
    estimate,
    resampled_means,
)

# Prices of cost in loss at which a router is asked.
_NUM_PRICES = 40
_BELOW = 1 - 1e-9


class Evaluation(NamedTuple):
    """A router on texts that judge. Intervals are over texts or clusters.

    Attributes:
      routed: Mean loss of the chosen models.
      best_single: Mean loss of the model that was the best where the router
        learned.
      oracle: Mean loss of the best model of each text.
      domain_oracle: Mean loss of the best model of each domain, chosen on
        these very texts.
      closed_gap: Share of the gap between best single and oracle that the
        router closes, over all texts; NaN where there is no gap.
      domain_closed_gap: Share of the same gap that the oracle of the domain
        closes.
      agreement: Share of the texts that go to a model of the least loss.
      shares: Share of the texts that each model gets, [M].
      confusion: Number of texts by chosen model and by best model (the first
        among equals), int64 [M, M].
      expected_cost: Mean cost of a text with what the router itself reads; NaN
        without costs.
      curve_costs: Expected cost at each price, rising, [K]; empty without
        costs.
      curve_losses: Loss at each of these costs, [K].
      area: Mean loss over costs from the cheapest to the dearest model; NaN
        without costs, or where all cost the same.
    """

    routed: Estimate
    best_single: Estimate
    oracle: Estimate
    domain_oracle: Estimate
    closed_gap: Estimate
    domain_closed_gap: Estimate
    agreement: Estimate
    shares: np.ndarray
    confusion: np.ndarray
    expected_cost: float
    curve_costs: np.ndarray
    curve_losses: np.ndarray
    area: float


def evaluated(
    losses: ArrayLike,
    predicted: ArrayLike,
    *,
    best_single: int,
    costs: ArrayLike | None = None,
    query_costs: ArrayLike | None = None,
    reading_cost: ArrayLike = 0.0,
    domains: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Returns what a router is worth on texts that it has not learned from.

    Each text goes to the model of the least predicted loss; of equals to the
    first. closed gap = (best single - routed) / (best single - oracle), means
    over all texts.

    The curve asks the router at prices: each text goes to the least predicted
    loss + price x cost. Between two prices texts may be dealt out at random, so
    that the curve is made of straight lines. It begins at the cheapest model
    without a router. Its area is RouterBench's AIQ of losses, divided by the
    range of the costs.

    Args:
      losses: Loss of each model on the texts that judge, finite, [M, X].
      predicted: Loss that the router predicts there, finite, [M, X].
      best_single: Index of the model that is the best where the router learned.
      costs: Cost of running each model on a text, by which the router decides,
        [M]; None if not known.
      query_costs: What running each model cost on each text, [M, X], which is
        what is spent; None where that is `costs`.
      reading_cost: Cost of what the router itself reads of a text, one number
        or [X].
      domains: Domain of each text, [X]; None for one domain.
      clusters: What is resampled together, [X]; None for single texts.
      num_resamples: Number of resamples R behind the intervals.
      seed: Seed of the random resamples.

    Raises:
      ValueError: Shapes that do not fit; numbers that are not finite; fewer
        than 2 texts or clusters.

    Source: Hu et al. 2024, RouterBench, arXiv 2403.12031 (AIQ).

    >>> losses = [[1.0, 4.0, 1.0], [3.0, 2.0, 3.0]]
    >>> evaluated(losses, losses, best_single=0).closed_gap.value
    1.0
    """
    losses, _ = checked_losses(losses, None)
    predicted, _ = checked_losses(predicted, None)
    if predicted.shape != losses.shape:
        raise ValueError(
            f"predicted losses have the shape {predicted.shape}, the losses "
            f"{losses.shape}: a router of other models or other texts."
        )
    num_models, num_texts = losses.shape
    texts = np.arange(num_texts)
    chosen = predicted.argmin(axis=0)
    least = losses.min(axis=0)
    rows = np.stack(
        [
            losses[chosen, texts],
            losses[best_single],
            least,
            _by_domain(losses, domains),
            losses[chosen, texts] == least,
        ]
    )
    means = oracle.exact_means(rows)
    resampled = resampled_means(
        rows,
        None,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    routed, single, best, domain, agreement = (
        estimate(mean, column)
        for mean, column in zip(means, resampled.T, strict=True)
    )
    expected_cost, curve = np.nan, (np.empty(0), np.empty(0))
    area = np.nan
    if costs is not None:
        costs = np.asarray(costs, np.float64)
        spent = np.broadcast_to(costs[:, None], losses.shape)
        if query_costs is not None:
            spent = np.asarray(query_costs, np.float64)
        reading = float(np.mean(reading_cost))
        expected_cost = float(spent[chosen, texts].mean()) + reading
        curve = _curve(losses, predicted, costs, spent, reading)
        area = _area(*curve, spent.mean(axis=1).max())
    return Evaluation(
        routed=routed,
        best_single=single,
        oracle=best,
        domain_oracle=domain,
        closed_gap=_closed(means, resampled, 0),
        domain_closed_gap=_closed(means, resampled, 3),
        agreement=agreement,
        shares=np.bincount(chosen, minlength=num_models) / num_texts,
        confusion=np.bincount(
            chosen * num_models + losses.argmin(axis=0),
            minlength=num_models**2,
        ).reshape(num_models, num_models),
        expected_cost=expected_cost,
        curve_costs=curve[0],
        curve_losses=curve[1],
        area=area,
    )


def _by_domain(losses: np.ndarray, domains: Sequence[str] | None) -> np.ndarray:
    """Returns each text's loss under the best model of its domain, [X]."""
    names = np.array(domains if domains is not None else [""] * losses.shape[1])
    found = np.empty(losses.shape[1])
    for name in np.unique(names):
        of_domain = names == name
        best = losses[:, of_domain].mean(axis=1).argmin()
        found[of_domain] = losses[best, of_domain]
    return found


def _closed(means: np.ndarray, resampled: np.ndarray, row: int) -> Estimate:
    """Returns the share of the gap that a row of `evaluated` closes."""

    def share(values: np.ndarray) -> np.ndarray:
        gap = values[..., 1] - values[..., 2]
        closed = values[..., 1] - values[..., row]
        # No gap: nothing to close.
        return np.divide(
            closed, gap, out=np.full(gap.shape, np.nan), where=gap != 0
        )

    value, others = share(means[None])[0], share(resampled)
    if np.isnan(value) or np.isnan(others).any():
        return Estimate(float(value))
    return estimate(value, others)


def _curve(
    losses: np.ndarray,
    predicted: np.ndarray,
    costs: np.ndarray,
    spent: np.ndarray,
    reading: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns expected costs, rising, and losses there: [K] each."""
    prices = frontier.routed(predicted, costs, lambdas=_NUM_PRICES).lambdas
    # A little below the price at which a text moves, so that no tie is broken
    # by roundings.
    prices = np.append(_BELOW * prices[np.isfinite(prices)], 0.0)
    texts = np.arange(losses.shape[1])
    cheapest = np.flatnonzero(costs == costs.min())
    first = cheapest[predicted[cheapest].mean(axis=1).argmin()]
    points = [(spent[first].mean(), losses[first].mean())]
    for price in prices:
        chosen = (predicted + price * costs[:, None]).argmin(axis=0)
        points.append(
            (
                spent[chosen, texts].mean() + reading,
                losses[chosen, texts].mean(),
            )
        )
    points = np.array(points)
    # By falling price the cost rises, but for roundings.
    order = np.argsort(points[:, 0], kind="stable")
    return points[order, 0], points[order, 1]


def _area(costs: np.ndarray, losses: np.ndarray, dearest: float) -> float:
    """Returns the mean loss over costs from the cheapest to the dearest."""
    if dearest <= costs[0]:
        return float("nan")
    end = np.interp(dearest, costs, losses)
    kept = costs < dearest
    return float(
        np.trapezoid(
            np.append(losses[kept], end), np.append(costs[kept], dearest)
        )
        / (dearest - costs[0])
    )
