"""Windows of budgets, each with the tree that proves it.

M models, X texts, B segments of a window.
"""

import bisect
from collections.abc import Callable

import numpy as np

from mmc_jax.frontier.proof.dual import thresholds
from mmc_jax.frontier.proof.integers import (
    IntegerFrontier,
    IntegerPool,
    integer_frontier,
    split_costs,
)
from mmc_jax.frontier.proof.persistence import KeptWindow
from mmc_jax.frontier.proof.search_tree import SearchTree
from mmc_jax.frontier.proof.tables import DeviceTable

# Segments of a window, and how far its budgets lie apart at most: thresholds
# are tuned to its middle.
_MOST_SEGMENTS, _MOST_RATIO = 32, 1.25

# Safety margin subtracted from the bounds of an unfinished tree, because the
# search and the checker may round differently: whole loss units, and a share of
# the bound as a number of bits.
_SLACK, _SLACK_BITS = 64, 48


class Window:
    """A run of budgets, what is known of it, and its tree.

    Attributes:
      low: Least budget, a whole number.
      high: One above the largest budget.
      thresholds: Thresholds of the tree, [X] uint32.
      known: Frontier known here, from the best subset for the budget `low` on.
      tree: The tree that grows; None before the first turn and at the end.
      proof: What a finished tree proves: budgets (B whole numbers), loss sums
        [B] int64 and the tree [nodes] int16; None while it grows.
      better: Subsets that finished trees found, [n, M] bool.
      num_nodes: Number of nodes of trees that are finished or were given up.
      gap: Largest gap of a segment after the last turn, relative to its loss.
    """

    low: int
    high: int
    thresholds: np.ndarray
    known: IntegerFrontier
    tree: SearchTree | None
    proof: tuple[list[int], np.ndarray, np.ndarray] | None
    better: np.ndarray
    num_nodes: int
    gap: float
    _gap_limit: float
    _pool: IntegerPool

    def __init__(
        self,
        low: int,
        high: int,
        tuned: np.ndarray,
        known: IntegerFrontier,
        gap_limit: float,
        pool: IntegerPool,
    ):
        """Begins with nothing proven.

        Args:
          low: Least budget, a whole number.
          high: One above the largest budget.
          tuned: Thresholds of the tree, [X] uint32.
          known: Frontier known here.
          gap_limit: Share of a loss by which a bound may lie below it.
          pool: The pool in whole numbers.
        """
        self.low, self.high = low, high
        self.thresholds = tuned
        self.known = known
        self.tree = None
        self.proof = None
        self.better = np.zeros((0, len(pool.costs)), bool)
        self.num_nodes = 0
        self.gap = 0.0
        self._gap_limit = gap_limit
        self._pool = pool

    def segments(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Returns budgets, best loss sums and slacks of B segments.

        Returns:
          B whole numbers, [B] int64 and [B] int64.
        """
        ends = [*self.known.costs[1:], self.high]
        budgets = [min(end, self.high) - 1 for end in ends]
        first = bisect.bisect_left(budgets, self.low)
        sums = self.known.sums[first:]
        pool = self._pool
        # What rounding may have moved is taken off the gap twice: off the bound
        # and off the loss.
        units = 2 * pool.error * float(pool.total_weight) / pool.scale
        losses = np.maximum(_from_zero(sums, pool), 0)
        slack = np.maximum(np.floor(self._gap_limit * losses - units), 0)
        return budgets[first:], sums, slack.astype(np.int64)

    def advance(
        self,
        table: DeviceTable,
        num_nodes: float,
        is_over: Callable[[], bool],
    ) -> None:
        """Grows the tree by so many nodes, or until the time is over.

        Args:
          table: Losses on the device.
          num_nodes: Number of nodes.
          is_over: Function that says whether the time is over.
        """
        self._grow(table, num_nodes, is_over)
        _, sums, _ = self.segments()
        bounds = self.proof[1] if self.tree is None else self._bounds()
        losses = np.maximum(_from_zero(sums, self._pool), 1)
        self.gap = float(((sums - bounds) / losses).max())

    def _grow(
        self,
        table: DeviceTable,
        num_nodes: float,
        is_over: Callable[[], bool],
    ) -> None:
        last = num_nodes + (self.tree.num_nodes if self.tree else 0)
        while self.proof is None:
            if self.tree is None:
                self.tree = SearchTree(table, self.thresholds, *self.segments())
            tree = self.tree
            # The root is always bounded.
            while not tree.is_done and (
                tree.num_nodes == 0 or (tree.num_nodes < last and not is_over())
            ):
                tree.step()
            if not tree.is_done:
                return
            if tree.better:
                # A subset that was found splits a segment: all is proven anew.
                self.add(np.array(tree.better))
                last = num_nodes
            else:
                self.proof = (tree.budgets, tree.bounds(), tree.tree())
            self.num_nodes += tree.num_nodes
            self.tree = None

    def _bounds(self) -> np.ndarray:
        """Returns what the growing tree proves so far: [B] int64."""
        bounds = self.tree.bounds()
        return bounds - _SLACK - (np.abs(bounds) >> _SLACK_BITS)

    @property
    def nodes_so_far(self) -> int:
        """Number of all nodes that were bounded."""
        return self.num_nodes + (self.tree.num_nodes if self.tree else 0)

    @property
    def found(self) -> np.ndarray:
        """All subsets that were found here: [n, M] bool."""
        better = self.tree.better if self.tree else []
        return np.concatenate([self.better, *(mask[None] for mask in better)])

    def add(self, masks: np.ndarray) -> None:
        """Takes better subsets [n, M] into what is known."""
        self.better = np.concatenate([self.better, masks])
        joined = integer_frontier(
            self._pool, np.concatenate([self.known.masks, masks])
        )
        first = bisect.bisect_right(joined.costs, self.low) - 1
        inside = slice(
            max(first, 0), bisect.bisect_left(joined.costs, self.high)
        )
        self.known = IntegerFrontier(*(field[inside] for field in joined))

    def state(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Returns budgets, loss sums and the tree: what is proven so far."""
        if self.tree is None:
            return self.proof
        return self.tree.budgets, self._bounds(), self.tree.tree()

    def kept(self) -> KeptWindow:
        """Returns what is worth keeping on disk."""
        # With what the window began with: another start may lack it.
        better = np.concatenate([self.known.masks, self.found])
        return KeptWindow(
            self.low,
            self.high,
            *self.state(),
            self.thresholds,
            better,
            self.nodes_so_far,
            self._pool.scale,
        )

    def restore(self, kept: KeptWindow | None) -> None:
        """Takes what was kept, unless it is of other budgets or units.

        Args:
          kept: What was on disk; None for nothing.
        """
        # Another start makes other windows.
        own = (self.low, self.high, self._pool.scale)
        if kept is None or (kept.low, kept.high, kept.scale) != own:
            return
        self.proof = kept.budgets, kept.sums, kept.tree
        self.thresholds = kept.thresholds
        self.better = kept.better
        self.num_nodes = kept.num_nodes


def _from_zero(sums: np.ndarray, pool: IntegerPool) -> np.ndarray:
    """Returns loss sums with the texts' offsets: [B] float64."""
    return np.array([float(n + pool.base) for n in sums.tolist()])


def windows_of(
    pool: IntegerPool, known: IntegerFrontier, gap_limit: float
) -> list[Window]:
    """Returns the windows, least budgets first, with tuned thresholds.

    Args:
      pool: The pool in whole numbers.
      known: The frontier that is known, from the cheapest model on.
      gap_limit: Share of a loss by which a bound may lie below it.
    """
    costs = known.costs
    total = (int(pool.costs.sum()) << pool.low_bits) + int(pool.costs_low.sum())
    starts = [0]
    for k in range(1, len(costs)):
        if k - starts[-1] >= _MOST_SEGMENTS or costs[k] > _MOST_RATIO * max(
            costs[starts[-1]], 1
        ):
            starts.append(k)
    ends = [cost - 1 for cost in [*costs[1:], total + 1]]
    middles = [
        (first + last) // 2
        for first, last in zip(starts, [*starts[1:], len(costs)], strict=True)
    ]
    budgets = [max(ends[k], costs[k]) for k in middles]
    tuned = thresholds(
        pool,
        split_costs(budgets, pool.low_bits)[0],
        known.sums[middles],
        known.masks[middles],
    )
    windows = []
    for i, first in enumerate(starts):
        last = starts[i + 1] if i + 1 < len(starts) else len(costs)
        high = costs[last] if last < len(costs) else total + 1
        inside = IntegerFrontier(*(field[first:last] for field in known))
        windows.append(
            Window(costs[first], high, tuned[i], inside, gap_limit, pool)
        )
    return windows
