"""The frontier with a proof: no subset is better, or by how much one could be.

M models, X texts, F frontier points.

1. A heuristic frontier (pruning.py), which every later step may improve.
2. The pool in whole numbers (integers.py), so that comparisons are exact.
3. Its budgets in windows (windows.py), each with thresholds tuned by dual
   ascent (dual.py).
4. The root of each window's tree: bounds at every budget, in seconds.
5. The trees (search_tree.py), grown until all is proven or time is up. What is
   finished is kept on disk (persistence.py).
6. The certificate (certificate.py), which a checker of its own verifies.
"""

import bisect
import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax import hosts, stages
from mmc_jax.frontier.pareto import frontier_of
from mmc_jax.frontier.proof.certificate import Certificate
from mmc_jax.frontier.proof.integers import (
    IntegerPool,
    cut_off,
    integer_costs,
    integer_frontier,
    integer_pool,
    loss_sums,
    lower_losses,
    split_costs,
)
from mmc_jax.frontier.proof.outcome import Certified, Progress
from mmc_jax.frontier.proof.persistence import WorkFolder, search_key
from mmc_jax.frontier.proof.tables import device_table
from mmc_jax.frontier.proof.windows import Window, windows_of
from mmc_jax.frontier.pruning import MANY_MODELS, pruned
from mmc_jax.statistics.inputs import Inputs, checked_inputs, checked_masks

# Nodes of a window before the others have their turn, the first time.
_FIRST_NODES = 4096

