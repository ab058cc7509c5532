"""The kernels in Pallas, for NVIDIA GPUs; the contract is in kernels.py.

M models, X texts, S subsets, K splits of the texts.

A program holds a tile of sums in registers and walks over the texts of a split:
for each text a column of values, a row of losses and, a pair, one minimum and
one addition. The splits' sums are added afterwards, error and all.

A float32 sum is off by at most 15 roundings of 6e-8: 3 in a tree of 8 terms, 8
in a chain of such trees, and 4 where errors are carried along. The order of
the additions depends on X alone.

On GPUs Pallas' minimum is PTX's, which prefers a number to NaN: rows with NaN
are found beside the kernel, and mark the sums that they belong to.

Of Pallas' two compilers for GPUs this uses Triton, deprecated from JAX 0.11 on;
where it is missing, `why_not` says so and XLA serves.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from mmc_jax.oracle import xla

# Texts that one program takes, that one chain of additions takes, and that are
# added in a tree. Smaller splits write more sums: 4 bytes for 512 pairs.
_SPLIT = 512
_CHAIN = 64
_TREE = 8

# A tile of sums: 32 a thread. With the chain, the sum and its error they take
# 96 of a thread's 255 registers.
_TILE = 4096
_NUM_WARPS = 4

# Models of a tile; of fewer a thread reads more than it computes.
_WIDTHS = (16, 32, 64)

# Subsets of a program of `oracle_sums`, which has a chain of texts beside.
_NUM_SUBSETS = _TILE // _CHAIN

# Sums of splits that exist at once; more subsets are taken in chunks.
_MOST_SUMS = 2**28


@functools.cache
def why_not() -> str | None:
    """Returns why this backend cannot run here; None where it can."""
    try:
        _triton()
    except ImportError as error:
        return f"Pallas has no Triton in JAX {jax.__version__} ({error})"
    return None


def supports(dtype: jax.typing.DTypeLike) -> bool:
    """Returns whether tables may have the dtype."""
    return xla.supports(dtype)


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
    dtype = losses.dtype
    if 0 in (num_texts, values.shape[0]):
        return jnp.zeros((values.shape[0], num_models), xla.sum_dtype(dtype))
    values, losses = (
        xla.weighted(table, weights) for table in (values, losses)
    )
    # The fewest added models; of those the widest tile, which reads the least.
    width = min(_WIDTHS, key=lambda n: (-(-num_models // n) * n, -n))
    tile = (_TILE // width, width)
    columns = xla.padded(xla.padded(losses.T, _SPLIT, axis=0), width, axis=1)

    def chunk_sums(values):
        rows = xla.padded(xla.padded(values.T, _SPLIT, axis=0), tile[0], axis=1)
        splits = _split_min_sums(rows, columns, tile, interpret)
        return _sum_of_splits(*splits)[: values.shape[0], :num_models]

    num_splits = -(-num_texts // _SPLIT)
    chunk = max(tile[0], _MOST_SUMS // (num_splits * columns.shape[1]))
    sums = xla.in_chunks(chunk_sums, values, chunk)
    if jnp.issubdtype(dtype, jnp.floating):
        in_row, in_column = (
            jnp.isnan(table).any(axis=1) for table in (values, losses)
        )
        sums = jnp.where(in_row[:, None] | in_column, jnp.nan, sums)
    return sums


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
    num_texts = losses.shape[1]
    dtype = losses.dtype
    if 0 in (num_texts, masks.shape[0]):
        return jnp.zeros(masks.shape[0], xla.sum_dtype(dtype))
    losses = xla.weighted(losses, weights)
    table = xla.padded(losses, _SPLIT, axis=1)

    def chunk_sums(masks):
        members = xla.padded(masks.T.astype(jnp.int32), _NUM_SUBSETS, axis=1)
        splits = _split_oracle_sums(table, members, interpret)
        return _sum_of_splits(*splits)[: masks.shape[0]]

    chunk = max(_NUM_SUBSETS, _MOST_SUMS // (table.shape[1] // _SPLIT))
    sums = xla.in_chunks(chunk_sums, masks, chunk)
    if jnp.issubdtype(dtype, jnp.floating):
        nan = (masks & jnp.isnan(losses).any(axis=1)).any(axis=1)
        return jnp.where(nan, jnp.nan, sums)
    # Without a model, the texts that fill the last split count the largest
    # number and not 0.
    excess = (-num_texts % _SPLIT) * jnp.iinfo(dtype).max
    return sums - jnp.where(masks.any(axis=1), 0, excess)


def _split_min_sums(
    rows: jax.Array,
    columns: jax.Array,
    tile: tuple[int, int],
    interpret: bool,
) -> list[jax.Array]:
    """Returns sum over x of min(V_sx, L_mx) in each split: [K, S, M].

    Args:
      rows: The weighted values, [X, S].
      columns: The weighted losses, [X, M].
      tile: The subsets and the models of a program.
      interpret: Whether JAX runs the kernel, on any device; for tests.
    """
    dtype = xla.sum_dtype(rows.dtype)

    def chain(start, rows_ref, columns_ref):
        def term(x):
            least = jnp.minimum(rows_ref[x][:, None], columns_ref[x][None])
            return least.astype(dtype)

        def add(i, total):
            first = start + i * _TREE
            terms = [term(first + j) for j in range(_TREE)]
            return total + xla.pairwise(jnp.add, terms)

        zero = jnp.zeros(tile, dtype)
        return jax.lax.fori_loop(0, _CHAIN // _TREE, add, zero)

    return _split_sums(
        chain,
        [
            (rows, (_SPLIT, tile[0]), lambda k, i, j: (k, i)),
            (columns, (_SPLIT, tile[1]), lambda k, i, j: (k, j)),
        ],
        (rows.shape[1], columns.shape[1]),
        tile,
        rows.shape[0] // _SPLIT,
        dtype,
        interpret,
    )


def _split_oracle_sums(
    losses: jax.Array,
    members: jax.Array,
    interpret: bool,
) -> list[jax.Array]:
    """Returns sum over x of min_{i in S} L_ix in each split: [K, S].

    Args:
      losses: The weighted losses, [M, X].
      members: 1 where the model is in the subset, else 0, [M, S].
      interpret: Whether JAX runs the kernel, on any device; for tests.
    """
    dtype = xla.sum_dtype(losses.dtype)
    num_models, num_texts = losses.shape
    absent = xla.largest(losses.dtype)
    tile = (_NUM_SUBSETS, _CHAIN)

    def chain(start, losses_ref, members_ref):
        texts = pl.ds(start, _CHAIN)

        def join(model, least):
            loss = jnp.broadcast_to(losses_ref[model, texts][None], tile)
            member = jnp.broadcast_to(members_ref[model][:, None] != 0, tile)
            return jnp.minimum(least, jnp.where(member, loss, absent))

        least = jnp.full(tile, absent, losses.dtype)
        least = jax.lax.fori_loop(0, num_models, join, least)
        return least.astype(dtype).sum(axis=1, dtype=dtype)

    return _split_sums(
        chain,
        [
            (losses, (num_models, _SPLIT), lambda k, i: (0, k)),
            (members, (num_models, _NUM_SUBSETS), lambda k, i: (0, i)),
        ],
        members.shape[1:],
        (_NUM_SUBSETS,),
        num_texts // _SPLIT,
        dtype,
        interpret,
    )


def _split_sums(
    chain: Callable[..., jax.Array],
    inputs: list[tuple[jax.Array, tuple[int, ...], Callable]],
    shape: tuple[int, ...],
    tile: tuple[int, ...],
    num_splits: int,
    dtype: jnp.dtype,
    interpret: bool,
) -> list[jax.Array]:
    """Returns the sums of each split, and of floats their errors: [K, *shape].

    Args:
      chain: Function from a chain's first text, counted in its split, and the
        references to the inputs' blocks. It returns the sums of the chain.
      inputs: For each array: itself, the shape of its blocks, and the function
        from a program's split and tile to its block.
      shape: Shape of the sums, a multiple of the tile.
      tile: Shape of the sums of a program.
      num_splits: Number of splits, K.
      dtype: Data type of the sums.
      interpret: Whether JAX runs the kernel, on any device; for tests.
    """
    num_outputs = 2 if jnp.issubdtype(dtype, jnp.floating) else 1

    def kernel(*refs):
        blocks, outputs = refs[: len(inputs)], refs[len(inputs) :]

        def add(i, carry):
            term = chain(i * _CHAIN, *blocks)
            if num_outputs == 1:
                return (carry[0] + term,)
            return xla.two_sum(carry, term)

        zeros = (jnp.zeros(tile, dtype),) * num_outputs
        sums = jax.lax.fori_loop(0, _SPLIT // _CHAIN, add, zeros)
        for output, value in zip(outputs, sums, strict=True):
            output[...] = value

    grid = tuple(n // size for n, size in zip(shape, tile, strict=True))
    compiler = {"interpret": True} if interpret else _compiler()
    return pl.pallas_call(
        kernel,
        # The subsets come first, for of them there may be the most.
        grid=(*grid, num_splits),
        in_specs=[
            pl.BlockSpec(block, lambda *p, place=place: place(p[-1], *p[:-1]))
            for _, block, place in inputs
        ],
        out_specs=[
            pl.BlockSpec((None, *tile), lambda *p: (p[-1], *p[:-1]))
        ] * num_outputs,
        out_shape=[
            jax.ShapeDtypeStruct((num_splits, *shape), dtype)
        ] * num_outputs,
        **compiler,
    )(*(array for array, _, _ in inputs))  # fmt: skip


def _sum_of_splits(sums: jax.Array, *errors: jax.Array) -> jax.Array:
    """Returns the sum over the splits: [K, ...] -> [...]."""
    if errors:
        return xla.sum_with_errors(sums, *errors)
    return sums.sum(axis=0, dtype=jnp.int64)


def _compiler() -> dict[str, Any]:
    parameters = _triton().CompilerParams(num_warps=_NUM_WARPS, num_stages=1)
    return {"compiler_params": parameters}


def _triton() -> ModuleType:
    return importlib.import_module("jax.experimental.pallas.triton")
