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

Every number is whole and exact, but for the knapsack's allowances. Nodes are
worked on in batches; the order depends on nothing but the window.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.proof import knapsack
from mmc_jax.frontier.proof.integers import IntegerPool

# Texts on the device at once, and numbers (nodes x texts) of a batch. XLA
# compiles for every number of nodes: so there are few.
_CHUNK_TEXTS = 4096
_NUMBERS_AT_ONCE = 2**21
_NUM_NODES = (16, 64, 256)

# Models whose minima over all of their subsets are kept (four Russians).
_GROUP = 6

# In a tree: a node that closes all segments, and one that goes on with what was
# decided there.
LEAF, ONLY = -1, -2

_INFINITE = np.iinfo(np.uint32).max


class DeviceTable(NamedTuple):
    """The loss table on a device, some texts at a time.

    Attributes:
      chunks: [M, texts] uint32 each.
      minima: [groups * 64, texts] uint32 each: the least loss of every subset
        of six neighbouring models, of no model the largest number.
      costs: [M] int64, on the host.
    """

    chunks: tuple[jax.Array, ...]
    minima: tuple[jax.Array, ...]
    costs: np.ndarray


def device_table(pool: IntegerPool, device: jax.Device) -> DeviceTable:
    """Returns the pool's table on the device."""
    chunks = tuple(
        jax.device_put(pool.values[:, start : start + _CHUNK_TEXTS], device)
        for start in range(0, pool.values.shape[1], _CHUNK_TEXTS)
    )
    return DeviceTable(chunks, tuple(map(_group_minima, chunks)), pool.costs)


@jax.jit
def _group_minima(chunk: jax.Array) -> jax.Array:
    num_models, num_texts = chunk.shape
    none = jnp.array(_INFINITE, chunk.dtype)
    groups = jnp.pad(
        chunk, ((0, -num_models % _GROUP), (0, 0)), constant_values=none
    ).reshape(-1, _GROUP, num_texts)
    least = jnp.full((len(groups), 1, num_texts), none)
    for i in range(_GROUP):
        least = jnp.concatenate(
            [least, jnp.minimum(least, groups[:, i : i + 1])], axis=1
        )
    return least.reshape(-1, num_texts)


def _rows(masks: np.ndarray) -> np.ndarray:
    """Returns where the minima of the subsets' groups are: [groups, N]."""
    num_subsets, num_models = masks.shape
    bits = np.pad(masks, ((0, 0), (0, -num_models % _GROUP)))
    bits = bits.reshape(num_subsets, -1, _GROUP)
    rows = bits @ (1 << np.arange(_GROUP)) + 2**_GROUP * np.arange(
        bits.shape[1]
    )
    return rows.T.astype(np.int32)


class _Nodes(NamedTuple):
    """Nodes that wait, [N] each: the last are worked on first.

    Attributes:
      number: int64, the place in the tree.
      chosen: [N, M] bool.
      free: [N, M] bool.
      bounds: [N, B] int64, the best of all nodes above; those of closed
        segments stay as they are.
      is_open: [N, B] bool, the segments that no node above has closed.
    """

    number: np.ndarray
    chosen: np.ndarray
    free: np.ndarray
    bounds: np.ndarray
    is_open: np.ndarray


