"""The matrix memory of xLSTM (mLSTM), as products of chunks.

A head keeps a matrix that maps keys to values, and a vector that says how much
is in it. Both decay by a gate and take in a position's key and value by
another, whose exponential is kept in range by a running maximum. Inside a chunk
this is a product of masked scores, so that memory is linear in the length of
the text.

B batch, T and S position in a chunk, N heads, D key features, V value features.
"""

import jax
import jax.numpy as jnp

from mmc_jax.models import scans

# Positions of a chunk: its memory is square in this. A config's own chunk size
# changes the order of sums alone.
CHUNK = 64


def mlstm(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    log_input: jax.Array,
    log_forget: jax.Array,
    *,
    epsilon: float,
) -> jax.Array:
    """Returns what the queries read of the memories, float32 [B, T, N, V].

    With m_t = max(f_t + m_(t-1), i_t), a_t = exp(f_t + m_(t-1) - m_t) and
    b_t = exp(i_t - m_t), a position does C_t = a_t C_(t-1) + b_t k_t v_t^T and
    n_t = a_t n_(t-1) + b_t k_t, and reads
    C_t^T q_t / (max(|n_t . q_t|, exp(-m_t)) + epsilon), from C = 0, n = 0 and
    m = 0. Only epsilon makes m count.

    Args:
      query: Queries, scaled, float32 [B, T, N, D].
      key: Keys, float32 [B, T, N, D].
      value: Values, float32 [B, T, N, V].
      log_input: Logarithms of the shares that are taken in, i, of any sign,
        float32 [B, T, N].
      log_forget: Logarithms of the shares that are kept, f, at most 0, float32
        [B, T, N].
      epsilon: Number that is added to the divisor.

    Source: Beck et al., arXiv 2405.04517, eq. 19 to 27 and appendix A.3; in
    chunks, Beck et al., arXiv 2503.13427, appendix.

    >>> one = jnp.ones((1, 2, 1, 1))
    >>> gate = jnp.zeros((1, 2, 1))
    >>> y = mlstm(one, one, 3 * one, gate, gate, epsilon=0.0)
    >>> y.ravel().tolist()
    [3.0, 3.0]
    """

    def scan_chunk(state, chunk):
        memory, amount, largest = state
        # Positions last but one, of gates last.
        query, key, value = (jnp.moveaxis(x, 1, -2) for x in chunk[:3])
        log_input, log_forget = (jnp.moveaxis(x, 1, -1) for x in chunk[3:])
        sums = scans.segment_sums(log_forget)
        inside = sums + log_input[..., None, :]
        # From before the chunk to t.
        before = sums[..., 0] + log_forget[..., :1] + largest[..., None]
        largest = jnp.maximum(before, inside.max(axis=-1))
        inside = jnp.exp(inside - largest[..., None])
        before = jnp.exp(before - largest)
        scores = jnp.einsum("BNTD,BNSD->BNTS", query, key) * inside
        y = jnp.einsum("BNTS,BNSV->BNTV", scores, value)
        y += before[..., None] * jnp.einsum("BNTD,BNDV->BNTV", query, memory)
        known = before * jnp.einsum("BNTD,BND->BNT", query, amount)
        known = jnp.abs(scores.sum(axis=-1) + known)
        known = jnp.maximum(known, jnp.exp(-largest)) + epsilon
        kept = before[..., -1, None]
        taken = inside[..., -1, :, None] * key
        memory = kept[..., None] * memory
        memory += jnp.einsum("BNSD,BNSV->BNDV", taken, value)
        state = memory, kept * amount + taken.sum(axis=-2), largest[..., -1]
        return state, jnp.moveaxis(y / known[..., None], -2, 1)

    B, _, N, D = query.shape
    state = (
        jnp.zeros((B, N, D, value.shape[-1]), jnp.float32),
        jnp.zeros((B, N, D), jnp.float32),
        jnp.zeros((B, N), jnp.float32),
    )
    arrays = (query, key, value, log_input, log_forget)
    return scans.scan_chunks(scan_chunk, state, arrays, CHUNK)
