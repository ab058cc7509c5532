"""The frontier of routing: what the model that runs costs, not all in memory.

M models, X texts, K points, S subsets.

At a price lambda of cost in loss each text goes to the model of the least
L_ix + lambda c_i. The texts decide one by one, so that the answer is exact: the
models that a text can go to are the corners of the lower convex hull of its
(c_i, L_ix), the price at which it moves from one to the next is the slope
between them, and the frontier is all these moves by falling price.
"""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle.subset_minima import in_steps, take_minima
from mmc_jax.statistics.inputs import checked_inputs, checked_masks

# Shares of all points together: 1 GB.
_MAX_SHARES = 2**27

# Numbers in a chunk of texts [M, texts].
_CHUNK = 2**22

# Texts of a block whose models are ranked.
_TEXTS = 2**13


class Routed(NamedTuple):
    """Points of routing by falling price, the cost rising, the loss falling.

    Attributes:
      lambdas: Price of each point, loss for a unit of cost, [K]. A point holds
        from its price down to the price of the next; the first from infinity.
      costs: Expected cost of a text, [K].
      losses: Expected loss of a text, [K].
      shares: Share of the texts (by weight) that each model takes, [K, M].
    """

    lambdas: np.ndarray
    costs: np.ndarray
    losses: np.ndarray
    shares: np.ndarray


class _Moves(NamedTuple):
    """Texts that change models, by falling price.

    Attributes:
      prices: Price at which each text moves, [N].
      weights: Weight of the text, [N].
      origins: Model that it leaves, [N].
      targets: Model to which it goes, [N].
      gains: Weighted loss that the move saves, [N].
      spends: Weighted cost that the move adds, [N].
    """

    prices: np.ndarray
    weights: np.ndarray
    origins: np.ndarray
    targets: np.ndarray
    gains: np.ndarray
    spends: np.ndarray


