"""The kernels in plain XLA, for any device; the contract is in kernels.py.

M models, X texts, S subsets.

Texts are taken a block at a time. Within a block the terms are added pairwise,
by additions written out one by one (XLA adds a `reduce` in an order of its
own); from block to block the rounding error is carried along. So

- a sum is off by at most log2(128) + 2 roundings: 5.4e-7 in float32;
- the order of the additions depends on X alone: a subset has the same sum, to
  the last bit, from either kernel, in any batch and at any place in it;
- nothing larger than [S, M], [S, X] or [M, X] exists.

Integers are added in int64: exact. They take no weights.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Texts in a block, a power of two. `min_sum` writes a block out as one
# elementwise loop over [S, M]: blocks of 64 pass over memory more often, blocks
# of 256 run out of registers (3 times slower on a CPU).
BLOCK = 128

# Models that `minima` takes in one elementwise loop, a power of two. On a CPU
# XLA stops vectorising that loop at 8 and at 12 models (3 and 10 times slower);
# 32 are no faster.
_GROUP = 16

# (Subsets, models): from how many subsets on it pays to tabulate the minima of
# all subsets of so many models together ("the four Russians"). 71 models have
# 18 tables of 16 minima a text; a subset gathers 18 rows in place of up to 71,
# then 12. Measured on a CPU, at 71 models.
_TABULATED = ((512, 6), (32, 4))

# Subsets that `oracle_sums` works on at once: 2 MB of float32 a block.
_TILE = 4096


def why_not() -> str | None:
    """Returns why this backend cannot run here; None, for it always can."""
    return None


def supports(dtype: jnp.dtype) -> bool:
    """Returns whether tables may have the dtype."""
    return jnp.dtype(dtype).type in (np.float32, np.float64, np.uint32)


def sum_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype of the sums of a table."""
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.int64


def largest(dtype: jnp.dtype) -> np.generic:
    """Returns what leaves each minimum as it is: infinity, or the largest."""
    dtype = np.dtype(dtype)
    floating = np.issubdtype(dtype, np.floating)
    return dtype.type(np.inf if floating else np.iinfo(dtype).max)


