"""The kernels in plain XLA, for any device; the contract is in kernels.py.

M models, X texts, S subsets.

Texts are taken a block at a time. Within a block the terms are added pairwise,
by additions written out one by one (XLA adds a `reduce` in an order of its
own); from block to block the rounding error is carried along. So

- a sum is off by at most log2(128) + 2 roundings: 5.4e-7 in float32;
- the order of the additions depends on X alone: a subset has the same sum, to
  the last bit, from either kernel, in any batch and at any place in it;
- nothing larger than [S, M], [S, X] or [M, X] exists.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# Texts in a block, a power of two. `min_sum` writes a block out as one
# elementwise loop over [S, M]: blocks of 64 pass over memory more often, blocks
# of 256 run out of registers (3 times slower on a CPU).
_BLOCK = 128

# Models that `minima` takes in one elementwise loop, a power of two. On a CPU
# XLA stops vectorising that loop at 8 and at 12 models (3 and 10 times slower);
# 32 are no faster.
_GROUP = 16

# Subsets that `oracle_sums` works on at once: 2 MB of float32 a block.
_TILE = 4096


@jax.jit
def oracle_sums(
    losses: jax.Array, masks: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix: [S]."""
    num_subsets, num_models = masks.shape
    num_texts = losses.shape[1]
    losses = _in_whole_blocks(_weighted(losses, weights))

    def tile_sums(masks):
        def block_sum(start):
            least = minima(_block(losses, start), masks)
            return _pairwise_sum([least[:, x] for x in range(_BLOCK)])

        return _sum_of_blocks(
            block_sum, num_texts, masks.shape[:1], losses.dtype
        )

    tile = max(1, min(num_subsets, _TILE))
    num_tiles = -(-num_subsets // tile)
    tiles = jnp.pad(masks, ((0, num_tiles * tile - num_subsets), (0, 0)))
    tiles = tiles.reshape(num_tiles, tile, num_models)
    return jax.lax.map(tile_sums, tiles).reshape(-1)[:num_subsets]


@jax.jit
def min_sum(
    values: jax.Array, losses: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx): [S, M]."""
    num_models, num_texts = losses.shape
    if num_texts == 0:
        return jnp.zeros((values.shape[0], num_models), losses.dtype)
    values = _in_whole_blocks(_weighted(values, weights))
    losses = _in_whole_blocks(_weighted(losses, weights))
    # Rows of a length that fills vector registers: up to 1.5 times as fast.
    losses = jnp.pad(losses, ((0, -num_models % _GROUP), (0, 0)))
    transposed = losses.T

    def block_sum(start):
        value = _block(values, start)
        loss = jax.lax.dynamic_slice_in_dim(transposed, start, _BLOCK)
        return _pairwise_sum(
            [jnp.minimum(value[:, x, None], loss[x]) for x in range(_BLOCK)]
        )

    shape = (values.shape[0], losses.shape[0])
    sums = _sum_of_blocks(block_sum, num_texts, shape, losses.dtype)
    return sums[:, :num_models]


def minima(losses: jax.Array, masks: jax.Array) -> jax.Array:
    """Returns the least loss of each subset on each text: [S, X].

    out_sx = min_{i in S} L_ix; infinity for the empty subset
    """
    num_models, num_texts = losses.shape
    num_subsets = masks.shape[0]
    pad = -num_models % _GROUP
    losses = jnp.pad(losses, ((0, pad), (0, 0)))
    masks = jnp.pad(masks, ((0, 0), (0, pad)))

    def step(least, group):
        member, loss = group
        terms = [
            jnp.where(member[i, :, None], loss[i], jnp.inf)
            for i in range(_GROUP)
        ]
        while len(terms) > 1:
            pairs = zip(terms[::2], terms[1::2], strict=True)
            terms = [jnp.minimum(a, b) for a, b in pairs]
        return jnp.minimum(least, terms[0]), None

    num_groups = (num_models + pad) // _GROUP
    groups = (
        masks.T.reshape(num_groups, _GROUP, num_subsets),
        losses.reshape(num_groups, _GROUP, num_texts),
    )
    least = jnp.full((num_subsets, num_texts), jnp.inf, losses.dtype)
    return jax.lax.scan(step, least, groups)[0]


def _weighted(table: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Returns w_x times each column of the table [rows, X].

    w min(V, L) = min(w V, w L) for w >= 0, to the last bit, and so the weights
    cost nothing in the loop over pairs.
    """
    if weights is None:
        return table
    weights = jnp.where(weights >= 0, weights, jnp.nan)
    absent = (weights == 0) & jnp.isinf(table)  # 0 times infinity is NaN.
    return jnp.where(absent, 0.0, weights * table)


def _in_whole_blocks(table: jax.Array) -> jax.Array:
    """Returns the table [rows, X] with texts of loss 0 added at its end."""
    return jnp.pad(table, ((0, 0), (0, -table.shape[1] % _BLOCK)))


def _block(table: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(table, start, _BLOCK, axis=1)


def _pairwise_sum(terms: Sequence[jax.Array]) -> jax.Array:
    """Returns the sum of the terms, a power of two of them."""
    while len(terms) > 1:
        half = len(terms) // 2
        pairs = zip(terms[:half], terms[half:], strict=True)
        terms = [a + b for a, b in pairs]
    return terms[0]


def _sum_of_blocks(
    block_sum: Callable[[jax.Array], jax.Array],
    num_texts: int,
    shape: tuple[int, ...],
    dtype: jnp.dtype,
) -> jax.Array:
    """Returns the sum of block_sum(start) over the blocks of texts.

    The rounding error of an addition is itself a float: Knuth's TwoSum finds it
    exactly, and it goes into the next block.
    """

    def step(carry, start):
        total, error = carry
        block = block_sum(start) + error
        new = total + block
        seen = new - total
        error = (total - (new - seen)) + (block - seen)
        # The error of an infinite sum is infinity minus infinity: NaN.
        return (new, jnp.where(jnp.isfinite(new), error, 0.0)), None

    zero = jnp.zeros(shape, dtype)
    starts = jnp.arange(0, num_texts, _BLOCK)
    (total, _), _ = jax.lax.scan(step, (zero, zero), starts)
    return total