# Subsets times texts that the heuristic extends on each level.
_START_NUMBERS = 2**23
_MOST_WIDTH = 4096


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

    Costs are exact, and stated in float64. Where the exact costs of two subsets
    round to one number, the better subset is the point, and the point before it
    may stay unproven. Losses are rounded to 32 bits of the widest spread of a
    text; if that is too coarse to tell neighbouring points apart, up to one
    loss in a hundred, the largest, is cut, and subsets that lose so much may
    stay unproven. Bounds allow for both, and `resolution` says what rounding
    may hide.

    Windows of budgets are shared out over the devices, and over the processes
    of `jax.distributed`, all of which call this with the same arguments.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      start: Subsets to begin with, [S, M] of booleans; a heuristic finds them
        if left out.
      time_limit: Seconds from the call on after which no tree grows any more.
        The heuristic, the thresholds and the roots are never cut short: 0 is
        for the bounds of the roots alone.
      gap_limit: Share of a point's loss. A point counts as good enough once it
        is proven that none is better by more than that.
      work_dir: Folder where finished windows are kept: after a kill the same
        call goes on there. A damaged file is set aside under another name and
        computed again. Several processes need a folder that all of them see.
      devices: Devices of this process, to share its windows out over; all of
        its own if left out, but one of a CPU's, which share its cores.
      on_progress: Function that is called after each window's turn.

    Raises:
      ValueError: arguments that do not fit, with the place; numbers at the end
        of what float64 holds; costs that cannot be added exactly; work_dir
        holds the search of other numbers; several processes without one.
      OSError: work_dir cannot be written; the disk is full.
      HostError: another process is gone.

    Source: the bounds are those of the p-median problem with a budget
    (Duran-Mateluna, Ales and Elloumi, EJOR 2023).

    >>> losses = [[1.0, 4.0], [3.0, 2.0], [2.0, 2.0]]
    >>> found = certified(losses, costs=[1, 2, 4])
    >>> found.frontier.losses, found.proven
    (array([2.5, 1.5]), array([ True,  True]))
    """
    started = time.monotonic()
    inputs = checked_inputs(losses, costs, weights)
    _check_options(time_limit, gap_limit, work_dir)
    integer_pool(inputs)  # Refuses numbers before anything is computed.
    folder = None
    if work_dir is not None:
        folder = WorkFolder(work_dir, search_key(inputs, gap_limit))
    with hosts.together():
        if folder is not None and hosts.is_first():
            folder.claim()
    pool, masks = _pool_and_start(inputs, folder, start)
    stages.say("whole numbers")
    windows = windows_of(pool, integer_frontier(pool, masks), gap_limit)
    if devices is None:
        devices = jax.local_devices()
        if devices[0].platform == "cpu":
            devices = devices[:1]
    deadline = started + (np.inf if time_limit is None else time_limit)
    _prove(pool, windows, folder, deadline, devices, on_progress)
    return _assembled(inputs, pool, masks, windows)


def _check_options(
    time_limit: float | None,
    gap_limit: float,
    work_dir: str | os.PathLike[str] | None,
) -> None:
    """Raises ValueError for options that make no sense."""
    if time_limit is not None and not time_limit >= 0:
        raise ValueError(f"time_limit is {time_limit}; 0 or more is needed.")
    if not 0 <= gap_limit < 1:
        raise ValueError(f"gap_limit is {gap_limit}; 0 to below 1 is needed.")
    if jax.process_count() > 1 and work_dir is None:
        raise ValueError(
            "several processes need a work_dir that all of them see."
        )


def _pool_and_start(
    inputs: Inputs, folder: WorkFolder | None, start: ArrayLike | None
) -> tuple[IntegerPool, np.ndarray]:
    """Returns the pool in whole numbers, and known subsets: [n, M] bool."""
    line = frontier_of(inputs, _start(inputs, folder, start))
    steps = -np.diff(line.losses)
    step = float(np.median(steps)) if len(steps) else np.inf
    single = np.eye(len(inputs.losses), dtype=bool)
    return integer_pool(inputs, step), np.concatenate([single, line.masks])


def _start(
    inputs: Inputs, folder: WorkFolder | None, start: ArrayLike | None
) -> np.ndarray:
    """Returns subsets to begin with, and every single model: [S, M] bool.

    Args:
      inputs: Losses, costs and weights.
      folder: Folder where they are kept; None for none.
      start: Subsets that the user gives, [S, M] of booleans.
    """
    num_models, num_texts = inputs.losses.shape
    single = np.eye(num_models, dtype=bool)
    if start is not None:
        try:
            start = checked_masks(start, num_models)
        except ValueError as error:
            raise ValueError(f"start: {error}") from error
        return np.concatenate([single, start[start.any(axis=1)]])
    masks = None
    with hosts.together():
        if folder is not None and hosts.is_first():
            masks = folder.start(num_models)
        if masks is None and (folder is None or hosts.is_first()):
            width = min(_MOST_WIDTH, max(1, _START_NUMBERS // num_texts))
            # Of many models the levels are hundreds: all but some are narrow.
            narrows = {"minima": width * inputs.losses.size}
            is_large = num_models >= MANY_MODELS
            masks = pruned(
                *inputs, **(narrows if is_large else {"width": width})
            ).masks
            if folder is not None:
                folder.keep_start(masks)
    if masks is None:
        masks = folder.start(num_models)
    return np.concatenate([single, masks])


def _prove(
    pool: IntegerPool,
    windows: Sequence[Window],
    folder: WorkFolder | None,
    deadline: float,
    devices: Sequence[jax.Device],
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Grows the trees of all windows, on all devices and processes.

    Args:
      pool: The pool in whole numbers.
      windows: The windows of all processes; those of this one grow.
      folder: Folder where finished windows are kept; None for none.
      deadline: Time on the monotonic clock after which no tree grows.
      devices: Devices of this process.
      on_progress: Function that is called after each window's turn.
    """
    started = time.monotonic()
    has_failed = threading.Event()

    def is_over() -> bool:
        return has_failed.is_set() or time.monotonic() >= deadline

    tables = [device_table(pool, device) for device in devices]
    # The host works between two steps of a device: two windows share one.
    num_workers = 2 * len(devices)
    own = range(jax.process_index(), len(windows), jax.process_count())

    def turn(worker: int, i: int, num_nodes: int) -> None:
        device = worker % len(devices)
        with jax.default_device(devices[device]):
            windows[i].advance(tables[device], num_nodes, is_over)
        if windows[i].proof is not None and folder is not None:
            folder.keep(i, windows[i].kept())

    with hosts.together():
        if folder is not None:
            for i in own:
                windows[i].restore(folder.kept(i, pool))
        num_nodes = _FIRST_NODES
        while waiting := [i for i in own if windows[i].proof is None]:
            with concurrent.futures.ThreadPoolExecutor(num_workers) as workers:
                turns = [
                    workers.submit(turn, n, i, num_nodes)
                    for n, i in enumerate(waiting)
                ]
                try:
                    for one in concurrent.futures.as_completed(turns):
                        one.result()
                        if on_progress is not None:
                            mine = [windows[i] for i in own]
                            on_progress(_progress(mine, started))
                except BaseException:
                    # Those that have not begun need not, and the others end
                    # soon: an interrupt must not wait for them.
                    has_failed.set()
                    workers.shutdown(wait=False, cancel_futures=True)
                    raise
            if is_over():
                break
            num_nodes *= 4
        if jax.process_count() > 1:
            # Unfinished ones, too: whoever assembles needs them.
            for i in own:
                unfinished = windows[i].proof is None
                folder.keep(i, windows[i].kept(), unfinished)
    if jax.process_count() > 1:
        for i in set(range(len(windows))) - set(own):
            windows[i].restore(folder.kept(i, pool, unfinished=True))


