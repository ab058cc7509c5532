"""Branch and bound over a window of budgets at once.

M models, X texts, N nodes, B segments of a window.

Between two neighbouring points of a frontier lies a segment of budgets, at all
of which the cheaper point is the best subset known. It is proven when no subset
within the segment's largest budget has a smaller loss sum. A window is a run of
segments that one tree proves together.

A node has chosen some models and free ones left; what is neither is excluded.
With u the oracle losses of the chosen, m those of the free models that still
fit, and t the window's thresholds, its own thresholds are

    v_x = min(u_x, max(t_x, m_x)):

above u_x nothing is gained, and below m_x no model takes anything back. They
bound (dual.py) every subset that the node stands for, at each budget: chosen
models have rho = 0, so the knapsack is over the free ones and what the chosen
leave of the budget. A segment is closed at a node where the bound reaches its
best loss known. A node without an open segment is a leaf. At any other, models
are chosen or excluded at once where the bound says that the opposite would
close all open segments (reduced costs); then it branches on the free model of
the largest rho, taken or not, or, where none is left, goes on as it is. Where
no free model fits, v = u, and the bound is the loss of the chosen models.

Every number is whole and exact, but for the knapsack's allowances. Whether a
model fits is decided on exact costs; the knapsacks round costs down to their
high part (integers.py). Nodes are worked on in batches; the order depends on
nothing but the window.
"""

from typing import NamedTuple

import jax
import numpy as np

from mmc_jax.frontier.proof import knapsack
from mmc_jax.frontier.proof.integers import split_costs
from mmc_jax.frontier.proof.tables import (
    NUM_NODES,
    DeviceTable,
    in_chunks,
    node_sums,
)

# Numbers (nodes x texts) of a batch.
_NUMBERS_AT_ONCE = 2**21

# In a tree: a node that closes all segments, and one that goes on with what was
# decided there.
LEAF, ONLY = -1, -2

_MOST = np.iinfo(np.int64).max


class _Nodes(NamedTuple):
    """Nodes that wait; the last are worked on first.

    Attributes:
      number: Place of the node in the tree, [N] int64.
      chosen: Models that the node has chosen, [N, M] bool.
      free: Models that it may still take, [N, M] bool.
      bounds: Best bound of all nodes above for each segment, [N, B] int64;
        those of closed segments stay as they are.
      is_open: Segments that no node above has closed, [N, B] bool.
    """

    number: np.ndarray
    chosen: np.ndarray
    free: np.ndarray
    bounds: np.ndarray
    is_open: np.ndarray


class _Left(NamedTuple):
    """What nodes leave of each budget, in two parts.

    Attributes:
      high: High part, [N, B] int64; negative where the budget is exceeded.
      low: Low part, [N, B] int64, from 0 to 2^low_bits - 1.
    """

    high: np.ndarray
    low: np.ndarray


