"""What other libraries do for the oracle kernels, for the benchmark beside us.

M models, X texts, S subsets.
"""

import importlib.util
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# NumPy and the naive XLA version are given as many subsets as take a moment.
_FEW = 128


def min_sums(
    values: np.ndarray, losses: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Returns who can sum min(V, L) over texts, each a call: [S, M].

    Those that know the L1 distance alone: min(v, l) = (v + l - |v - l|) / 2.

    Args:
      values: [S, X], float32.
      losses: [M, X], float32.
    """

    def of_distances(distances: np.ndarray) -> np.ndarray:
        sums = values.sum(axis=1)[:, None] + losses.sum(axis=1)
        return (sums - np.asarray(distances)) / 2

    peers = {
        "numpy": lambda: np.stack(
            [np.minimum(values, loss).sum(axis=1) for loss in losses], axis=1
        )
    }
    num_threads = len(os.sched_getaffinity(0))
    if _is_installed("scipy"):
        from scipy.spatial import distance

        peers["scipy"] = lambda: of_distances(
            distance.cdist(values, losses, "cityblock")
        )
    if _is_installed("torch"):
        import torch

        torch.set_num_threads(num_threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tables = [torch.tensor(table).to(device) for table in (values, losses)]
        peers["torch"] = lambda: of_distances(torch.cdist(*tables, p=1).cpu())
    if _is_installed("faiss"):
        import faiss

        faiss.omp_set_num_threads(num_threads)
        peers["faiss"] = lambda: of_distances(
            faiss.pairwise_distances(values, losses, metric=faiss.METRIC_L1)
        )
    if _is_installed("numba"):
        min_sum = _numba_min_sum()
        peers["numba"] = lambda: min_sum(values, losses)
    return peers


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _numba_min_sum() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import numba

    @numba.njit(parallel=True, fastmath=True)
    def min_sum(values, losses):
        sums = np.empty((len(values), len(losses)), np.float32)
        for s in numba.prange(len(values)):
            for m in range(len(losses)):
                total = np.float32(0)
                for x in range(values.shape[1]):
                    total += min(values[s, x], losses[m, x])
                sums[s, m] = total
        return sums

    return min_sum


def oracle_sums(
    losses: np.ndarray, masks: np.ndarray
) -> dict[str, tuple[int, Callable[[], np.ndarray]]]:
    """Returns who can sum the least loss of subsets, and of how many: [S].

    Args:
      losses: [M, X], float32.
      masks: [S, M] of booleans.
    """
    few = masks[:_FEW]

    @jax.jit
    def mapped(losses, masks):
        def oracle_sum(mask):
            return jnp.where(mask[:, None], losses, jnp.inf).min(axis=0).sum()

        return jax.lax.map(oracle_sum, masks)

    table, subsets = jnp.asarray(losses), jnp.asarray(few)
    return {
        "numpy": (
            len(few),
            lambda: np.stack([losses[m].min(axis=0).sum() for m in few]),
        ),
        "lax.map": (len(few), lambda: np.asarray(mapped(table, subsets))),
    }