class SearchTree:
    """The tree of one window, grown as far as it is let.

    Attributes:
      budgets: [B] int64, the largest of each segment.
      better: Subsets met that are better than the window's, [M] bool each, in
        order. The tree proves their own segments only when it is grown anew
        with them.
      num_nodes: Nodes that were bounded.
    """

    def __init__(
        self,
        table: DeviceTable,
        thresholds: np.ndarray,
        budgets: np.ndarray,
        sums: np.ndarray,
        slack: np.ndarray,
    ):
        """Begins with the root.

        Args:
          table: The losses on the device, and the costs.
          thresholds: [X] uint32, the window's.
          budgets: [B] int64, the largest of each segment.
          sums: [B] int64, the best loss sum known of each.
          slack: [B] int64, how far below it a bound is good enough.
        """
        self.budgets = budgets
        self._best = sums.copy()
        self._slack = slack
        self.better: list[np.ndarray] = []
        self.num_nodes = 0
        self._table = table
        self._thresholds = tuple(
            jax.device_put(
                thresholds[start : start + _CHUNK_TEXTS], chunk.devices().pop()
            )
            for start, chunk in zip(
                range(0, len(thresholds), _CHUNK_TEXTS),
                table.chunks,
                strict=True,
            )
        )
        num_models = len(table.costs)
        shape = (1, len(budgets))
        self._waiting = _Nodes(
            np.zeros(1, np.int64),
            np.zeros((1, num_models), bool),
            np.ones((1, num_models), bool),
            np.zeros(shape, np.int64),
            np.ones(shape, bool),
        )
        # The model that each node branches on, and its first child, which takes
        # the model; the second follows it.
        self._branches = _Growing(np.int16, LEAF)
        self._children = _Growing(np.int64, 0)
        self._size = 1
        self._batch = max(
            n
            for n in _NUM_NODES
            if n == _NUM_NODES[0] or n * len(thresholds) <= _NUMBERS_AT_ONCE
        )

    @property
    def _goals(self) -> np.ndarray:
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
        least = np.where(
            waiting.is_open, waiting.bounds, np.iinfo(np.int64).max
        ).min(axis=0, initial=np.iinfo(np.int64).max)
        return np.minimum(self._goals, least)

    def tree(self) -> np.ndarray:
        """Returns the tree, [nodes] int16: a node, then its children.

        A node is the model that it branches on, `LEAF` or `ONLY`; after it
        comes the whole tree of the child that takes the model, then that of the
        other; after `ONLY` that of the only child.
        """
        branches = self._branches.of(self._size)
        children = self._children.of(self._size)
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
        nodes = _Nodes(*(part[first:] for part in self._waiting))
        self._waiting = _Nodes(*(part[:first] for part in self._waiting))
        self.num_nodes += len(nodes.number)
        costs = self._table.costs
        left = self.budgets - (nodes.chosen @ costs)[:, None]
        is_open = nodes.is_open & (left >= 0)
        most_left = np.where(is_open, left, -1).max(axis=1)
        fits = nodes.free & (costs <= most_left[:, None])
        sums, rho, chosen_sums = self._sums(nodes.chosen, fits)
        self._look_at(nodes.chosen, left, chosen_sums)
        most, prices = knapsack.fractional(rho, costs, fits, left)
        own = sums[:, None] - most
        if self._size == 1:
            # Of the root alone: what holds there holds below.
            gains = np.where(fits, rho, 0)[0]
            own = np.maximum(
                own, sums - knapsack.zero_one(gains, costs, self.budgets)
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

    def _branch(self, number, model, chosen, free, bounds, is_open):
        """Puts the children in line; those that take the model come first."""
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
        parts = zip(
            self._waiting,
            (p[two] for p in (children + 1, chosen, *rest)),
            (children, with_it, *rest),
            strict=True,
        )
        self._waiting = _Nodes(*map(np.concatenate, parts))

    def _look_at(self, chosen, left, chosen_sums):
        """Keeps what is better than the best known."""
        better = (left >= 0) & (chosen_sums[:, None] < self._best)
        better &= chosen.any(axis=1)[:, None]
        for i in np.flatnonzero(better.any(axis=1)):
            lower = (left[i] >= 0) & (chosen_sums[i] < self._best)
            if lower.any():
                self._best[lower] = chosen_sums[i]
                self.better.append(chosen[i].copy())

    def _sums(self, chosen, fits):
        """Returns sum_x v_x [N], rho [N, M] and sum_x u_x [N], all int64."""
        n = len(chosen)
        size = next(size for size in _NUM_NODES if size >= n)
        rows = [
            _rows(np.pad(masks, ((0, size - n), (0, 0))))
            for masks in (chosen, fits)
        ]
        total = (0, 0, 0)
        with jax.enable_x64(True):
            for parts in zip(
                self._table.minima,
                self._table.chunks,
                self._thresholds,
                strict=True,
            ):
                sums = _chunk_sums(*parts, *rows)
                # Added up on the device: the host waits once.
                total = [a + b for a, b in zip(total, sums, strict=True)]
            own, joined, of_chosen = (np.asarray(part)[:n] for part in total)
        return own, own[:, None] - joined, of_chosen


class _Growing:
    """An array that grows as it is written to."""

    def __init__(self, dtype, fill):
        self._array = np.full(1024, fill, dtype)
        self._fill = fill

    def __setitem__(self, places, values):
        need = int(places.max(initial=0)) + 1
        if need > len(self._array):
            more = np.full(
                need + len(self._array), self._fill, self._array.dtype
            )
            self._array = np.concatenate([self._array, more])
        self._array[places] = values

    def of(self, size):
        """Returns the first so many."""
        if size > len(self._array):
            self[np.array([size - 1])] = self._fill
        return self._array[:size]


@jax.jit
def _chunk_sums(minima, chunk, thresholds, chosen_rows, fitting_rows):
    """Returns the sums of v, of min(v, L_j) and of u: [N], [N, M], [N]."""
    chosen, fitting = _least(minima, chosen_rows), _least(minima, fitting_rows)
    own = jnp.minimum(chosen, jnp.maximum(thresholds, fitting))
    return (
        own.sum(axis=1, dtype=jnp.int64),
        oracle.min_sum(own, chunk),
        chosen.sum(axis=1, dtype=jnp.int64),
    )


def _least(minima, rows):
    least = minima.at[rows[0]].get(mode="clip")
    for row in rows[1:]:
        least = jnp.minimum(least, minima.at[row].get(mode="clip"))
    return least
