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
        """Refuses value heads that are no multiple of the key heads.

        Args:
          names: The config's names of the value heads and of the key heads,
            with a blank between.
        """
        values, keys = names.split()
        if min(self) < 1 or self.num_values % self.num_keys:
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
    q, k = (_normalised(x.reshape(B, T, K, D)) for x in (q, k))
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


def _normalised(x: jax.Array) -> jax.Array:
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
