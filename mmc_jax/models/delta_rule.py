"""Linear attention by the gated delta rule, as products of chunks.

A head keeps a matrix, the state, that maps keys to values. Each position first
lets it decay, then corrects what it says of the position's key. The corrections
of a chunk are one triangular system (the WY form of its Householder-like
factors). It is solved by products of blocks. So memory is linear in the length
of the text.

B batch, T and S position in a chunk, K key heads, G value heads a key head, D
key features, V value features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mmc_jax.models import scans

# Positions of a chunk: its memory is square in this, and so are the products
# that solve its system. Of 32, 64 and 128 the fastest on CPUs.
CHUNK = 32
# Positions that are compared feature by feature, where features decay each by
# itself: a divisor of the chunk.
_BLOCK = 8


class Heads(NamedTuple):
    """The heads of a layer, value heads in groups that share a key head.

    Attributes:
      num_keys: Number of key heads, K; as many are those of queries.
      num_values: Number of value heads, K G.
      key_dim: Number of features of a key, D.
      value_dim: Number of features of a value, V.
    """

    num_keys: int
    num_values: int
    key_dim: int
    value_dim: int

    @property
    def keys(self) -> int:
        """Number of features of all keys."""
        return self.num_keys * self.key_dim

    @property
    def values(self) -> int:
        """Number of features of all values."""
        return self.num_values * self.value_dim

    def check(self, names: str):
        """Refuses value heads that are no multiple of the key heads, and zeros.

        Args:
          names: The config's names of the value heads and of the key heads,
            with a blank between.
        """
        values, keys = names.split()
        if min(self) < 1:
            raise ValueError(
                f"{values} {self.num_values} of {self.value_dim} features and "
                f"{keys} {self.num_keys} of {self.key_dim}: all are at least 1"
            )
        if self.num_values % self.num_keys:
            raise ValueError(
                f"{values} {self.num_values} is no multiple of {keys} "
                f"{self.num_keys}"
            )


def linear_attention(
    qkv: jax.Array,
    rate: jax.Array,
    step: jax.Array,
    A_log: jax.Array,
    dt_bias: jax.Array,
    heads: Heads,
) -> jax.Array:
    """Returns the heads of a Gated DeltaNet, float32 [B, T, K G, V].

    Queries and keys have length 1, and the logarithm of a decay is
    -exp(A_log) softplus(step + dt_bias).

    Args:
      qkv: Queries, keys and values, [B, T, 2 keys + values].
      rate: Shares of a correction that are made, 0 to 2, [B, T, K G].
      step: Steps before their bias, [B, T, K G].
      A_log: Logarithms of the rates of decay, [K G].
      dt_bias: Bias of the steps, [K G].
      heads: Number and sizes of the heads.

    Source: Yang, Kautz and Hatamizadeh, arXiv 2412.06464, section 3.4.
    """
    B, T, _ = qkv.shape
    K, D, V = heads.num_keys, heads.key_dim, heads.value_dim
    q, k, v = jnp.split(qkv, [heads.keys, 2 * heads.keys], axis=-1)
    q, k = (normalised(x.reshape(B, T, K, D)) for x in (q, k))
    step = step.astype(jnp.float32) + dt_bias.astype(jnp.float32)
    log_decay = -jnp.exp(A_log.astype(jnp.float32)) * jax.nn.softplus(step)
    y = gated_delta_rule(
        q * D**-0.5,
        k,
        v.astype(jnp.float32).reshape(B, T, K, -1, V),
        log_decay.reshape(B, T, K, -1),
        rate.astype(jnp.float32).reshape(B, T, K, -1),
    )
    return y.reshape(B, T, heads.num_values, V)


def gated_delta_rule(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    log_decay: jax.Array,
    rate: jax.Array,
) -> jax.Array:
    """Returns what the queries read of the states, float32 [B, T, K, G, V].

    S_t = a_t S_(t-1) + r_t k_t (v_t - a_t S_(t-1)^T k_t)^T and y_t = S_t^T q_t
    with a = exp(log_decay), from S = 0. So right padding never reaches earlier
    positions.

    Args:
      query: Queries, float32 [B, T, K, D].
      key: Keys, float32 [B, T, K, D], of length 1 or less where rates go up to
        2, so that no state grows without bound.
      value: Values, float32 [B, T, K, G, V].
      log_decay: Logarithms of the factors by which a state decays, at most 0,
        float32 [B, T, K, G].
      rate: Shares of a correction that are made, 0 to 2, float32 [B, T, K, G].

    Source: Yang, Kautz and Hatamizadeh, arXiv 2412.06464, eq. 10 and section
    3.3; the WY form is that of Yang et al., arXiv 2406.06484.

    >>> one = jnp.ones((1, 2, 1, 1))
    >>> value = jnp.array([3.0, 5.0]).reshape(1, 2, 1, 1, 1)
    >>> gated_delta_rule(one, one, value, 0 * one, one / 2).ravel().tolist()
    [1.5, 3.25]
    """

    def scan_chunk(state, chunk):
        # Positions last but one: [B, K, T, D], [B, K, G, T, V], [B, K, G, T].
        query, key, value = (jnp.moveaxis(x, 1, -2) for x in chunk[:3])
        log_decay, rate = (jnp.moveaxis(x, 1, -1) for x in chunk[3:])
        sums = scans.segment_sums(log_decay)
        decay = jnp.exp(sums)
        # From before the chunk to t, and from s to its end.
        before = jnp.exp(sums[..., 0] + log_decay[..., :1])[..., None]
        after = decay[..., -1, :, None]
        products = jnp.einsum("BKTD,BKSD->BKTS", key, key)[:, :, None]
        known = before * jnp.einsum("BKTD,BKGDV->BKGTV", key, state)
        change = solve(
            rate[..., None] * decay * products,
            rate[..., None] * (value - known),
        )
        scores = jnp.einsum("BKTD,BKSD->BKTS", query, key)[:, :, None] * decay
        y = jnp.einsum("BKGTS,BKGSV->BKGTV", scores, change)
        y += before * jnp.einsum("BKTD,BKGDV->BKGTV", query, state)
        inflow = jnp.einsum("BKSD,BKGSV->BKGDV", key, after * change)
        return before[..., -1:, :] * state + inflow, jnp.moveaxis(y, -2, 1)

    B, _, K, G, V = value.shape
    state = jnp.zeros((B, K, G, key.shape[-1], V), jnp.float32)
    arrays = (query, key, value, log_decay, rate)
    return scans.scan_chunks(scan_chunk, state, arrays, CHUNK)


def channel_delta_rule(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    log_decay: jax.Array,
    rate: jax.Array,
) -> jax.Array:
    """Returns what the queries read of the states, float32 [B, T, K, V].

    As `gated_delta_rule`, but each feature of a key decays by itself:
    S_t = a_t S_(t-1) + r_t k_t (v_t - (a_t S_(t-1))^T k_t)^T with a_t =
    diag(exp(log_decay_t)), and y_t = S_t^T q_t, from S = 0.

    Args:
      query: Queries, float32 [B, T, K, D].
      key: Keys of length 1, float32 [B, T, K, D].
      value: Values, float32 [B, T, K, V].
      log_decay: Logarithms of the factors by which a state's features decay, at
        most 0, float32 [B, T, K, D].
      rate: Shares of a correction that are made, 0 to 1, float32 [B, T, K].

    Source: Kimi Team, arXiv 2510.26692, eq. 1 and section 3.
    """

    def scan_chunk(state, chunk):
        query, key, value, log_decay = (
            jnp.moveaxis(x, 1, -2) for x in chunk[:4]
        )
        rate = jnp.moveaxis(chunk[4], 1, -1)[..., None]
        both = jnp.stack([query, key])
        scores, products = channel_scores(both, key, log_decay)
        # From before the chunk to t, and from s to its end.
        before = jnp.exp(jnp.cumsum(log_decay, axis=-2))
        after = jnp.exp(_sums_behind(log_decay))
        read, known = jnp.einsum("ZBKTD,BKDV->ZBKTV", before * both, state)
        change = solve(rate * products, rate * (value - known))
        y = jnp.einsum("BKTS,BKSV->BKTV", scores, change) + read
        inflow = jnp.einsum("BKSD,BKSV->BKDV", after * key, change)
        state = before[..., -1, :, None] * state + inflow
        return state, jnp.moveaxis(y, -2, 1)

    B, T, K, V = value.shape
    # Blocks of a chunk are of one length.
    pad = -T % _BLOCK
    arrays = tuple(
        jnp.pad(x, ((0, 0), (0, pad), *(x.ndim - 2) * [(0, 0)]))
        for x in (query, key, value, log_decay, rate)
    )
    state = jnp.zeros((B, K, key.shape[-1], V), jnp.float32)
    return scans.scan_chunks(scan_chunk, state, arrays, CHUNK)[:, :T]


def channel_scores(
    left: jax.Array, key: jax.Array, log_decay: jax.Array
) -> jax.Array:
    """Returns products of features that decay each by itself: [..., T, T].

    sum_d left_td k_sd exp(sum_(s < r <= t) log_decay_rd) where s <= t, and 0
    elsewhere.

    A product of two factors, one a position, would need exp of what is far
    above 0. So only positions of one block are compared one by one. Between
    blocks the decay goes over the beginning of the later block: both factors
    are at most 1.

    Args:
      left: Left sides, [..., T, D]; T is a multiple of the block's length.
      key: Keys, of a shape that broadcasts to that of `left`.
      log_decay: Logarithms of decays, at most 0, of the keys' shape.
    """

    def blocks(x):  # [..., T, D] -> T / block arrays [..., block, D]
        return jnp.split(x, x.shape[-2] // _BLOCK, axis=-2)

    T = key.shape[-2]
    rows, past = [], []
    for one, own, decay in zip(
        blocks(left), blocks(key), blocks(log_decay), strict=True
    ):
        sums = scans.segment_sums(jnp.swapaxes(decay, -1, -2))
        inside = jnp.einsum(
            "...TD,...SD,...DTS->...TS", one, own, jnp.exp(sums)
        )
        turned = one * jnp.exp(jnp.cumsum(decay, axis=-2))
        row = [turned @ jnp.swapaxes(other, -1, -2) for other in past]
        right = T - _BLOCK * (len(past) + 1)
        empty = jnp.zeros((*inside.shape[:-1], right), inside.dtype)
        rows.append(jnp.concatenate([*row, inside, empty], axis=-1))
        total = jnp.exp(decay.sum(axis=-2, keepdims=True))
        past = [total * other for other in past]
        past.append(own * jnp.exp(_sums_behind(decay)))
    return jnp.concatenate(rows, axis=-2)


def _sums_behind(x: jax.Array) -> jax.Array:
    """Returns sum_(r > t) x_r of the last axis but one: [..., T, D].

    Not the difference of two sums, which would lose small ones to rounding.
    """
    behind = jnp.concatenate([x[..., 1:, :], 0 * x[..., :1, :]], axis=-2)
    return jax.lax.cumsum(behind, axis=x.ndim - 2, reverse=True)


def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Returns x with x + L x = right, L what is below the diagonal of `matrix`.

    The inverse of 1 + L is built of that of its diagonal blocks: of the inverse
    of two neighbours, X, and of what L has between them, M, it is X - X M X.
    Blocks double from one row on. This is forward substitution by blocks, so
    it is as exact as that; powers of L would overflow or cancel where a text
    repeats itself. XLA's own solver takes 8 times as long on CPUs.

    Args:
      matrix: Square matrices, [..., T, T].
      right: Right sides, [..., T, V].
    """
    T = matrix.shape[-1]
    row, column = jnp.arange(T)[:, None], jnp.arange(T)
    inverse, size = jnp.eye(T, dtype=matrix.dtype), 1
    while size < T:
        between = (row // size == column // size + 1) & (row // size % 2 == 1)
        block = jnp.where(between, matrix, 0)
        if size == 1:
            inverse = inverse - block
        else:
            inverse = inverse - inverse @ block @ inverse
        size *= 2
    return inverse @ right


def normalised(x: jax.Array) -> jax.Array:
    """Returns vectors of length 1, float32: x / sqrt(x . x + 1e-6).

    The epsilon is fixed in all published models.

    Args:
      x: Vectors along the last axis.
    """
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)


class GatedRMSNorm(nnx.Module):
    """The RMSNorm of each head's features, times silu of a gate.

    Args:
      num_features: Number of features of a head, V.
      epsilon: Number that is added to the mean square.
    """

    def __init__(self, num_features: int, *, epsilon: float):
        self.weight = nnx.Param(jnp.ones(num_features))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x [..., V], float32, normalised, in the gate's dtype."""
        square = jnp.mean(x * x, axis=-1, keepdims=True)
        x = (x * jax.lax.rsqrt(square + self.epsilon)).astype(gate.dtype)
        x = (self.weight[...] * x).astype(jnp.float32)
        return (x * jax.nn.silu(gate.astype(jnp.float32))).astype(gate.dtype)
