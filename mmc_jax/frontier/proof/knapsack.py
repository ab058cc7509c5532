"""Upper bounds of what a budget can gain: knapsacks over the models.

M models, N nodes or thresholds, B budgets.

K(b) = max sum_{j in S} profit_j over sets S that cost at most b. Profits and
costs are whole numbers, and no bound lies below K: roundings are allowed for.
"""

import numpy as np

# Steps into which a budget is cut.
_NUM_STEPS = 4096

# Profits of a node are below 2^53 in all: float64 orders their ratios to costs
# to 2^-52, and what a wrong order could hide is less than this share of them.
_ORDER_BITS = 50

# Units by which roundings in float64 may be off.
_ALLOWANCE = 4


def fractional(
    profits: np.ndarray,
    costs: np.ndarray,
    fits: np.ndarray,
    budgets: np.ndarray,
) -> np.ndarray:
    """Returns upper bounds of K by models that may be bought in part: [N, B].

    The models that gain most for their cost are bought, the last of them in
    part (Dantzig 1957): at most the part's gain, and two units, above K.

    Args:
      profits: Profit of each model, not negative, [N, M] int64.
      costs: Cost of each model, not negative, [M] int64.
      fits: Models that may be bought, [N, M] bool.
      budgets: Budgets, [N, B] int64. The bound of one below 0 means nothing.

    Returns:
      The bounds, [N, B] int64, and the price of more budget, [N, B] float64: 0
      where all that gains is bought.
    """
    num_models = len(costs)
    profits = np.where(fits, profits, 0)
    ratio = np.where(fits, _ratios(profits, costs), -1.0)
    order = np.argsort(-ratio, axis=1, kind="stable")
    ratio = np.take_along_axis(ratio, order, axis=1)
    profits = np.take_along_axis(profits, order, axis=1)
    bought = np.take_along_axis(np.where(fits, costs, 0), order, axis=1)
    gained = np.pad(np.cumsum(profits, axis=1), ((0, 0), (1, 0)))
    spent = np.pad(np.cumsum(bought, axis=1), ((0, 0), (1, 0)))
    # Models bought whole: those with which the sum is within the budget.
    place = np.empty(budgets.shape, np.int64)
    for row, budget in enumerate(budgets):
        place[row] = np.searchsorted(spent[row, 1:], budget, side="right")
    # Only a model that gains is bought in part: equal losses stay equal.
    gain = (profits > 0).sum(axis=1)[:, None]
    in_part = place < gain
    place = np.minimum(place, gain)
    next_one = np.minimum(place, num_models - 1)
    profit = np.take_along_axis(profits, next_one, axis=1)
    cost = np.maximum(np.take_along_axis(bought, next_one, axis=1), 1)
    left = np.maximum(budgets - np.take_along_axis(spent, place, axis=1), 0)
    # profit * left / cost, the product split so that it fits 64 bits.
    part = left * (profit // cost)
    part += np.floor(left * ((profit % cost) / cost)).astype(np.int64)
    part += _ALLOWANCE + (gained[:, -1:] >> _ORDER_BITS)
    most = np.take_along_axis(gained, place, axis=1)
    price = np.take_along_axis(ratio, next_one, axis=1)
    return (
        most + np.where(in_part, part, 0),
        np.where(in_part & (budgets >= 0), price, 0.0),
    )


def _ratios(profits: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Returns profits by costs [N, M]; what costs nothing comes first."""
    free = costs == 0
    ratios = profits / np.where(free, 1, costs)
    return np.where(free & (profits > 0), np.inf, ratios)


def decided(
    profits: np.ndarray,
    costs: np.ndarray,
    prices: np.ndarray,
    gaps: np.ndarray,
    is_open: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which models can be left out, and which must be in: [N, M] bool.

    By reduced costs: a set with model j gains at least p cost_j - profit_j less
    than the bound at price p, one without it at least profit_j - p cost_j. A
    model whose presence (absence) takes as much as the gap off the bound of
    every open budget can be left out (must be in).

    Args:
      profits: Profit of each model, [N, M] int64.
      costs: Cost of each model, [M] int64.
      prices: Prices that `fractional` returned, [N, B].
      gaps: Amount by which the bound of `fractional` is too large, [N, B]
        int64.
      is_open: Budgets that count, [N, B] bool.
    """
    most = np.where(is_open, prices, -np.inf).max(axis=1, initial=-np.inf)
    costs = costs.astype(float)
    least_loss = np.full(profits.shape, np.inf)
    least_gain = np.full(profits.shape, np.inf)
    for b in np.flatnonzero(is_open.any(axis=0)):
        paid = prices[:, b, None] * costs
        here = is_open[:, b, None]
        gap = gaps[:, b, None]
        least_loss = np.where(
            here, np.minimum(least_loss, paid - gap), least_loss
        )
        least_gain = np.where(
            here, np.minimum(least_gain, -paid - gap), least_gain
        )
    # Roundings of the products and differences, and of the bound itself.
    slack = 2 * _ALLOWANCE + 2.0**-_ORDER_BITS * (
        np.maximum(most, 0)[:, None] * costs + profits
    )
    return least_loss - profits >= slack, least_gain + profits >= slack


def zero_one(
    profits: np.ndarray, costs: np.ndarray, budgets: np.ndarray
) -> np.ndarray:
    """Returns upper bounds of K by models that are bought whole: [B].

    Dynamic programming over 4,096 steps of the largest budget. Costs are
    rounded down to steps, so that no set that a budget can buy is left out.

    Args:
      profits: Profit of each model, not negative, [M] int64.
      costs: Cost of each model, not negative, [M] int64.
      budgets: Budgets, not negative, [B] int64.
    """
    step = max(1, -(-int(budgets.max()) // _NUM_STEPS))
    most = np.zeros(int(budgets.max()) // step + 1, np.int64)
    for profit, cost in zip(profits, costs // step, strict=True):
        if cost < len(most):
            most[cost:] = np.maximum(
                most[cost:], most[: len(most) - cost] + profit
            )
    return most[budgets // step]
