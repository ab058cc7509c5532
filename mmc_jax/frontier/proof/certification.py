"""The frontier with a proof: no subset is better, or by how much one could be.

M models, X texts, F frontier points.

1. The pool in whole numbers (integers.py), so that comparisons are exact.
2. A heuristic frontier (pruning.py), which every later step may improve.
3. Its budgets in windows, each with thresholds tuned by dual ascent (dual.py).
4. The root of each window's tree: bounds at every budget, in seconds.
5. The trees (search_tree.py), grown until all is proven or time is up.
6. The certificate (certificate.py), which a checker of its own verifies.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax import hosts
from mmc_jax.frontier.pareto import Frontier, frontier_of, non_dominated
from mmc_jax.frontier.proof.certificate import Certificate, save
from mmc_jax.frontier.proof.dual import thresholds
from mmc_jax.frontier.proof.integers import (
    IntegerPool,
    integer_pool,
    loss_sums,
    mean_losses,
)
from mmc_jax.frontier.proof.search_tree import (
    DeviceTable,
    SearchTree,
    device_table,
)
from mmc_jax.frontier.pruning import pruned
from mmc_jax.statistics.inputs import Inputs, checked_inputs

# Segments of a window, and how far its budgets lie apart at most: thresholds
# are tuned to its middle.
_MOST_SEGMENTS, _MOST_RATIO = 32, 1.25

# Nodes of a window before the others have their turn, the first time.
_FIRST_NODES = 4096

# Subsets times texts that the heuristic extends on each level.
_START_NUMBERS = 2**23
_MOST_WIDTH = 4096

# Units that bounds of an unfinished tree give away, so that roundings of the
# search and of the checker cannot part them; and a share of the bound.
_SLACK, _SLACK_BITS = 64, 48


class Certified(NamedTuple):
    """A frontier and what is proven of it.

    Attributes:
      frontier: F points.
      bounds: [F] float64, in the unit of the losses: no subset that costs less
        than the next point (for the last: none at all) has an oracle loss
        below. Roundings to whole numbers are allowed for.
      proven: [F] bool: whether none is better than the point itself, in whole
        numbers; `resolution` says what these can tell apart.
      resolution: The largest error of an oracle loss in whole numbers, in the
        unit of the losses; 0 where they are exact.
      num_nodes: Nodes of all trees that were bounded.
      certificate: The proof.
    """

    frontier: Frontier
    bounds: np.ndarray
    proven: np.ndarray
    resolution: float
    num_nodes: int
    certificate: Certificate

    @property
    def costs(self) -> np.ndarray:
        """Of the frontier's points: [F]."""
        return self.frontier.costs

    @property
    def losses(self) -> np.ndarray:
        """Of the frontier's points: [F]."""
        return self.frontier.losses

    @property
    def masks(self) -> np.ndarray:
        """Of the frontier's points: [F, M]."""
        return self.frontier.masks

    @property
    def gaps(self) -> np.ndarray:
        """How far a better subset could at most lie below: [F], relative.

        0 where the point is proven.
        """
        losses = self.frontier.losses
        gaps = (losses - self.bounds) / np.maximum(np.abs(losses), 1e-300)
        return np.where(self.proven, 0.0, np.maximum(gaps, 0.0))


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
      num_points: Of the frontier, as far as it is known.
      num_proven: Points that are; windows are finished as a whole.
      largest_gap: How far a better subset could lie below, relative, at most;
        of the windows that have had a turn.
      num_nodes: Nodes bounded so far.
      seconds: Since the trees began.
    """

    num_points: int
    num_proven: int
    largest_gap: float
    num_nodes: int
    seconds: float


def certified(
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    start: ArrayLike | None = None,
    time_limit: float | None = None,
    gap_limit: float = 0.0,
    work_dir: str | os.PathLike[str] | None = None,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Certified:
    """Returns the frontier over all subsets, with a proof of every point.

    For any number of models. With a limit it stops early, and says of each
    point how far from the best it can be at most: at any time the proof so far
    is a valid one. Without a time limit the answer is the same every time.

    Losses are rounded to 32 bits of the widest spread of a text, costs that are
    no whole or decimal numbers to 40 bits of their sum; of the numbers so
    rounded everything is proven exactly.

    Windows of budgets are shared out over the devices, and over the processes
    of `jax.distributed`, all of which call this with the same arguments.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      weights: [X], not negative; 1 for each text if left out.
      start: [S, M] of booleans, subsets to begin with; a heuristic finds them
        if left out.
      time_limit: Seconds for the trees; 0 for the root's bounds alone.
      gap_limit: A point counts as good enough once it is proven that none is
        better by more than this share of its loss.
      work_dir: A folder where finished windows are kept: after a kill the same
        call goes on there. Several processes need one that all of them see.
      devices: Of this process, to share its windows out over; all of its own if
        left out, but one of a CPU's, which share its cores.
      on_progress: Called after each window's turn.

    Raises:
      ValueError: arguments that do not fit, with the place; work_dir holds the
        search of other numbers; several processes without one.
      HostError: another process is gone.

    Source: the bounds are those of the p-median problem with a budget
    (Duran-Mateluna, Ales and Elloumi, EJOR 2023).

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> found = certified(losses, costs=[1, 2, 4])
    >>> found.frontier.losses, found.proven
    (array([2.5, 1.5]), array([ True,  True]))
    """
    inputs = checked_inputs(losses, costs, weights)
    pool = integer_pool(inputs)
    if time_limit is not None and not time_limit >= 0:
        raise ValueError(f"time_limit is {time_limit}; 0 or more is needed.")
    if not 0 <= gap_limit < 1:
        raise ValueError(f"gap_limit is {gap_limit}; 0 to below 1 is needed.")
    if jax.process_count() > 1 and work_dir is None:
        raise ValueError(
            "several processes need a work_dir that all of them see."
        )
    folder = None if work_dir is None else pathlib.Path(work_dir)
    with hosts.together():
        if folder is not None and hosts.is_first():
            _claim(folder, _key(pool, gap_limit))
    masks = _start(inputs, folder, start)
    known = _integer_frontier(pool, masks)
    windows = _windows(pool, known, gap_limit)
    if devices is None:
        devices = jax.local_devices()
        if devices[0].platform == "cpu":
            devices = devices[:1]
    _prove(pool, windows, folder, time_limit, devices, on_progress)
    return _assembled(inputs, pool, known, windows)


class _Window:
    """A run of budgets, what is known of it, and its tree.

    Attributes:
      low: Its least budget, whole.
      high: One above its largest.
      thresholds: [X] uint32.
      known: The frontier known here, in whole numbers, from the best subset
        for the budget `low` on.
      search: The tree that grows; None before the first turn and at the end.
      proof: (budgets, sums, tree) of a finished tree, or None.
      better: [n, M] bool, subsets that finished trees found.
      num_nodes: Of trees that are finished or were given up.
      gap: The largest of a segment, relative, after the last turn.
    """

    def __init__(self, low, high, thresholds, known, gap_limit, pool):
        self.low, self.high = low, high
        self.thresholds = thresholds
        self.known = known
        self.search: SearchTree | None = None
        self.proof: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.better = np.zeros((0, len(pool.costs)), bool)
        self.num_nodes = 0
        self.gap = 0.0
        self._gap_limit = gap_limit
        self._pool = pool

    def segments(self):
        """Returns budgets, loss sums and slacks: [B] int64 each."""
        ends = np.append(self.known.costs[1:].astype(np.int64), self.high)
        budgets = np.minimum(ends, self.high) - 1
        sums = self.known.losses.astype(np.int64)
        pool = self._pool
        # Of the gap, what rounding may have moved is taken twice: off the bound
        # and off the loss.
        units = 2 * pool.error * pool.total_weight / pool.scale
        losses = np.maximum(sums + int(pool.offsets.sum()), 0)
        slack = np.maximum(np.floor(self._gap_limit * losses - units), 0)
        here = budgets >= self.low
        return budgets[here], sums[here], slack[here].astype(np.int64)

    def advance(self, table: DeviceTable, num_nodes: float, deadline: float):
        """Grows the tree by so many nodes, or until the time."""
        self._grow(table, num_nodes, deadline)
        _, sums, _ = self.segments()
        bounds = self.proof[1] if self.search is None else self._bounds()
        losses = np.maximum(sums + int(self._pool.offsets.sum()), 1)
        self.gap = float(((sums - bounds) / losses).max())

    def _grow(self, table, num_nodes, deadline):
        last = num_nodes + (self.search.num_nodes if self.search else 0)
        while self.proof is None:
            if self.search is None:
                self.search = SearchTree(
                    table, self.thresholds, *self.segments()
                )
            search = self.search
            # The root is always bounded.
            while not search.is_done and (
                search.num_nodes == 0
                or (search.num_nodes < last and time.monotonic() < deadline)
            ):
                search.step()
            if not search.is_done:
                return
            if search.better:
                # What was found parts segments in two: all is proven anew.
                self.add(np.array(search.better))
                last = num_nodes
            else:
                self.proof = (search.budgets, search.bounds(), search.tree())
            self.num_nodes += search.num_nodes
            self.search = None

    def _bounds(self):
        """Returns what the growing tree proves so far: [B] int64."""
        bounds = self.search.bounds()
        return bounds - _SLACK - (np.abs(bounds) >> _SLACK_BITS)

    @property
    def nodes_so_far(self):
        """All nodes that were bounded."""
        return self.num_nodes + (self.search.num_nodes if self.search else 0)

    @property
    def found(self):
        """All subsets that it found: [n, M] bool."""
        better = self.search.better if self.search else []
        return np.concatenate([self.better, *(mask[None] for mask in better)])

    def add(self, masks):
        """Takes better subsets into what is known."""
        self.better = np.concatenate([self.better, masks])
        found = _integer_frontier(self._pool, masks)
        joined = non_dominated(
            *map(np.concatenate, zip(self.known, found, strict=True))
        )
        first = np.searchsorted(joined.costs, self.low, side="right") - 1
        inside = slice(max(first, 0), np.searchsorted(joined.costs, self.high))
        self.known = Frontier(*(part[inside] for part in joined))

    def state(self):
        """Returns (budgets, sums, tree): what is proven so far."""
        if self.search is None:
            return self.proof
        return self.search.budgets, self._bounds(), self.search.tree()


def _start(inputs, folder, start):
    """Returns subsets to begin with, and every single model: [S, M] bool."""
    num_models, num_texts = inputs.losses.shape
    single = np.eye(num_models, dtype=bool)
    if start is not None:
        start = np.asarray(start)
        if start.dtype != bool or start.shape[1:] != (num_models,):
            raise ValueError(
                f"start has shape {start.shape} and dtype {start.dtype}; bool "
                f"[S, {num_models}] is needed."
            )
        return np.concatenate([single, start[start.any(axis=1)]])
    path = None if folder is None else folder / "start.npy"
    with hosts.together():
        if path is None or (hosts.is_first() and not path.exists()):
            width = min(_MOST_WIDTH, max(1, _START_NUMBERS // num_texts))
            masks = pruned(*inputs, width=width).masks
            if path is not None:
                save(path, lambda file: np.save(file, masks))
    if path is not None:
        masks = np.load(path)
    return np.concatenate([single, masks])


def _integer_frontier(pool: IntegerPool, masks: np.ndarray) -> Frontier:
    """Returns the frontier of the subsets in whole numbers, below 2^53."""
    sums = loss_sums(pool, masks)
    return non_dominated(masks @ pool.costs, sums, masks)


def _windows(pool, known, gap_limit):
    """Returns the windows, least budgets first, with thresholds."""
    costs = known.costs.astype(np.int64)
    total = int(pool.costs.sum())
    starts = [0]
    for k in range(1, len(costs)):
        if k - starts[-1] >= _MOST_SEGMENTS or costs[k] > _MOST_RATIO * max(
            costs[starts[-1]], 1
        ):
            starts.append(k)
    ends = np.append(costs[1:], total + 1) - 1
    middles = [
        (first + last) // 2
        for first, last in zip(starts, [*starts[1:], len(costs)], strict=True)
    ]
    tuned = thresholds(
        pool,
        np.maximum(ends[middles], costs[middles]),
        known.losses[middles],
        known.masks[middles],
    )
    windows = []
    for i, first in enumerate(starts):
        last = starts[i + 1] if i + 1 < len(starts) else len(costs)
        high = int(costs[last]) if last < len(costs) else total + 1
        part = Frontier(*(field[first:last] for field in known))
        windows.append(
            _Window(int(costs[first]), high, tuned[i], part, gap_limit, pool)
        )
    return windows


def _prove(pool, windows, folder, time_limit, devices, on_progress):
    """Grows the trees of all windows, on all devices and processes."""
    started = time.monotonic()
    deadline = np.inf if time_limit is None else started + time_limit
    tables = [device_table(pool, device) for device in devices]
    # The host works between two steps of a device: two windows share one.
    num_workers = 2 * len(devices)
    own = range(jax.process_index(), len(windows), jax.process_count())
    with hosts.together():
        for i in own:
            _restore(windows[i], folder, i)

        def turn(worker, i, num_nodes):
            device = worker % len(devices)
            with jax.default_device(devices[device]):
                windows[i].advance(tables[device], num_nodes, deadline)
            if windows[i].proof is not None and folder is not None:
                _keep(windows[i], folder, i)

        num_nodes = _FIRST_NODES
        while waiting := [i for i in own if windows[i].proof is None]:
            with concurrent.futures.ThreadPoolExecutor(num_workers) as workers:
                turns = [
                    workers.submit(turn, n, i, num_nodes)
                    for n, i in enumerate(waiting)
                ]
                for one in concurrent.futures.as_completed(turns):
                    one.result()
                    if on_progress is not None:
                        on_progress(
                            _progress([windows[i] for i in own], started)
                        )
            if time.monotonic() >= deadline:
                break
            num_nodes *= 4
        if jax.process_count() > 1:
            # Unfinished ones, too: whoever assembles needs them.
            for i in own:
                _keep(windows[i], folder, i, unfinished=True)
    if jax.process_count() > 1:
        for i in set(range(len(windows))) - set(own):
            _restore(windows[i], folder, i, unfinished=True)


def _progress(windows, started):
    return Progress(
        sum(len(window.known.costs) for window in windows),
        sum(len(w.known.costs) for w in windows if w.proof is not None),
        max(window.gap for window in windows),
        sum(window.nodes_so_far for window in windows),
        time.monotonic() - started,
    )


def _assembled(inputs: Inputs, pool, known, windows):
    """Returns the answer, and the certificate, of all windows together."""
    masks = np.concatenate([known.masks, *(w.found for w in windows)])
    line = _integer_frontier(pool, masks)
    costs = line.costs.astype(np.int64)
    sums = line.losses.astype(np.int64)
    budgets = np.append(costs[1:] - 1, pool.costs.sum())
    states = [window.state() for window in windows]
    lows = np.array([window.low for window in windows])
    owner = np.searchsorted(lows, budgets, side="right") - 1
    bounds = np.empty(len(costs), np.int64)
    for k, (budget, i) in enumerate(zip(budgets, owner, strict=True)):
        ends, proven_sums, _ = states[i]
        bounds[k] = min(sums[k], proven_sums[np.searchsorted(ends, budget)])
    certificate = Certificate(
        np.float64(pool.scale),
        np.float64(pool.cost_scale),
        costs,
        sums,
        line.masks,
        bounds,
        owner.astype(np.int32),
        np.concatenate([state[0] for state in states]),
        np.concatenate([state[1] for state in states]),
        np.cumsum([0, *(len(state[0]) for state in states)]),
        np.stack([window.thresholds for window in windows]),
        np.concatenate([state[2] for state in states]),
        np.cumsum([0, *(len(state[2]) for state in states)]),
    )
    # Real losses that are equal may differ in whole numbers by roundings: what
    # is no better in truth is left out, its budgets go to the point before.
    best = frontier_of(inputs, line.masks)
    place = {mask.tobytes(): k for k, mask in enumerate(line.masks)}
    firsts = np.array([place[mask.tobytes()] for mask in best.masks])
    lower = mean_losses(pool, np.minimum.reduceat(bounds, firsts)) - pool.error
    return Certified(
        best,
        np.minimum(lower, best.losses),
        np.logical_and.reduceat(bounds == sums, firsts),
        pool.error,
        sum(window.nodes_so_far for window in windows),
        certificate,
    )


def _key(pool: IntegerPool, gap_limit: float) -> str:
    """Returns a hash of all that the windows depend on."""
    digest = hashlib.sha256(
        repr((pool.scale, pool.cost_scale, gap_limit)).encode()
    )
    for array in (pool.values, pool.offsets, pool.costs):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _claim(folder: pathlib.Path, key: str) -> None:
    """Makes the folder this search's, or finds that it is.

    Raises:
      ValueError: it holds the search of other numbers.
    """
    path = folder / "key.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        save(path, lambda file: file.write(key.encode()))
    elif path.read_text() != key:
        raise ValueError(
            f"{folder} holds a search of other losses, costs or gap limit: "
            "remove it, or name another folder."
        )


def _path(folder: pathlib.Path, i: int, unfinished: bool) -> pathlib.Path:
    return folder / f"window-{i:05d}{'.open' if unfinished else ''}.npz"


def _keep(window, folder, i, unfinished=False):
    """Writes what a window has proven."""
    unfinished = unfinished and window.proof is None
    budgets, sums, tree = window.state()
    arrays = {
        "budgets": budgets,
        "sums": sums,
        "tree": tree,
        "range": np.array([window.low, window.high]),
        "thresholds": window.thresholds,
        # With those it began with: another start may lack them.
        "better": np.concatenate([window.known.masks, window.found]),
        "num_nodes": window.nodes_so_far,
    }
    save(
        _path(folder, i, unfinished),
        lambda file: np.savez_compressed(file, allow_pickle=False, **arrays),
    )


def _restore(window, folder, i, unfinished=False):
    """Reads what a window has proven, if that was kept."""
    if folder is None:
        return
    path = _path(folder, i, False)
    if not path.exists():
        if not unfinished:
            return
        path = _path(folder, i, True)
    with np.load(path, allow_pickle=False) as kept:
        # Another start makes other windows.
        if kept["range"].tolist() != [window.low, window.high]:
            return
        window.proof = kept["budgets"], kept["sums"], kept["tree"]
        window.thresholds = kept["thresholds"]
        window.better = kept["better"]
        window.num_nodes = int(kept["num_nodes"])