@jax.jit
def oracle_sums(
    losses: jax.Array, masks: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix: [S]."""
    num_subsets = masks.shape[0]
    num_texts = losses.shape[1]
    if num_texts == 0:
        return jnp.zeros(num_subsets, sum_dtype(losses.dtype))
    losses = padded(weighted(losses, weights), BLOCK, axis=1)
    block_minima = minima
    for least_subsets, together in reversed(_TABULATED):
        if num_subsets >= least_subsets:
            block_minima = functools.partial(_tabulated, together=together)

    def tile_sums(masks):
        def block_sum(start):
            terms = block_minima(block(losses, start), masks)
            return pairwise_sum(terms.astype(sum_dtype(terms.dtype)))

        return sum_of_blocks(
            block_sum, num_texts, masks.shape[:1], losses.dtype
        )

    sums = in_tiles(tile_sums, masks)
    if sums.dtype == jnp.int64:
        # Without a model, the texts that fill the last block count the largest
        # number and not 0.
        excess = (-num_texts % BLOCK) * jnp.iinfo(losses.dtype).max
        sums = sums - jnp.where(masks.any(axis=1), 0, excess)
    return sums


@jax.jit
def min_sum(
    values: jax.Array, losses: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx): [S, M]."""
    num_models, num_texts = losses.shape
    if num_texts == 0:
        return jnp.zeros((values.shape[0], num_models), sum_dtype(losses.dtype))
    values, losses = (
        padded(weighted(table, weights), BLOCK, axis=1)
        for table in (values, losses)
    )
    # Rows of a length that fills vector registers: up to 1.5 times as fast.
    losses = jnp.pad(losses, ((0, -num_models % _GROUP), (0, 0)))
    transposed = losses.T

    def block_sum(start):
        value = block(values, start)
        loss = jax.lax.dynamic_slice_in_dim(transposed, start, BLOCK)
        terms = [
            jnp.minimum(value[:, x, None], loss[x]).astype(
                sum_dtype(losses.dtype)
            )
            for x in range(BLOCK)
        ]
        return pairwise(jnp.add, terms)

    shape = (values.shape[0], losses.shape[0])
    sums = sum_of_blocks(block_sum, num_texts, shape, losses.dtype)
    return sums[:, :num_models]


def minima(losses: jax.Array, masks: jax.Array) -> jax.Array:
    """Returns the least loss of each subset on each text: [S, X].

    out_sx = min_{i in S} L_ix; `largest` for the empty subset
    """
    num_models, num_texts = losses.shape
    num_subsets = masks.shape[0]
    absent = largest(losses.dtype)
    pad = -num_models % _GROUP
    losses = jnp.pad(losses, ((0, pad), (0, 0)))
    masks = jnp.pad(masks, ((0, 0), (0, pad)))

    def step(least, group):
        member, loss = group
        terms = [
            jnp.where(member[i, :, None], loss[i], absent)
            for i in range(_GROUP)
        ]
        return jnp.minimum(least, pairwise(jnp.minimum, terms)), None

    num_groups = (num_models + pad) // _GROUP
    groups = (
        masks.T.reshape(num_groups, _GROUP, num_subsets),
        losses.reshape(num_groups, _GROUP, num_texts),
    )
    least = jnp.full((num_subsets, num_texts), absent)
    return jax.lax.scan(step, least, groups)[0]


def weighted(table: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Returns w_x times each column of the table [rows, X] of floats.

    w min(V, L) = min(w V, w L) for w >= 0, to the last bit, and so the weights
    cost nothing in the loop over pairs.
    """
    if weights is None:
        return table
    weights = jnp.where(weights >= 0, weights, jnp.nan)
    absent = (weights == 0) & jnp.isinf(table)  # 0 times infinity is NaN.
    return jnp.where(absent, 0.0, weights * table)


def _tabulated(losses: jax.Array, masks: jax.Array, together: int) -> jax.Array:
    """Returns what `minima` does, out of tables of some models' minima each."""
    num_models, num_texts = losses.shape
    absent = largest(losses.dtype)
    pad = -num_models % together
    losses = jnp.pad(losses, ((0, pad), (0, 0)), constant_values=absent)
    masks = jnp.pad(masks, ((0, 0), (0, pad)))
    num_groups = (num_models + pad) // together
    losses = losses.reshape(num_groups, together, num_texts)
    members = masks.reshape(-1, num_groups, together).astype(jnp.int32)
    members = members << jnp.arange(together, dtype=jnp.int32)
    places = members.sum(axis=2, dtype=jnp.int32)
    gathered = []
    # One table after the other: XLA makes the tables of one array anew for each
    # subset that gathers from it (4 times slower).
    for group in range(num_groups):
        table = jnp.full((1, num_texts), absent)
        for loss in losses[group]:
            table = jnp.concatenate([table, jnp.minimum(table, loss)])
        rows = table.at[places[:, group]].get(mode="promise_in_bounds")
        gathered.append(rows)
    return pairwise(jnp.minimum, gathered)


def padded(table: jax.Array, multiple: int, *, axis: int) -> jax.Array:
    """Returns the table with zeros at the end of an axis."""
    widths = [(0, 0)] * table.ndim
    widths[axis] = (0, -table.shape[axis] % multiple)
    return jnp.pad(table, widths)


def in_tiles(
    function: Callable[[jax.Array], jax.Array], masks: jax.Array
) -> jax.Array:
    """Returns function(masks), a number a row, some rows at a time: [S]."""
    num_subsets, num_models = masks.shape
    tile = max(1, min(num_subsets, _TILE))
    num_tiles = -(-num_subsets // tile)
    tiles = jnp.pad(masks, ((0, num_tiles * tile - num_subsets), (0, 0)))
    tiles = tiles.reshape(num_tiles, tile, num_models)
    return jax.lax.map(function, tiles).reshape(-1)[:num_subsets]


def in_chunks(
    function: Callable[[jax.Array], jax.Array], rows: jax.Array, chunk: int
) -> jax.Array:
    """Returns function(rows), computed at most a chunk of rows at a time."""
    starts = range(0, max(1, rows.shape[0]), chunk)
    return jnp.concatenate([function(rows[i : i + chunk]) for i in starts])


def block(table: jax.Array, start: jax.Array) -> jax.Array:
    """Returns the columns of a block of texts: [..., BLOCK]."""
    return jax.lax.dynamic_slice_in_dim(table, start, BLOCK, axis=-1)


def pairwise(
    operation: Callable[[jax.Array, jax.Array], jax.Array],
    terms: Sequence[jax.Array],
) -> jax.Array:
    """Returns the terms folded by the operation, one half with the other."""
    while len(terms) > 1:
        half = len(terms) // 2
        pairs = zip(terms[:half], terms[half : 2 * half], strict=True)
        terms = [operation(a, b) for a, b in pairs] + terms[2 * half :]
    return terms[0]


def pairwise_sum(terms: jax.Array, axis: int = 1) -> jax.Array:
    """Returns the sums of a table of terms along an axis, added pairwise.

    Args:
      terms: Terms, [S, BLOCK] or [BLOCK, S].
      axis: Axis of the block, whose size is a power of two.
    """
    while terms.shape[axis] > 1:
        terms = jnp.add(*jnp.split(terms, 2, axis))
    return terms.squeeze(axis)


def sum_of_blocks(
    block_sum: Callable[[jax.Array], jax.Array],
    num_texts: int,
    shape: tuple[int, ...],
    dtype: jnp.dtype,
) -> jax.Array:
    """Returns the sum of block_sum(start) over the blocks of texts."""
    starts = jnp.arange(0, num_texts, BLOCK)
    if jnp.issubdtype(dtype, jnp.floating):
        zero = jnp.zeros(shape, dtype)

        def step(carry, start):
            return two_sum(carry, block_sum(start)), None

        return jax.lax.scan(step, (zero, zero), starts)[0][0]

    def exact_step(total, start):
        return total + block_sum(start).astype(jnp.int64), None

    zero = jnp.zeros(shape, jnp.int64)
    return jax.lax.scan(exact_step, zero, starts)[0]


def two_sum(
    carry: tuple[jax.Array, jax.Array], term: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns (sum, rounding error) with the term and the error so far added.

    The rounding error of an addition is itself a float: Knuth's TwoSum finds it
    exactly, and it goes into the next addition.
    """
    total, error = carry
    term = term + error
    new = total + term
    seen = new - total
    error = (total - (new - seen)) + (term - seen)
    # The error of an infinite sum is infinity minus infinity: NaN.
    return new, jnp.where(jnp.isfinite(new), error, 0.0)


def sum_with_errors(sums: jax.Array, errors: jax.Array) -> jax.Array:
    """Returns the sum of sums over the first axis, their errors added."""
    while sums.shape[0] > 1:
        sums, errors = (padded(part, 2, axis=0) for part in (sums, errors))
        carry = sums[::2], errors[::2] + errors[1::2]
        sums, errors = two_sum(carry, sums[1::2])
    return sums[0] + errors[0]
