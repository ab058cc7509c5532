"""Lines of which one model runs a text, and the laws of their resamples.

M models, X texts, F points, R resamples.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, law, oracle, stages
from mmc_jax.frontier import Frontier
from mmc_jax.frontier.pareto import subset_costs
from mmc_jax.oracle.subset_minima import first_least
from mmc_jax.realizable import LearnedRouter
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import resampled_means_of

# Points of the ideal line; of more texts than 2^17, fewer: each is a choice of
# every text. And texts of which all choices are made at once.
_NUM_PRICES, _FEW_PRICES, _MOST_TEXTS, _TEXTS = 200, 50, 2**17, 2**13
# A little below the price at which a text moves, so that it has moved.
_BELOW = 1 - 1e-9


class Routes(NamedTuple):
    """A line of which one model runs a text.

    Attributes:
      points: The line; the masks are the models that run or may run.
      chosen: Index of the model that runs for each text, whole numbers [F, X].
      losses: Loss of each text under each model, [M, X].
      costs: Cost of each model, [M], or of each model on each text, [M, X];
        None where a point costs all models of its subset.
    """

    points: Frontier
    chosen: np.ndarray
    losses: np.ndarray
    costs: np.ndarray | None


def ideal_routes(table: ScoreTable, losses: np.ndarray, cost: str) -> Routes:
    """Returns what an ideal choice among all models buys where one runs.

    Args:
      table: Score table of the models and texts.
      losses: Its losses, [M, X].
      cost: Name of the cost; "mean_query_cost" is what calls cost.
    """
    by_query = cost == "mean_query_cost" and table.query_costs is not None
    costs = table.query_costs if by_query else table.costs(cost)
    number = _NUM_PRICES if losses.shape[1] <= _MOST_TEXTS else _FEW_PRICES
    found = frontier.routed(losses, costs, lambdas=number)
    points, kept = _non_dominated(found.costs, found.losses, found.shares > 0)
    of_texts = np.broadcast_to(
        costs if by_query else costs[:, None], losses.shape
    )
    chosen = _no_choice(len(kept), losses)
    for start in range(0, losses.shape[1], _TEXTS):
        texts = slice(start, start + _TEXTS)
        some = losses[:, texts], of_texts[:, texts]
        for f, price in enumerate(found.lambdas[kept]):
            chosen[f, texts] = _choice(*some, price)
        stages.say(f"ideal routes of {start:,} of {losses.shape[1]:,} texts")
    return Routes(points, chosen, losses, costs)


def learned_routes(
    router: LearnedRouter,
    losses: np.ndarray,
    costs: np.ndarray,
    masks: np.ndarray,
) -> Routes:
    """Returns what a router makes of subsets, dominated ones left out.

    Args:
      router: What it predicts for each text.
      losses: Loss of each text under each model, [M, X].
      costs: Cost of each model, [M].
      masks: Models of each subset, bool [S, M].
    """
    chosen = _no_choice(len(masks), losses)
    texts, means = np.arange(losses.shape[1]), np.empty(len(masks))
    for f, mask in enumerate(masks):
        (chosen[f],) = router.chosen(mask[None])
        means[f] = oracle.exact_means(losses[chosen[f], texts])
        stages.say(f"the router's choice in {f + 1} of {len(masks)} subsets")
    masks = router.with_reader(masks)
    points, kept = _non_dominated(subset_costs(masks, costs), means, masks)
    return Routes(points, chosen[kept], losses, None)


def resampled_laws(
    routes: Routes,
    *,
    clusters: tuple[str, ...] | None,
    num_resamples: int,
    num_starts: int,
    seed: int,
) -> law.Fits:
    """Returns the laws of resampled texts, what runs for each text fixed.

    Where a text costs what runs for it, its cost is resampled with its loss.

    Args:
      routes: Line of which one model runs each text, with its losses.
      clusters: Name of what is resampled with each text, [X]; None for the
        text alone.
      num_resamples: Number of resamples R.
      num_starts: Number of starts of each fit.
      seed: Seed of the random resamples.

    Raises:
      ValueError: Points that `law.fit_batch` refuses.
    """
    number, num_texts = routes.chosen.shape

    def rows_of(texts: slice) -> np.ndarray:
        chosen = routes.chosen[:, texts]
        places = np.arange(num_texts)[texts]
        losses = routes.losses[chosen, places]
        if routes.costs is None:
            return losses
        return np.concatenate([losses, _costs(routes.costs, chosen, places)])

    means = resampled_means_of(
        rows_of,
        None,
        num_texts=num_texts,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    costs = routes.points.costs if routes.costs is None else means[:, number:]
    return law.fit_batch(costs, means[:, :number], num_starts=num_starts)


def _costs(
    costs: np.ndarray, chosen: np.ndarray, texts: np.ndarray
) -> np.ndarray:
    return costs[chosen] if costs.ndim == 1 else costs[chosen, texts]


def _no_choice(num_points: int, losses: np.ndarray) -> np.ndarray:
    """Returns room for the models that run, in as few bytes as they take."""
    num_models, num_texts = losses.shape
    return np.empty((num_points, num_texts), np.min_scalar_type(num_models))


def _non_dominated(
    costs: np.ndarray, losses: np.ndarray, masks: np.ndarray
) -> tuple[Frontier, np.ndarray]:
    """Returns the points that no other dominates, and their places: [F]."""
    # A mask for each point, by which it is found again.
    places = np.eye(len(costs), dtype=bool)
    points = frontier.non_dominated(costs, losses, places)
    kept = points.masks.argmax(axis=1)
    return points._replace(masks=masks[kept]), kept


def _choice(losses: np.ndarray, costs: np.ndarray, price: float) -> np.ndarray:
    """Returns the model that runs each text at a price, an index: [X]."""
    if np.isinf(price):
        cheapest = costs == costs.min(axis=0)
        return np.where(cheapest, losses, np.inf).argmin(axis=0)
    return first_least(
        row + _BELOW * price * cost
        for row, cost in zip(losses, costs, strict=True)
    )
