"""Recurrences over a text in chunks: parallel inside, memory linear in length.

B batch, T position, C position in a chunk, E features.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# (state, arrays [B, C, ...]) -> (next state, output [B, C, ...])
ScanChunk = Callable[[Any, tuple[jax.Array, ...]], tuple[Any, jax.Array]]


def scan_chunks(
    scan_chunk: ScanChunk, state: Any, arrays: tuple[jax.Array, ...], size: int
) -> jax.Array:
    """Returns the outputs of all chunks, one after the other: [B, T, ...].

    What a chunk needs beside its state and output is in memory for one chunk
    at a time, in the backward pass as well.

    Args:
      scan_chunk: What to do with a chunk; positions behind the text's end,
        which are zeros, may do what they will to the last state.
      state: Before the first position.
      arrays: Of all positions, [B, T, ...] each.
      size: Positions of a chunk.
    """
    T = arrays[0].shape[1]
    size = min(size, T)
    num_chunks = -(-T // size)

    def split(x):  # [B, T, ...] -> [num_chunks, B, C, ...]
        B, _, *rest = x.shape
        pad = [(0, 0), (0, num_chunks * size - T)] + [(0, 0)] * len(rest)
        x = jnp.pad(x, pad).reshape(B, num_chunks, size, *rest)
        return jnp.moveaxis(x, 1, 0)

    _, y = jax.lax.scan(
        jax.checkpoint(scan_chunk), state, tuple(split(x) for x in arrays)
    )
    _, B, _, *rest = y.shape
    return jnp.moveaxis(y, 0, 1).reshape(B, -1, *rest)[:, :T]


def linear_states(
    decay: jax.Array, inflow: jax.Array, state: jax.Array
) -> jax.Array:
    """Returns h_t = decay_t h_(t-1) + inflow_t of a chunk, [B, C, ...].

    Args:
      decay: [B, C, ...].
      inflow: [B, C, ...].
      state: h before the chunk, [B, ...].
    """

    def combine(first, second):
        decay_1, state_1 = first
        decay_2, state_2 = second
        return decay_1 * decay_2, decay_2 * state_1 + state_2

    decay, states = jax.lax.associative_scan(combine, (decay, inflow), axis=1)
    return states + decay * state[:, None]