def routed(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    lambdas: ArrayLike | int | None = None,
    models: ArrayLike | None = None,
) -> Routed:
    """Returns the frontier over the expected cost and the expected loss.

    C(lambda) = sum_x w_x c_i(x) / sum_x w_x, L(lambda) = the same of L_i(x)x,
    i(x) = argmin_i L_ix + lambda c_i

    They are the corners of the lower convex hull of all that any router can
    reach, from all texts at the cheapest model to each at its best: there the
    loss is the oracle loss. Where a text has the choice at its price, the
    dearer model takes it; of models equal in both the first. O(H M X) for texts
    of up to H corners, and a sort of the moves.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of running each model on a text, finite and not negative: [M],
        or [M, X] where it depends on the text.
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      lambdas: Prices to be answered, not negative, [K]; or a number of points,
        evenly spaced among those of the exact frontier; all of these if left
        out.
      models: Models that may be used, [M] of booleans; all if left out.

    Raises:
      ValueError: arguments that do not fit, with the place; no models; more
        points than fit in memory with their shares.

    Source: The Capability Frontier, arXiv 2606.26836.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> frontier = routed(losses, costs=[1, 3])
    >>> frontier.lambdas, frontier.costs, frontier.losses
    (array([inf,  1.]), array([1., 2.]), array([2.5, 1.5]))
    """
    query_costs = _query_costs(losses, costs)
    if query_costs is not None:
        costs = query_costs.mean(axis=1)
    inputs = checked_inputs(losses, costs, weights)
    num_models, num_texts = inputs.losses.shape
    chosen = _chosen(models, num_models)
    weight = np.ones(num_texts) if inputs.weights is None else inputs.weights
    # The dearest first, so that it wins among equals; below, if texts differ.
    if query_costs is None:
        chosen = chosen[np.argsort(-inputs.costs[chosen], kind="stable")]
    step = max(1, _CHUNK // len(chosen))
    starts, parts = np.zeros(len(chosen)), []
    loss_of_start = cost_of_start = 0.0
    for start in range(0, num_texts, step):
        texts = np.arange(start, min(start + step, num_texts))
        texts = texts[weight[texts] > 0]
        loss = inputs.losses[np.ix_(chosen, texts)]
        cost, order = inputs.costs[chosen][:, None], None
        if query_costs is not None:
            cost = query_costs[np.ix_(chosen, texts)]
            order = np.argsort(-cost, axis=0, kind="stable")
            cost = np.take_along_axis(cost, order, axis=0)
            loss = np.take_along_axis(loss, order, axis=0)
        cheapest = np.where(cost == cost[-1], loss, np.inf).argmin(axis=0)
        places = np.arange(len(texts))
        starts += np.bincount(
            cheapest if order is None else order[cheapest, places],
            weight[texts],
            len(chosen),
        )
        loss_of_start += (loss[cheapest, places] * weight[texts]).sum()
        cost_of_start += (cost[-1] * weight[texts]).sum()
        parts.extend(_moves(loss, cost, weight[texts], cheapest, order))
    moves = _Moves(*map(np.concatenate, zip(*parts, strict=True)))
    by_price = np.argsort(-moves.prices, kind="stable")
    moves = _Moves(*(values[by_price] for values in moves))
    prices, ends = _points(moves, lambdas)
    if len(ends) * num_models > _MAX_SHARES:
        raise ValueError(
            f"{len(ends):,} points of {num_models} shares do not fit in "
            "memory: ask for fewer, as lambdas=1000."
        )
    shares, gains, spends = _sums_of_moves(moves, ends, len(chosen))
    all_shares = np.zeros((len(ends), num_models))
    # Weights that are not whole leave roundings of nothing behind.
    all_shares[:, chosen] = np.maximum(starts + shares, 0) / weight.sum()
    return Routed(
        prices,
        (all_shares * inputs.costs).sum(axis=1)
        if query_costs is None
        else (cost_of_start + spends) / weight.sum(),
        (loss_of_start - gains) / weight.sum(),
        all_shares,
    )


def _query_costs(losses: ArrayLike, costs: ArrayLike) -> np.ndarray | None:
    """Returns the costs of each model on each text, None if texts cost alike.

    Raises:
      ValueError: The shape is not that of the losses; a cost that is negative
        or not finite.
    """
    if np.ndim(costs) != 2:
        return None
    costs = np.asarray(costs, np.float64)
    if costs.shape != np.shape(losses):
        raise ValueError(
            f"costs has shape {costs.shape}, and losses {np.shape(losses)}; "
            "[M], or [M, X] as the losses, is needed."
        )
    bad = ~(np.isfinite(costs) & (costs >= 0))
    if bad.any():
        i, x = np.argwhere(bad)[0]
        raise ValueError(
            f"costs[{i}, {x}] (model {i}, text {x}) is {costs[i, x]}; finite "
            "costs of 0 or more are needed."
        )
    return costs


def _chosen(models: ArrayLike | None, num_models: int) -> np.ndarray:
    """Returns the models that may be used, by number.

    Raises:
      ValueError: models of a wrong shape or dtype; no models.
    """
    if models is None:
        return np.arange(num_models)
    models = np.asarray(models)
    if models.shape != (num_models,) or models.dtype != bool:
        raise ValueError(
            f"models has shape {models.shape} and dtype {models.dtype}; "
            f"[{num_models}] of bool, one for each row of losses, is needed."
        )
    if not models.any():
        raise ValueError("models has none: a text must go somewhere.")
    return np.flatnonzero(models)


def expected_costs(
    losses: ArrayLike,
    costs: ArrayLike,
    masks: ArrayLike,
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Returns the expected cost of a text when its best model runs: [S].

    C(S) = sum_x w_x c_i(x) / sum_x w_x with i(x) = argmin_{i in S} L_ix, the
    cheapest of equals: the cost at which routing reaches the oracle loss of the
    subset, where the sum of the costs is what must be held ready.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      masks: Models of each subset, [S, M] of booleans; a subset without a model
        costs 0.
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.

    Raises:
      ValueError: arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> expected_costs(losses, [1, 3], [[True, False], [True, True]])
    array([1., 2.])
    """
    inputs = checked_inputs(losses, costs, weights)
    masks = checked_masks(masks, len(inputs.losses))
    num_models, num_texts = inputs.losses.shape
    by_cost = np.argsort(inputs.costs, kind="stable")
    # What each text weighs, and how much of it each model gets in each subset.
    weighs = np.ones(num_texts) if weights is None else inputs.weights
    gets = np.zeros(masks.shape)
    order, steps = in_steps(masks[:, by_cost])
    for start in range(0, num_texts, _TEXTS):
        texts = slice(start, start + _TEXTS)
        # Of equals the cheapest comes first.
        best_first = inputs.losses[by_cost, texts].T.argsort(kind="stable").T
        ranks = np.empty(best_first.shape, np.min_scalar_type(num_models))
        np.put_along_axis(
            ranks, best_first, np.arange(num_models)[:, None], axis=0
        )
        of_text = np.arange(best_first.shape[1])
        found = np.empty((1, len(of_text)), ranks.dtype)
        shared: list[np.ndarray] = []
        for s, step in zip(order, steps, strict=True):
            take_minima(ranks, [step], shared, found)
            gets[s] += np.bincount(
                best_first[found[0], of_text], weighs[texts], num_models
            )
    gets[~masks.any(axis=1)] = 0.0
    spent = gets * inputs.costs[by_cost]
    return np.array([math.fsum(row) for row in spent]) / math.fsum(weighs)


def _moves(
    losses: np.ndarray,
    costs: np.ndarray,
    weights: np.ndarray,
    at: np.ndarray,
    order: np.ndarray | None,
) -> list[_Moves]:
    """Returns the moves of some texts, all first ones, all second ones, ...

    From the corner where it is a text goes to the model of the steepest descent
    in loss by cost among the dearer: the next corner of its lower hull.

    Args:
      losses: Loss of each text, the dearest model first, [M, X].
      costs: Cost of each model, falling, [M, 1], or [M, X] by text.
      weights: Weight of each text, [X].
      at: Model at which each text begins, [X].
      order: Number of the model that stands at each place, [M, X]; None if each
        stands at its own.
    """
    last_price = np.full(len(at), np.inf)
    found = []
    while True:
        texts = np.arange(len(at))
        here = losses[at, texts]
        rise = costs - costs[at, 0 if order is None else texts]
        slope = np.divide(
            here - losses, rise, out=np.zeros_like(losses), where=rise > 0
        )
        to = slope.argmax(axis=0)
        # Corners in a line: rounding must not turn their order.
        price = np.minimum(slope[to, texts], last_price)
        gain = here - losses[to, texts]
        spend = rise[to, texts]
        goes = price > 0
        origins, to, weights = at[goes], to[goes], weights[goes]
        last_price, targets = price[goes], to
        if order is not None:
            order, costs = order[:, goes], costs[:, goes]
            texts = np.arange(len(to))
            origins, targets = order[origins, texts], order[to, texts]
        found.append(
            _Moves(
                last_price,
                weights,
                origins,
                targets,
                gain[goes] * weights,
                spend[goes] * weights,
            )
        )
        if not goes.any():
            return found
        losses, at = losses[:, goes], to


def _points(
    moves: _Moves, lambdas: ArrayLike | int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the price of each point and the number of moves before it: [K].

    Raises:
      ValueError: a price that is negative or NaN; fewer than 2 points.
    """
    if lambdas is None or np.ndim(lambdas) == 0:
        last = np.flatnonzero(np.diff(moves.prices, append=-1.0))
        ends = np.concatenate([[0], last + 1])
        prices = np.concatenate([[np.inf], moves.prices[last]])
        if lambdas is None:
            return prices, ends
        if lambdas != int(lambdas) or lambdas < 2:
            raise ValueError(
                f"lambdas is {lambdas}; an array of prices or a number of "
                "points, at least 2, is needed."
            )
        place = np.linspace(0, len(ends) - 1, int(lambdas)).round().astype(int)
        place = np.unique(place)
        return prices[place], ends[place]
    prices = np.asarray(lambdas, np.float64)
    if prices.ndim != 1:
        raise ValueError(f"lambdas has shape {prices.shape}; [K] is needed.")
    bad = ~(prices >= 0)
    if bad.any():
        k = int(bad.argmax())
        raise ValueError(f"lambdas[{k}] is {prices[k]}; 0 or more is needed.")
    prices = -np.sort(-prices)
    return prices, np.searchsorted(-moves.prices, -prices, side="right")


def _sums_of_moves(
    moves: _Moves, ends: np.ndarray, num_models: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the weight that came to each model [K, M], what it won and cost.

    The last two are [K]. Of the first moves up to each end.
    """
    num_points = len(ends)
    point = np.searchsorted(ends, np.arange(len(moves.prices)), side="right")
    shape = (num_points + 1, num_models)  # The last: after all points.

    def change(models):
        cells = point * num_models + models
        return np.bincount(cells, moves.weights, math.prod(shape))

    came = (change(moves.targets) - change(moves.origins)).reshape(shape)
    won = np.bincount(point, moves.gains, num_points + 1)
    spent = np.bincount(point, moves.spends, num_points + 1)
    return came[:-1].cumsum(axis=0), won[:-1].cumsum(), spent[:-1].cumsum()
