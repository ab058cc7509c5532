"""The kernels in Pallas, for TPUs; the contract is in kernels.py.

M models, X texts, S subsets.

Sums are kept lane by lane in vector registers of 8 rows x 128 lanes and added
up afterwards, in XLA, so that nothing crosses lanes:

- `min_sum` has models along the rows and texts along the lanes: a minimum and
  an addition for 1,024 pairs;
- `oracle_sums` has texts along both, and walks over the members of a subset
  alone, whose numbers lie in scalar memory: a minimum for 1,024 texts of one.

A float32 sum is off by at most 12 roundings of 6e-8: 3 in a tree of 8 terms, 4
in a chain of such trees, and 5 where errors are carried along. The order of
the additions depends on X alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from mmc_jax.oracle import xla

_ROWS = 8
_LANES = 128

# Texts that `min_sum` adds in a tree, lane by lane, and that a program takes.
_TREE = 8 * _LANES
_TEXTS = 4 * _TREE

# Models of a program of `min_sum`: 2 MB of losses.
_NUM_MODELS = 128

# Losses of a program of `oracle_sums`: 4 MB, of a core's 16 (and two blocks of
# them, one of which is read while the other is in use).
_MOST_LOSSES = 2**20

# Lanes' sums that exist at once, 512 MB; more subsets are taken in chunks.
_MOST_SUMS = 2**27


def why_not() -> str | None:
    """Returns why this backend cannot run here; None, for Pallas is in JAX."""
    return None


def supports(dtype: jax.typing.DTypeLike) -> bool:
    """Returns whether tables may have the dtype."""
    return jnp.dtype(dtype) == jnp.float32


@functools.partial(jax.jit, static_argnames="interpret")
def min_sum(
    values: jax.Array,
    losses: jax.Array,
    weights: jax.Array | None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx): [S, M].

    Args:
      values: Loss of each row on each text, [S, X].
      losses: Loss of model i on text x, [M, X].
      weights: Weight of each text, [X]; None for 1 each.
      interpret: Whether JAX runs the kernel, on any device; for tests.
    """
    num_models, num_texts = losses.shape
    if 0 in (num_texts, values.shape[0]):
        return jnp.zeros((values.shape[0], num_models), losses.dtype)
    num_rows = min(_NUM_MODELS, -(-num_models // _ROWS) * _ROWS)
    losses = xla.padded(xla.weighted(losses, weights), num_rows, axis=0)
    losses = xla.padded(losses, _TEXTS, axis=1)

    kernel = functools.partial(_min_sum_kernel, num_rows)

    def chunk_sums(values):
        rows = xla.padded(xla.weighted(values, weights), _ROWS, axis=0)
        rows = xla.padded(rows, _TEXTS, axis=1)
        shape = (rows.shape[0], losses.shape[0], _LANES)
        sums, errors = _in_32_bits(
            kernel,
            grid=(
                shape[0] // _ROWS,
                shape[1] // num_rows,
                rows.shape[1] // _TEXTS,
            ),
            in_specs=[
                pl.BlockSpec((_ROWS, _TEXTS), lambda i, j, k: (i, k)),
                pl.BlockSpec((num_rows, _TEXTS), lambda i, j, k: (j, k)),
            ],
            out_specs=[
                pl.BlockSpec(
                    (_ROWS, num_rows, _LANES), lambda i, j, k: (i, j, 0)
                )
            ]
            * 2,
            out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32)] * 2,
            interpret=interpret,
        )(rows, losses)
        sums = xla.sum_with_errors(
            *(jnp.moveaxis(part, 2, 0) for part in (sums, errors))
        )
        return sums[: values.shape[0], :num_models]

    chunk = max(_ROWS, _MOST_SUMS // (losses.shape[0] * _LANES))
    return xla.in_chunks(chunk_sums, values, chunk)


@functools.partial(jax.jit, static_argnames="interpret")
def oracle_sums(
    losses: jax.Array,
    masks: jax.Array,
    weights: jax.Array | None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix: [S].

    Args:
      losses: Loss of model i on text x, [M, X].
      masks: Members of each subset, [S, M] booleans.
      weights: Weight of each text, [X]; None for 1 each.
      interpret: Whether JAX runs the kernel, on any device; for tests.
    """
    num_models, num_texts = losses.shape
    if 0 in (num_texts, masks.shape[0]):
        return jnp.zeros(masks.shape[0], losses.dtype)
    num_registers = max(
        1, min(4, _MOST_LOSSES // (num_models * _ROWS * _LANES))
    )
    num_rows = num_registers * _ROWS
    losses = xla.padded(
        xla.weighted(losses, weights), num_rows * _LANES, axis=1
    )
    losses = losses.reshape(num_models, -1, _LANES)

    kernel = functools.partial(_oracle_sums_kernel, num_rows)

    def chunk_sums(masks):
        masks = xla.padded(masks, _ROWS, axis=0)
        # The members of a subset, then the others.
        members = jnp.argsort(~masks, axis=1, stable=True).astype(jnp.int32)
        sizes = masks.sum(axis=1, keepdims=True, dtype=jnp.int32)
        shape = (masks.shape[0], _ROWS, _LANES)
        sums, errors = _in_32_bits(
            kernel,
            grid=(shape[0] // _ROWS, losses.shape[1] // num_rows),
            in_specs=[
                pl.BlockSpec(
                    (_ROWS, columns),
                    lambda i, k: (i, 0),
                    memory_space=pltpu.SMEM,
                )
                for columns in (1, num_models)
            ]
            + [
                pl.BlockSpec(
                    (num_models, num_rows, _LANES), lambda i, k: (0, k, 0)
                )
            ],
            out_specs=[
                pl.BlockSpec((_ROWS, *shape[1:]), lambda i, k: (i, 0, 0))
            ]
            * 2,
            out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32)] * 2,
            interpret=interpret,
        )(sizes, members, losses)
        return xla.sum_with_errors(
            *(part.reshape(shape[0], -1).T for part in (sums, errors))
        )

    chunk = max(_ROWS, _MOST_SUMS // (_ROWS * _LANES))
    return xla.in_chunks(
        lambda part: chunk_sums(part)[: part.shape[0]], masks, chunk
    )


def _min_sum_kernel(
    num_rows: int,
    values_ref: jax.Array,
    losses_ref: jax.Array,
    *sums_refs: jax.Array,
) -> None:
    """Adds a block of texts to the sums of 8 subsets and num_rows models."""

    def rows_sums(group, _):
        models = pl.ds(group * _ROWS, _ROWS)

        def add_tree(tree, totals):
            texts = [
                pl.ds(pl.multiple_of(tree * _TREE, _TREE) + lane, _LANES)
                for lane in range(0, _TREE, _LANES)
            ]
            # Read once for all subsets.
            loss = [losses_ref[models, lanes] for lanes in texts]
            return [
                total
                + xla.pairwise(
                    jnp.add,
                    [
                        jnp.minimum(values_ref[pl.ds(subset, 1), lanes], row)
                        for lanes, row in zip(texts, loss, strict=True)
                    ],
                )
                for subset, total in enumerate(totals)
            ]

        totals = [jnp.zeros((_ROWS, _LANES), jnp.float32)] * _ROWS
        totals = jax.lax.fori_loop(0, _TEXTS // _TREE, add_tree, totals)
        for subset, total in enumerate(totals):
            _add(total, (subset, models), *sums_refs)
        return 0

    _start(pl.program_id(2), *sums_refs)
    jax.lax.fori_loop(0, num_rows // _ROWS, rows_sums, 0)


def _oracle_sums_kernel(
    num_rows: int,
    sizes_ref: jax.Array,
    members_ref: jax.Array,
    losses_ref: jax.Array,
    *sums_refs: jax.Array,
) -> None:
    """Adds a block of texts, num_rows of lanes, to the sums of 8 subsets."""

    def subset_sums(subset, _):
        def join(member, least):
            model = members_ref[subset, member]
            return jnp.minimum(least, losses_ref[model])

        least = jnp.full((num_rows, _LANES), jnp.inf, jnp.float32)
        size = sizes_ref[subset, 0]
        least = jax.lax.fori_loop(0, size, join, least)
        terms = [
            least[first : first + _ROWS] for first in range(0, num_rows, _ROWS)
        ]
        _add(xla.pairwise(jnp.add, terms), subset, *sums_refs)
        return 0

    _start(pl.program_id(1), *sums_refs)
    jax.lax.fori_loop(0, _ROWS, subset_sums, 0)


def _in_32_bits(
    kernel: Callable[..., None], **specs: Any
) -> Callable[..., list[jax.Array]]:
    """Returns `pallas_call` outside 64-bit mode.

    There is no int64 on a TPU, and in 64-bit mode indices would be.
    """

    def call(*arrays):
        with jax.enable_x64(False):
            return pl.pallas_call(kernel, **specs)(*arrays)

    return call


def _start(block: jax.Array, *sums_refs: jax.Array) -> None:
    """Sets the sums and their errors to 0 before the first block of texts."""

    @pl.when(block == 0)
    def _():
        for ref in sums_refs:
            ref[...] = jnp.zeros(ref.shape, ref.dtype)


def _add(
    term: jax.Array,
    place: int | tuple,
    sums_ref: jax.Array,
    errors_ref: jax.Array,
) -> None:
    """Adds a term to the sum at the place, and the rounding error to errors."""
    carry = sums_ref[place], errors_ref[place]
    sums_ref[place], errors_ref[place] = xla.two_sum(carry, term)
