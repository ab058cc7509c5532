"""Lines of which one model runs a text, and the laws of their resamples.

M models, X texts, F points, R resamples.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, law, oracle
from mmc_jax.frontier import Frontier
from mmc_jax.frontier.pareto import subset_costs
from mmc_jax.realizable import LearnedRouter
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import resampled_means

# Points of the ideal line.
_NUM_PRICES = 200
# A little below the price at which a text moves, so that it has moved.
_BELOW = 1 - 1e-9


class Routes(NamedTuple):
    """A line of which one model runs a text.

    Attributes:
      points: The line; the masks are the models that run or may run.
      losses: Loss of each text under the model that runs, [F, X].
      spent: Cost of each text, [F, X]; None where a point costs all models of
        its subset.
    """

    points: Frontier
    losses: np.ndarray
    spent: np.ndarray | None


def ideal_routes(table: ScoreTable, losses: np.ndarray, cost: str) -> Routes:
    """Returns what an ideal choice among all models buys where one runs.

    Args:
      table: Score table of the models and texts.
      losses: Its losses, [M, X].
      cost: Name of the cost; "mean_query_cost" is what calls cost.
    """
    by_query = cost == "mean_query_cost" and table.query_costs is not None
    costs = table.query_costs if by_query else table.costs(cost)
    found = frontier.routed(losses, costs, lambdas=_NUM_PRICES)
    points, kept = _non_dominated(found.costs, found.losses, found.shares > 0)
    of_texts = np.broadcast_to(
        costs if by_query else costs[:, None], losses.shape
    )
    texts = np.arange(losses.shape[1])
    chosen = np.empty((len(kept), len(texts)), np.int32)
    for f, price in enumerate(found.lambdas[kept]):
        chosen[f] = _choice(losses, of_texts, price)
    return Routes(points, losses[chosen, texts], of_texts[chosen, texts])


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
    rows = losses[router.chosen(masks), np.arange(losses.shape[1])]
    masks = router.with_reader(masks)
    points, kept = _non_dominated(
        subset_costs(masks, costs), oracle.exact_means(rows), masks
    )
    return Routes(points, rows[kept], None)


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
    rows = [routes.losses, *([] if routes.spent is None else [routes.spent])]
    means = resampled_means(
        np.concatenate(rows),
        None,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    number = len(routes.losses)
    costs = routes.points.costs if routes.spent is None else means[:, number:]
    return law.fit_batch(costs, means[:, :number], num_starts=num_starts)


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
    return (losses + _BELOW * price * costs).argmin(axis=0)
