"""Recurrences over a text in chunks, so that memory is linear in its length.

B batch, T position, C position in a chunk, E features.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

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
      scan_chunk: Function of the state before a chunk and of its arrays. Zeros
        fill the last chunk; what they do to the last state does not matter.
      state: State before the first position.
      arrays: Inputs of all positions, [B, T, ...] each.
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


def segment_sums(x: jax.Array) -> jax.Array:
    """Returns sum_(s < r <= t) x_r, [..., T, S] of [..., T]; -inf where s > t.

    Differences of one cumulative sum would lose the small sums to rounding.
    """
    T = x.shape[-1]
    distance = jnp.arange(T)[:, None] - jnp.arange(T)
    sums = jnp.cumsum(jnp.where(distance > 0, x[..., None], 0.0), axis=-2)
    return jnp.where(distance >= 0, sums, -jnp.inf)


class Recurrence(NamedTuple):
    """State and output of each position, from the state before it.

        element_t = element(arrays_t) = (factor_t, inflow_t)
        state_t = advance(state_(t-1), *element_t)
        output_t = output(state_(t-1), state_t, arrays_t)

    All functions take leading axes of any number, [B, ...] as well as
    [B, C, ...]. Two elements are one: the factor is that of `compose`, and the
    inflow is the second element's, advanced from the first one's.

    Attributes:
      element: What a position does to the state: its arrays -> (factor,
        inflow), the inflow of the state's structure.
      compose: The factors of two elements, one after the other -> one factor.
      advance: (state, factor, inflow) -> state.
      output: (state before, state after, arrays) -> [B, ...].
    """

    element: Callable[[tuple[jax.Array, ...]], tuple[jax.Array, Any]]
    compose: Callable[[jax.Array, jax.Array], jax.Array]
    advance: Callable[[Any, jax.Array, Any], Any]
    output: Callable[[Any, Any, tuple[jax.Array, ...]], jax.Array]


def scan_recurrence(
    recurrence: Recurrence, state: Any, arrays: tuple[jax.Array, ...], size: int
) -> jax.Array:
    """Returns the outputs of all positions, [B, T, ...].

    CPUs go from position to position: a position's work stays in their caches,
    and they are 2 to 5 times as fast that way. Elsewhere the positions of a
    chunk are parallel.

    Args:
      recurrence: Recurrence over the positions.
      state: State before the first position.
      arrays: Inputs of all positions, [B, T, ...] each.
      size: Positions of a chunk: of so many the elements (not on CPUs) and,
        for a gradient, the states are in memory at once.
    """
    scan_chunk = _step_by_step if _backend() == "cpu" else _in_parallel
    return scan_chunks(
        functools.partial(scan_chunk, recurrence), state, arrays, size
    )


def _backend() -> str:
    return jax.default_backend()


def _step_by_step(
    recurrence: Recurrence, state: Any, arrays: tuple[jax.Array, ...]
) -> tuple[Any, jax.Array]:
    """Returns the last state and the outputs of a chunk, for `scan_chunks`."""

    def step(before, arrays):
        after = recurrence.advance(before, *recurrence.element(arrays))
        return after, recurrence.output(before, after, arrays)

    arrays = tuple(jnp.moveaxis(x, 1, 0) for x in arrays)
    state, outputs = jax.lax.scan(step, state, arrays)
    return state, jnp.moveaxis(outputs, 0, 1)


def _in_parallel(
    recurrence: Recurrence, state: Any, arrays: tuple[jax.Array, ...]
) -> tuple[Any, jax.Array]:
    """Returns the last state and the outputs of a chunk, for `scan_chunks`."""

    def combine(first, second):
        factor_1, inflow_1 = first
        factor_2, inflow_2 = second
        return (
            recurrence.compose(factor_1, factor_2),
            recurrence.advance(inflow_1, factor_2, inflow_2),
        )

    elements = recurrence.element(arrays)
    elements = jax.lax.associative_scan(combine, elements, axis=1)
    start = jax.tree.map(lambda x: x[:, None], state)
    after = recurrence.advance(start, *elements)
    before = jax.tree.map(
        lambda x, y: jnp.concatenate([x, y[:, :-1]], axis=1), start, after
    )
    last = jax.tree.map(lambda x: x[:, -1], after)
    return last, recurrence.output(before, after, arrays)
