"""The loss table on a device, and the sums that bound nodes of a tree.

M models, X texts, N nodes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.proof.integers import IntegerPool

# Texts on the device at once.
_CHUNK_TEXTS = 4096

# XLA compiles for every number of nodes: so there are few.
NUM_NODES = (16, 64, 256)

# Models whose minima over all of their subsets are kept (four Russians).
_GROUP = 6

_INFINITE = np.iinfo(np.uint32).max


class DeviceTable(NamedTuple):
    """The loss table on a device, some texts at a time.

    Attributes:
      chunks: Losses of some texts, [M, texts] uint32 each, on the device.
      minima: Least loss of every subset of six neighbouring models, of no model
        the largest number, [groups * 64, texts] uint32 each, on the device.
      pool: The pool in whole numbers, on the host.
    """

    chunks: tuple[jax.Array, ...]
    minima: tuple[jax.Array, ...]
    pool: IntegerPool


class NodeSums(NamedTuple):
    """Sums over texts that bound N nodes.

    Attributes:
      thresholds: Sum of the node's own thresholds v, [N] int64.
      rho: Sum of max(v - L_j, 0) for each model, [N, M] int64.
      chosen: Loss sum of the chosen models, [N] int64.
    """

    thresholds: np.ndarray
    rho: np.ndarray
    chosen: np.ndarray


def device_table(pool: IntegerPool, device: jax.Device) -> DeviceTable:
    """Returns the pool's table on the device."""
    chunks = in_chunks(pool.values, device)
    return DeviceTable(chunks, tuple(map(_group_minima, chunks)), pool)


def in_chunks(values: np.ndarray, device: jax.Device) -> tuple[jax.Array, ...]:
    """Returns an array [..., X] on the device, some texts at a time."""
    return tuple(
        jax.device_put(values[..., start : start + _CHUNK_TEXTS], device)
        for start in range(0, values.shape[-1], _CHUNK_TEXTS)
    )


def node_sums(
    table: DeviceTable,
    thresholds: tuple[jax.Array, ...],
    chosen: np.ndarray,
    fits: np.ndarray,
) -> NodeSums:
    """Returns the sums that bound nodes.

    v_x = min(u_x, max(t_x, m_x)), u the least loss of the chosen models, m that
    of the free ones that fit, t the window's thresholds.

    Args:
      table: Losses on the device.
      thresholds: Thresholds of the window, in the chunks of the table.
      chosen: Models that each node has chosen, [N, M] bool, N up to the largest
        of `NUM_NODES`.
      fits: Free models that fit into what is left of a budget, [N, M] bool.
    """
    n = len(chosen)
    size = next(size for size in NUM_NODES if size >= n)
    rows = [
        _rows(np.pad(masks, ((0, size - n), (0, 0))))
        for masks in (chosen, fits)
    ]
    total = (0, 0, 0)
    with jax.enable_x64(True):
        for chunk in zip(table.minima, table.chunks, thresholds, strict=True):
            sums = _chunk_sums(*chunk, *rows)
            # Added up on the device: the host waits once.
            total = [a + b for a, b in zip(total, sums, strict=True)]
        own, joined, of_chosen = (np.asarray(sums)[:n] for sums in total)
    return NodeSums(own, own[:, None] - joined, of_chosen)


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