def _progress(windows: Sequence[Window], started: float) -> Progress:
    """Returns how far the windows are; started on the monotonic clock."""
    return Progress(
        sum(len(window.known.costs) for window in windows),
        sum(len(w.known.costs) for w in windows if w.proof is not None),
        max(window.gap for window in windows),
        sum(window.nodes_so_far for window in windows),
        time.monotonic() - started,
    )


def _assembled(
    inputs: Inputs,
    pool: IntegerPool,
    known: np.ndarray,
    windows: Sequence[Window],
) -> Certified:
    """Returns the answer, and the certificate, of all windows together.

    Args:
      inputs: Losses, costs and weights.
      pool: The pool in whole numbers.
      known: Subsets that the search began with, [n, M] bool.
      windows: What is proven.
    """
    best = frontier_of(
        inputs, np.concatenate([known, *(w.found for w in windows)])
    )
    costs = integer_costs(pool, best.masks)
    sums = loss_sums(pool, best.masks)
    total = integer_costs(pool, np.ones((1, len(pool.costs)), bool))[0]
    states = [window.state() for window in windows]
    lows = [window.low for window in windows]
    owner = np.empty(len(costs), np.int32)
    bounds = np.empty(len(costs), np.int64)
    for k, end in enumerate([*costs[1:], total + 1]):
        # All that costs less than the next point is within this budget.
        owner[k] = bisect.bisect_right(lows, end - 1) - 1
        ends, proven_sums, _ = states[owner[k]]
        segment = bisect.bisect_left(ends, end - 1)
        bounds[k] = min(sums[k], proven_sums[segment])
    lower = lower_losses(pool, bounds)
    return Certified(
        best,
        np.minimum(lower, best.losses),
        # Both are rounded: the point's own loss, and any that is better.
        ((bounds == sums) & ~cut_off(pool, best.masks))
        | (lower >= best.losses - 2 * pool.error - np.spacing(best.losses)),
        pool.error,
        sum(window.nodes_so_far for window in windows),
        _certificate(pool, best.masks, costs, sums, bounds, owner, windows),
    )


def _certificate(
    pool: IntegerPool,
    masks: np.ndarray,
    costs: list[int],
    sums: np.ndarray,
    bounds: np.ndarray,
    owner: np.ndarray,
    windows: Sequence[Window],
) -> Certificate:
    """Returns the certificate of F points.

    Args:
      pool: The pool in whole numbers.
      masks: Models of each point, [F, M] bool.
      costs: Cost of each point, F whole numbers.
      sums: Loss sum of each point, [F] int64.
      bounds: Lower bound of loss sums, [F] int64.
      owner: Window that proves each bound, [F] int32.
      windows: What is proven.
    """
    states = [window.state() for window in windows]
    high, low = split_costs(costs, pool.low_bits)
    budgets = [budget for state in states for budget in state[0]]
    budgets_high, budgets_low = split_costs(budgets, pool.low_bits)
    certificate = Certificate(
        np.float64(pool.scale),
        np.float64(pool.cost_scale),
        high,
        sums,
        masks,
        bounds,
        owner,
        budgets_high,
        np.concatenate([state[1] for state in states]),
        np.cumsum([0, *(len(state[0]) for state in states)]),
        np.stack([window.thresholds for window in windows]),
        np.concatenate([state[2] for state in states]),
        np.cumsum([0, *(len(state[2]) for state in states)]),
    )
    if not pool.low_bits:
        return certificate
    return certificate._replace(
        low_bits=np.int64(pool.low_bits),
        costs_low=low,
        segment_budgets_low=budgets_low,
    )
