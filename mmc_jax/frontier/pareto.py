"""The frontier and its filter: which (cost, loss) points nothing dominates.

M models, X texts, S subsets, F frontier points.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle, stages
from mmc_jax.statistics.inputs import Inputs, checked_inputs

# Models x subsets whose costs are laid out at once: 32 MB.
_COSTS_AT_ONCE = 2**22


class Frontier(NamedTuple):
    """Non-dominated subsets, least cost first, the loss strictly falling.

    Attributes:
      costs: Sum of the costs of each subset's models, [F] float64.
      losses: Oracle loss of each subset, [F] float64.
      masks: Models of each subset, [F, M] bool.
    """

    costs: np.ndarray
    losses: np.ndarray
    masks: np.ndarray


def non_dominated(
    costs: ArrayLike, losses: ArrayLike, masks: ArrayLike
) -> Frontier:
    """Returns the points that no other point dominates.

    A point dominates another if it costs no more and loses no more, and one of
    the two is strictly less: of equal losses the cheapest stays, of equal costs
    the one with the least loss. Of points equal in both, the subset with the
    fewest models stays, and of those the one with the earliest models (its
    sorted indices come first). So the answer does not depend on the order of
    the points. A point of infinite loss is never on the frontier.

    Args:
      costs: Cost of each point, [S].
      losses: Loss of each point, [S]; may be infinite.
      masks: Models of each point, [S, M] of booleans.

    Raises:
      ValueError: shapes that do not fit; a cost or loss that is NaN, by index.

    >>> masks = [[True, False], [False, True], [True, True]]
    >>> non_dominated([1, 2, 3], [0.5, 0.7, 0.4], masks).costs
    array([1., 3.])
    """
    costs = np.asarray(costs, np.float64)
    losses = np.asarray(losses, np.float64)
    masks = np.asarray(masks)
    if not (
        costs.ndim == 1
        and losses.shape == costs.shape
        and masks.ndim == 2
        and masks.shape[0] == costs.shape[0]
    ):
        raise ValueError(
            f"costs {costs.shape}, losses {losses.shape} and masks "
            f"{masks.shape} must be [S], [S] and [S, M]."
        )
    for name, numbers in (("costs", costs), ("losses", losses)):
        if np.isnan(numbers).any():
            raise ValueError(f"{name}[{np.isnan(numbers).argmax()}] is NaN.")

    stays = undominated(costs, losses)
    costs, losses, masks = costs[stays], losses[stays], masks[stays]

    # Ties are neighbours.
    repeats = np.diff(costs) == 0
    (tied,) = np.nonzero(np.append(repeats, False) | np.append(False, repeats))
    masks[tied] = masks[tied][order_of_ties(costs[tied], masks[tied])]
    one_a_cost = np.diff(costs, prepend=-np.inf) > 0
    return Frontier(costs[one_a_cost], losses[one_a_cost], masks[one_a_cost])


def of_subsets(
    losses: ArrayLike,
    costs: ArrayLike,
    masks: ArrayLike,
    weights: ArrayLike | None = None,
) -> Frontier:
    """Returns the frontier over the given subsets alone.

    One use: subsets that other texts have chosen.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      masks: Models of each subset, [S, M] of booleans.
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.

    Raises:
      ValueError: arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> of_subsets(losses, [1, 2], [[True, False], [True, True]]).losses
    array([2.5, 1.5])
    """
    inputs = checked_inputs(losses, costs, weights)
    return frontier_of(inputs, np.asarray(masks))


def single_models(
    losses: ArrayLike, costs: ArrayLike, weights: ArrayLike | None = None
) -> Frontier:
    """Returns the frontier over the single models: what one model can buy.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.

    Raises:
      ValueError: arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> single_models(losses, [1, 2, 3]).losses
    array([2.5, 2. ])
    """
    inputs = checked_inputs(losses, costs, weights)
    return frontier_of(inputs, np.eye(len(inputs.losses), dtype=bool))


def frontier_of(inputs: Inputs, masks: np.ndarray) -> Frontier:
    """Returns the frontier over the subsets: every search ends here."""
    losses = subset_losses(inputs, masks)
    return non_dominated(subset_costs(masks, inputs.costs), losses, masks)


def subset_losses(inputs: Inputs, masks: np.ndarray) -> np.ndarray:
    """Returns the oracle loss of each subset: [S] float64.

    The exact sum over texts, rounded once: a subset has the same floats on
    every machine, whichever search found it.
    """
    stages.say(f"exact losses of {len(masks):,} subsets")
    return oracle.exact_losses(inputs.losses, masks, inputs.weights)


def places_at(costs: np.ndarray, budgets: ArrayLike) -> np.ndarray:
    """Returns the frontier point that each budget buys: indices [B].

    Args:
      costs: Costs of a frontier's points, rising, [F].
      budgets: Largest cost that each budget allows, [B].

    Raises:
      ValueError: a budget that buys nothing.
    """
    places = np.searchsorted(costs, budgets, side="right") - 1
    if (places < 0).any():
        b = int((places < 0).argmax())
        least = f"the cheapest costs {costs[0]:,g}" if len(costs) else "none is"
        raise ValueError(
            f"budgets[{b}] is {np.asarray(budgets)[b]:,g}, for which no subset "
            f"of the frontier can be had: {least}."
        )
    return places


def undominated(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Returns the points that no other dominates, equal ones too: indices [n].

    By cost, then by loss. A point of infinite loss is not among them.

    Args:
      costs: Cost of each point, [S] float64, not NaN.
      losses: Loss of each point, [S] float64, not NaN.
    """
    order = np.lexsort((losses, costs))
    costs, losses = costs[order], losses[order]
    # The first point of each cost, which has its least loss.
    is_first = np.append(True, costs[1:] != costs[:-1])[: len(costs)]
    first = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    least = np.minimum.accumulate(np.append(np.inf, losses))
    return order[(losses == losses[first]) & (losses < least[first])]