class SearchTree:
    """The tree of one window, grown as far as it is let.

    Attributes:
      budgets: Largest budget of each segment, B whole numbers in units of the
        costs' low part, rising.
      better: Subsets met that are better than the window's best known, [M] bool
        each, in order. The tree proves their own segments only when it is grown
        anew with them.
      num_nodes: Number of nodes that were bounded.
    """

    budgets: list[int]
    better: list[np.ndarray]
    num_nodes: int
    _best: np.ndarray  # [B] int64, the best loss sum known of each segment.
    _slack: np.ndarray  # [B] int64, how far below it a bound is good enough.
    _high: np.ndarray  # [B] int64, the high part of each budget.
    _low: np.ndarray  # [B] int64, the low part.
    _table: DeviceTable
    _thresholds: tuple[jax.Array, ...]  # [texts] uint32 each.
    _waiting: _Nodes
    _branches: "_Growing"  # [nodes] int16: a model, LEAF or ONLY.
    _children: "_Growing"  # [nodes] int64: the first child; the second follows.
    _size: int  # Nodes of the tree, those that wait among them.
    _batch: int  # Nodes that are bounded at once.

    def __init__(
        self,
        table: DeviceTable,
        thresholds: np.ndarray,
        budgets: list[int],
        sums: np.ndarray,
        slack: np.ndarray,
    ):
        """Begins with the root.

        Args:
          table: Losses on the device, and the pool.
          thresholds: Thresholds of the window, [X] uint32.
          budgets: Largest budget of each segment, B whole numbers in units of
            the costs' low part, rising.
          sums: Best loss sum known of each segment, [B] int64.
          slack: How far below it a bound is good enough, [B] int64.
        """
        self.budgets = budgets
        self.better = []
        self.num_nodes = 0
        self._best = sums.copy()
        self._slack = slack
        self._high, self._low = split_costs(budgets, table.pool.low_bits)
        self._table = table
        self._thresholds = in_chunks(
            thresholds, table.chunks[0].devices().pop()
        )
        num_models = len(table.pool.costs)
        shape = (1, len(budgets))
        self._waiting = _Nodes(
            np.zeros(1, np.int64),
            np.zeros((1, num_models), bool),
            np.ones((1, num_models), bool),
            np.zeros(shape, np.int64),
            np.ones(shape, bool),
        )
        self._branches = _Growing(np.int16, LEAF)
        self._children = _Growing(np.int64, 0)
        self._size = 1
        self._batch = max(
            n
            for n in NUM_NODES
            if n == NUM_NODES[0] or n * len(thresholds) <= _NUMBERS_AT_ONCE
        )

    @property
    def _goals(self) -> np.ndarray:
        """Loss sum that a bound must reach to close a segment: [B] int64."""
        return self._best - self._slack

    @property
    def is_done(self) -> bool:
        """Whether no node waits."""
        return len(self._waiting.number) == 0

    def bounds(self) -> np.ndarray:
        """Returns what the tree proves of each segment so far: [B] int64.

        No subset within the budget has a smaller loss sum.
        """
        waiting = self._waiting
        least = np.where(waiting.is_open, waiting.bounds, _MOST)
        return np.minimum(self._goals, least.min(axis=0, initial=_MOST))

    def tree(self) -> np.ndarray:
        """Returns the tree, a node and then its children: [nodes] int16.

        A node is the model that it branches on, `LEAF` or `ONLY`; after it
        comes the whole tree of the child that takes the model, then that of the
        other; after `ONLY` that of the only child.
        """
        branches = self._branches.first(self._size)
        children = self._children.first(self._size)
        order, stack = [], [0]
        while stack:
            node = stack.pop()
            order.append(node)
            if branches[node] >= 0:
                stack.append(children[node] + 1)
            if branches[node] != LEAF:
                stack.append(children[node])
        return branches[order]

    def step(self) -> None:
        """Bounds the next nodes, and puts the children of open ones in line."""
        first = max(0, len(self._waiting.number) - self._batch)
        nodes = _Nodes(*(field[first:] for field in self._waiting))
        self._waiting = _Nodes(*(field[:first] for field in self._waiting))
        self.num_nodes += len(nodes.number)
        costs = self._table.pool.costs
        left = self._left(nodes.chosen)
        is_open = nodes.is_open & (left.high >= 0)
        fits = nodes.free & self._fits(left, is_open)
        sums, rho, chosen_sums = node_sums(
            self._table, self._thresholds, nodes.chosen, fits
        )
        self._look_at(nodes.chosen, left.high >= 0, chosen_sums)
        most, prices = knapsack.fractional(rho, costs, fits, left.high)
        own = sums[:, None] - most
        if self._size == 1:
            # Only at the root: what holds there holds below.
            gains = np.where(fits, rho, 0)[0]
            own = np.maximum(
                own, sums - knapsack.zero_one(gains, costs, self._high)
            )
        bounds = np.maximum(nodes.bounds, own)
        is_open &= bounds < self._goals
        keep = is_open.any(axis=1)
        gaps = self._goals - (sums[:, None] - most)
        out, in_all = knapsack.decided(
            rho[keep], costs, prices[keep], gaps[keep], is_open[keep]
        )
        fits, rho = fits[keep], rho[keep]
        chosen = nodes.chosen[keep] | (in_all & fits)
        free = fits & ~out & ~in_all
        model = np.where(free, rho, -1).argmax(axis=1)
        model[~free.any(axis=1)] = ONLY
        self._branch(
            nodes.number[keep], model, chosen, free, bounds[keep], is_open[keep]
        )

    def _left(self, chosen: np.ndarray) -> _Left:
        """Returns what the chosen models [N, M] leave of each budget."""
        pool = self._table.pool
        low = self._low - (chosen @ pool.costs_low)[:, None]
        # A right shift rounds down: it borrows from the high part.
        high = self._high - (chosen @ pool.costs)[:, None]
        return _Left(
            high + (low >> pool.low_bits), low & ((1 << pool.low_bits) - 1)
        )

    def _fits(self, left: _Left, is_open: np.ndarray) -> np.ndarray:
        """Returns which models cost no more than some open budget has left.

        Args:
          left: What is left of each budget, [N, B].
          is_open: Which budgets count, [N, B] bool.

        Returns:
          [N, M] bool.
        """
        pool = self._table.pool
        # Budgets rise: the last open one has the most left.
        last = is_open.shape[1] - 1 - is_open[:, ::-1].argmax(axis=1)
        row = np.arange(len(last))
        high = np.where(is_open.any(axis=1), left.high[row, last], -1)[:, None]
        low = left.low[row, last][:, None]
        return (pool.costs < high) | (
            (pool.costs == high) & (pool.costs_low <= low)
        )

    def _branch(
        self,
        number: np.ndarray,
        model: np.ndarray,
        chosen: np.ndarray,
        free: np.ndarray,
        bounds: np.ndarray,
        is_open: np.ndarray,
    ) -> None:
        """Puts the children in line; those that take the model come first.

        Args:
          number: Place of each node in the tree, [N] int64.
          model: Model that the node branches on, or `ONLY`, [N] int64.
          chosen: Models that it has chosen, [N, M] bool.
          free: Models that it may still take, [N, M] bool.
          bounds: Bounds so far, [N, B] int64.
          is_open: Open segments, [N, B] bool.
        """
        two = model >= 0
        num_children = 1 + two
        children = self._size + np.cumsum(num_children) - num_children
        self._branches[number] = model
        self._children[number] = children
        self._size += int(num_children.sum())
        with_it, without = chosen.copy(), free.copy()
        with_it[two, model[two]] = True
        without[two, model[two]] = False
        rest = (without, bounds, is_open)
        fields = zip(
            self._waiting,
            (field[two] for field in (children + 1, chosen, *rest)),
            (children, with_it, *rest),
            strict=True,
        )
        self._waiting = _Nodes(*map(np.concatenate, fields))

    def _look_at(
        self, chosen: np.ndarray, affords: np.ndarray, chosen_sums: np.ndarray
    ) -> None:
        """Keeps what is better than the best known.

        Args:
          chosen: Chosen models of each node, [N, M] bool.
          affords: Budgets that pay for them, [N, B] bool.
          chosen_sums: Their loss sum, [N] int64.
        """
        better = affords & (chosen_sums[:, None] < self._best)
        better &= chosen.any(axis=1)[:, None]
        for i in np.flatnonzero(better.any(axis=1)):
            lower = affords[i] & (chosen_sums[i] < self._best)
            if lower.any():
                self._best[lower] = chosen_sums[i]
                self.better.append(chosen[i].copy())


class _Growing:
    """An array that grows as it is written to."""

    _array: np.ndarray  # [capacity]
    _fill: int  # What stands where nothing was written.

    def __init__(self, dtype: type, fill: int):
        """Begins with nothing written.

        Args:
          dtype: Type of the numbers.
          fill: Number that stands where nothing was written.
        """
        self._array = np.full(1024, fill, dtype)
        self._fill = fill

    def __setitem__(self, places: np.ndarray, values: np.ndarray | int) -> None:
        """Writes values [N] at places [N]."""
        need = int(places.max(initial=0)) + 1
        if need > len(self._array):
            more = np.full(
                need + len(self._array), self._fill, self._array.dtype
            )
            self._array = np.concatenate([self._array, more])
        self._array[places] = values

    def first(self, size: int) -> np.ndarray:
        """Returns the first numbers: [size]."""
        if size > len(self._array):
            self[np.array([size - 1])] = self._fill
        return self._array[:size]
