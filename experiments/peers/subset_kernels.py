"""What the oracle kernels are measured against, each written as its best.

M models, X texts, S subsets. Every implementation is a function of NumPy arrays
that were placed where it wants them (`place`), and returns what it computed
when that is finished.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.oracle import backends, cpu


class Implementation(NamedTuple):
    """One way to compute a kernel.

    Attributes:
      place: Function from a NumPy array to what `compute` takes; not timed.
      compute: Function from two placed arrays to the sums.
      dtype: Data type of the losses.
    """

    place: Callable[[np.ndarray], Any]
    compute: Callable[[Any, Any], Any]
    dtype: str = "float32"


def min_sums() -> dict[str, Implementation]:
    """Returns the implementations of sum over x of min(V_sx, L_mx), [S, M]."""
    found = {
        "NumPy, a loop over models": Implementation(np.asarray, _numpy_min_sum),
        "XLA, broadcast and sum": Implementation(_placed, _broadcast_min_sum),
    }
    if _installed("scipy"):
        from scipy.spatial.distance import cdist

        found["SciPy cdist, cityblock"] = Implementation(
            np.asarray,
            _by_distances(lambda v, w: cdist(v, w, "cityblock")),
        )
    if _installed("torch"):
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        found[f"torch cdist, p=1, {device}"] = Implementation(
            lambda array: torch.from_numpy(array).to(device),
            _by_distances(lambda v, w: torch.cdist(v, w, p=1)),
        )
    if _installed("faiss"):
        import faiss

        found["faiss pairwise, L1"] = Implementation(
            np.asarray,
            _by_distances(
                lambda v, w: faiss.pairwise_distances(v, w, faiss.METRIC_L1)
            ),
        )
    if _installed("numba"):
        found["numba, parallel, fastmath"] = Implementation(
            np.asarray, _numba_min_sum()
        )
    return found | _ours(oracle.min_sum, ("float32", "uint32"))


def oracle_sums() -> dict[str, Implementation]:
    """Returns those of sum over x of min_{i in S} L_ix, [S]."""
    found = {
        "NumPy, losses[mask].min(0)": Implementation(np.asarray, _gather_sums),
        "XLA, where and min": Implementation(_placed, _where_sums),
        "XLA, lax.map over masks": Implementation(_placed, _mapped_sums),
    }
    return found | _ours(oracle.oracle_sums, ("float32",))


def min_adds_per_second(seconds_of: Callable[[Callable], float]) -> float:
    """Returns the roofline: minima taken and added up, a second.

    On a CPU by the C++ kernels' own probe, in registers alone; elsewhere by XLA
    on an array that its caches hold.

    Args:
      seconds_of: Function that returns how many seconds a call of its
        argument takes.
    """
    if jax.default_backend() == "cpu" and cpu.why_not() is None:
        return cpu.min_adds_per_second()
    num_steps, num_values = 4096, 2**20

    @jax.jit
    def min_adds(values):
        def step(_, total):
            return total + jnp.minimum(values, total)

        return jax.lax.fori_loop(0, num_steps, step, values, unroll=64)

    values = _placed(np.linspace(0, 1, num_values, dtype=np.float32))
    min_adds(values).block_until_ready()
    seconds = seconds_of(lambda: min_adds(values).block_until_ready())
    return num_steps * num_values / seconds


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _placed(array: np.ndarray) -> jax.Array:
    return jax.device_put(array)


def _ours(kernel: Callable, dtypes: tuple[str, ...]) -> dict:
    """Returns this package's kernel by every backend that runs here."""
    return {
        f"mmc_jax {name}, {dtype}": Implementation(
            _placed,
            # What a search calls: compiled with the rest of it.
            jax.jit(functools.partial(kernel, backend=name)),
            dtype,
        )
        for dtype in dtypes
        for name in backends.runnable(dtype)
    }


def _by_distances(distances: Callable) -> Callable:
    """Returns sum of min = (sum V + sum L - sum |V - L|) / 2."""

    def compute(values, losses):
        both = values.sum(1)[:, None] + losses.sum(1)
        return (both - distances(values, losses)) / 2

    return compute


def _numpy_min_sum(values, losses):
    return np.stack(
        [np.minimum(values, loss).sum(axis=1) for loss in losses], axis=1
    )


@jax.jit
def _broadcast_min_sum(values, losses):
    return jnp.minimum(values[:, None], losses).sum(axis=2)


def _numba_min_sum() -> Callable:
    import numba

    @numba.njit(parallel=True, fastmath=True)
    def compute(values, losses):
        sums = np.empty((len(values), len(losses)), np.float32)
        for s in numba.prange(len(values)):
            for m in range(len(losses)):
                total = np.float32(0)
                for x in range(values.shape[1]):
                    total += min(values[s, x], losses[m, x])
                sums[s, m] = total
        return sums

    return compute


def _gather_sums(losses, masks):
    return np.array([losses[mask].min(0).sum() for mask in masks])


@jax.jit
def _where_sums(losses, masks):
    return jnp.where(masks[:, :, None], losses, jnp.inf).min(axis=1).sum(axis=1)


@jax.jit
def _mapped_sums(losses, masks):
    def one(mask):
        return jnp.where(mask[:, None], losses, jnp.inf).min(axis=0).sum()

    return jax.lax.map(one, masks)
