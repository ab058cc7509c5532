"""Attention with linear biases (ALiBi): a slope for each head, no positions.

By Press et al., 2022, arXiv 2108.12409.

B batch, T query position, S key position, N query heads, K key heads, H head
features.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax.models import layers


def slopes(num_heads: int) -> np.ndarray:
    """Returns what a step of distance costs in each head, float32 [N].

    With N a power of two, 2^(-8 i / N) for head i = 1..N. Otherwise those of
    the next lower power P come first, then every other one of 2 P, from the
    first.

    Source: Press et al., arXiv 2108.12409, section 3 and their code.

    >>> slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** math.floor(math.log2(num_heads))
    first = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    more = 2.0 ** (-8 * np.arange(1, 2 * power, 2) / (2 * power))
    return np.concatenate([first, more])[:num_heads].astype(np.float32)


def causal_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, *, scale: float
) -> jax.Array:
    """Returns causal attention with linear biases: [B, T, N, H].

    softmax_s(scale q_t . k_s - slope (t - s)), float32, over s <= t.
    Transformers adds slope * s, which the softmax cannot tell from this; the
    distance keeps more digits.

    Args:
      query: [B, T, N, H].
      key: [B, T, K, H]; K divides N.
      value: [B, T, K, H].
      scale: Factor of the scores, often H^-0.5.
    """
    _, T, N, _ = query.shape
    distance = (jnp.arange(T)[:, None] - jnp.arange(T)).astype(jnp.float32)
    bias = jnp.array(slopes(N))[:, None, None] * distance
    scores = layers.attention_scores(query, key) * scale - bias
    return layers.attend(scores, value, layers.causal_mask(T))
