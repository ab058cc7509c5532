"""The running filter: what may still be on the frontier, in bounds of its loss.

M models, S and R subsets, N candidates.

A search hands in tile after tile of float32 sums. A candidate goes as soon as
another is certain to dominate it, by the bounds of `regrets`; what is left in
the end is settled in float64. So ties and all that float32 cannot tell apart
come through, and the memory is that of what is left, not of all sums.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.frontier.pareto import cost_parts, rounded_sum
from mmc_jax.frontier.regrets import Regrets

# Points of a tile that are looked at between two settlings of the filter.
_POINTS = 2**16


class Candidates(NamedTuple):
    """Subsets that may be on the frontier, by cost.

    Attributes:
      costs: [N] float64.
      low: [N], the least that the regret sum can be.
      high: [N], the greatest.
      masks: [N, M] bool.
    """

    costs: np.ndarray
    low: np.ndarray
    high: np.ndarray
    masks: np.ndarray


def no_candidates(num_models: int) -> Candidates:
    """Returns the start of a search."""
    none = np.empty(0)
    return Candidates(none, none, none, np.empty((0, num_models), bool))


def with_unions(
    candidates: Candidates,
    regrets: Regrets,
    costs: np.ndarray,
    masks: np.ndarray,
    others: np.ndarray,
    sums: np.ndarray,
) -> Candidates:
    """Returns what may be on the frontier of the candidates and a tile.

    Args:
      candidates: so far.
      regrets: of the search, for the bounds.
      costs: [M].
      masks: [S, M].
      others: [R, M].
      sums: [S, R], the regret sum of each union; infinity leaves one out.
    """
    costs_of_masks = cost_parts(masks, costs)
    costs_of_others = cost_parts(others, costs)
    num_slices = -(-sums.size // _POINTS)
    for start in range(num_slices):
        # Strided, so that already the first slice is a sample of all.
        rows = slice(start, None, num_slices)
        cost = rounded_sum(
            *(part[rows, None] for part in costs_of_masks), *costs_of_others
        )
        stays = sums[rows] <= _greatest_sums(candidates, regrets, cost)
        row, column = np.nonzero(stays)
        found = Candidates(
            cost[stays],
            *regrets.bounds(sums[rows][stays].astype(np.float64)),
            masks[rows][row] | others[column],
        )
        candidates = _undominated(
            *map(np.concatenate, zip(candidates, found, strict=True))
        )
    return candidates


def distinct(masks: np.ndarray) -> np.ndarray:
    """Returns each of the masks [N, M] once, in an order of their own."""
    packed = np.unique(np.packbits(masks, axis=1), axis=0)
    return np.unpackbits(packed, axis=1, count=masks.shape[1]).astype(bool)


def _greatest_sums(
    candidates: Candidates, regrets: Regrets, costs: np.ndarray
) -> np.ndarray:
    """Returns the sums above which a candidate that costs no more is better."""
    least = np.minimum.accumulate(candidates.high)
    falls = np.diff(least, prepend=np.inf) < 0
    # The first: nothing costs less, and all but infinity stays.
    greatest = np.concatenate(
        [[np.finfo(np.float64).max], regrets.greatest_sum(least[falls])]
    )
    place = np.searchsorted(candidates.costs[falls], costs, side="right")
    return greatest[place]


def _undominated(
    costs: np.ndarray, low: np.ndarray, high: np.ndarray, masks: np.ndarray
) -> Candidates:
    """Returns, by cost, what nothing is certain to dominate.

    Certain: the other costs no more and its greatest loss is below the least of
    this one; or it costs less and its greatest loss is at most that.
    """
    order = np.lexsort((low, costs))
    costs, low, high, masks = (
        costs[order], low[order], high[order], masks[order]
    )  # fmt: skip
    least = np.concatenate([[np.inf], np.minimum.accumulate(high)])
    first = np.searchsorted(costs, costs, side="left")
    end = np.searchsorted(costs, costs, side="right")
    stays = (low <= least[end]) & (low < least[first])
    return Candidates(costs[stays], low[stays], high[stays], masks[stays])