def order_of_ties(costs: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns the order of subsets that tie, the one that stays first: [n].

    By cost; of equal costs the fewest models come first, of as many models the
    earliest.

    Args:
      costs: Cost of each subset, [n].
      masks: Models of each subset, [n, M] of booleans.
    """
    # Of the keys the last counts first. Eight models are one key, the earliest
    # its highest bit.
    keys = ~np.packbits(masks, axis=1).T[::-1]
    return np.lexsort((*keys, masks.sum(axis=1), costs))


def no_subsets(num_models: int) -> Frontier:
    """Returns the frontier of nothing, the start of a search."""
    none = np.empty(0)
    return Frontier(none, none, np.empty((0, num_models), bool))


def subset_costs(masks: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Returns the sum of the costs of each subset [S, M], rounded once: [S].

    The result does not depend on the order of the models, nor on how a search
    put the subset together, and equal sums are equal to the last bit.
    """
    total, rest = cost_and_rest(masks, costs)
    return total + rest


def cost_and_rest(
    masks: np.ndarray, costs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cost of each subset as a float and what it leaves over: [S].

    The two together are exact unless a cost is 10^13 times another.
    """
    total, rest = np.zeros((2, len(masks)))
    step = max(1, _COSTS_AT_ONCE // max(1, masks.shape[1]))
    for start in range(0, len(masks), step):
        some = slice(start, start + step)
        for cost in _costs_of_members(masks[some], costs):
            total[some], error = _two_sum(total[some], cost)
            rest[some] += error
    return total, rest


def _costs_of_members(masks: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Returns the costs of each subset's models, 0 beyond the last: [n, S].

    Of subsets of a few models among a thousand that is far less than a row for
    each model.
    """
    subset, model = np.nonzero(masks)
    sizes = np.bincount(subset, minlength=len(masks))
    place = np.arange(len(subset)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    of_members = np.zeros((sizes.max(initial=0), len(masks)))
    of_members[place, subset] = costs[model]
    return of_members


def rounded_sum(
    a: np.ndarray, rest_of_a: np.ndarray, b: np.ndarray, rest_of_b: np.ndarray
) -> np.ndarray:
    """Returns the correctly rounded sum of two costs in parts."""
    total, error = _two_sum(a, b)
    return total + (error + rest_of_a + rest_of_b)


def _two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a + b and its rounding error, itself a float (Knuth)."""
    total = a + b
    seen = total - a
    return total, (a - (total - seen)) + (b - seen)


def padded_rows(masks: np.ndarray, factor: int = 4) -> np.ndarray:
    """Returns the masks with empty subsets added, up to 16, 64, 256 ... rows.

    XLA compiles for every shape: so there are few.

    Args:
      masks: Models of each subset, [S, M].
      factor: Ratio of one number of rows to the one before.
    """
    num_rows = 16
    while num_rows < len(masks):
        num_rows *= factor
    return np.pad(masks, ((0, num_rows - len(masks)), (0, 0)))
