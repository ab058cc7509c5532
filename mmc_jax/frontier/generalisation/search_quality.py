"""The error of a search where the exact frontier is known.

F points of the exact frontier.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.pareto import Frontier, places_at

# Losses that differ by less, relative, differ by their roundings.
_SAME = 1e-12


class SearchError(NamedTuple):
    """How far a frontier is from the exact one.

    Attributes:
      num_points: Number of points of the exact frontier that are proven.
      num_missed: Number of these points whose cost and loss were not found.
      excess: Largest relative excess of the found loss over the least loss, at
        any of these points' costs.
      budget: Cost at which the excess is largest; the first of several.
    """

    num_points: int
    num_missed: int
    excess: float
    budget: float


def search_error(
    found: Frontier, exact: Frontier, proven: ArrayLike | None = None
) -> SearchError:
    """Returns how far a search's frontier is from the exact one.

    excess = max over b of L_found(b) / L_exact(b) - 1,
    L(b) = the least loss of a frontier at cost b or less

    Between the costs of the exact frontier the excess only falls: it is enough
    to look there.

    Args:
      found: Frontier that the search found.
      exact: Frontier over all subsets, with losses above 0.
      proven: Points that are proven to be exact, [F] of booleans; all if left
        out.

    Raises:
      ValueError: a search that found nothing at an exact point's cost; losses
        that are not above 0; proven of a wrong shape or with no point.

    >>> masks = np.zeros((2, 1), bool)
    >>> exact = Frontier(np.array([1.0, 3.0]), np.array([2.0, 1.0]), masks)
    >>> found = Frontier(np.array([1.0, 4.0]), np.array([2.0, 1.0]), masks)
    >>> search_error(found, exact)
    SearchError(num_points=2, num_missed=1, excess=1.0, budget=3.0)
    """
    costs, losses, _ = exact
    if not (losses > 0).all():
        raise ValueError(
            f"exact.losses[{(losses <= 0).argmax()}] is not above 0: a "
            "relative excess needs that."
        )
    if proven is not None:
        proven = np.asarray(proven)
        if proven.shape != costs.shape or proven.dtype != bool:
            raise ValueError(
                f"proven has shape {proven.shape} and dtype {proven.dtype}; "
                f"[{len(costs)}] of bool, one for each point, is needed."
            )
        if not proven.any():
            raise ValueError("proven holds no point: nothing is known.")
        costs, losses = costs[proven], losses[proven]
    place = places_at(found.costs, costs)
    excess = found.losses[place] / losses - 1
    is_found = (found.costs[place] == costs) & (excess <= _SAME)
    worst = int(excess.argmax())
    return SearchError(
        len(costs),
        int((~is_found).sum()),
        float(max(excess[worst], 0.0)),
        float(costs[worst]),
    )
