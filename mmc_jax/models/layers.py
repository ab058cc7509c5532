"""What the families share: stacks of layers, rotary positions, attention.

B batch, T query position, S key position, N query heads, K key heads, H head
features, R rotated features of a head, L layers.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

# Hugging Face's names of activations. Its "gelu" is exact; jax.nn.gelu is not
# unless told.
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_fast": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


class LanguageModel(nnx.Module):
    """What every family offers; a family defines the first two methods."""

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        raise NotImplementedError

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output for any positions: [..., D] -> [..., V]."""
        raise NotImplementedError

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Returns the logits of the next token: [B, T] -> [B, T, V]."""
        return self.logits(self.hidden_states(tokens))


class Embed(nnx.Embed):
    """A table of vectors, in the dtype of its parameter.

    Flax keeps the dtype in which the table was made; all that follows a table
    loaded in bfloat16 would then be float32.
    """

    def __init__(self, num_embeddings: int, features: int, *, rngs: nnx.Rngs):
        super().__init__(num_embeddings, features, rngs=rngs)
        self.dtype = None


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Returns the activation of that name in Hugging Face's `ACT2FN`.

    Raises:
      ValueError: It is not ported.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"activation {name!r} is not ported; ported are "
            f"{', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def stack(
    block: Callable[[nnx.Rngs], nnx.Module], num_layers: int, rngs: nnx.Rngs
) -> nnx.Module:
    """Returns `num_layers` blocks in one, each parameter with an axis [L].

    `jax.lax.scan(lambda x, block: (block(x), None), x, stacked)` runs them.
    """
    return nnx.split_rngs(splits=num_layers)(nnx.vmap(block))(rngs)


def inverse_frequencies(
    rope_parameters: dict[str, Any], head_dim: int
) -> jax.Array:
    """Returns the rotary angle of one position step: float32 [R / 2].

    theta_i = base^(-2i / R), R = head_dim * partial_rotary_factor; `linear`
    divides all angles by a factor (Chen et al., arXiv 2306.15595); `llama3`
    divides only those of wavelengths that the original context never saw whole
    (Llama 3.1's release).

    Source: RoFormer, Su et al., arXiv 2104.09864, eq. 15.

    Raises:
      ValueError: A kind of scaling, or a parameter of it, is not ported.
    """
    known = {"rope_type", "rope_theta", "partial_rotary_factor", "factor"}
    known.add("type")  # The old name of rope_type, which transformers copies.
    llama3 = {
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    }
    rope_type = rope_parameters["rope_type"]
    if rope_type not in ("default", "linear", "llama3"):
        raise ValueError(
            f"rope_parameters: rope_type {rope_type!r} is not ported; ported "
            "are default, linear, llama3"
        )
    unknown = set(rope_parameters) - known - llama3
    if unknown:
        raise ValueError(f"rope_parameters: {sorted(unknown)} are not ported")
    rotated = int(head_dim * rope_parameters.get("partial_rotary_factor", 1.0))
    steps = jnp.arange(0, rotated, 2, dtype=jnp.float32) / rotated
    frequencies = 1.0 / (rope_parameters["rope_theta"] ** steps)
    if rope_type == "default":
        return frequencies
    factor = rope_parameters["factor"]
    if rope_type == "linear":
        return frequencies / factor
    # How far a wavelength is from the low to the high frequency corner, as a
    # fraction: 0 is scaled in full, 1 is left alone.
    low = rope_parameters["low_freq_factor"]
    high = rope_parameters["high_freq_factor"]
    context = rope_parameters["original_max_position_embeddings"]
    turns = context * frequencies / (2 * math.pi)
    kept = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 - kept) * frequencies / factor + kept * frequencies


def rotate(x: jax.Array, frequencies: jax.Array) -> jax.Array:
    """Returns heads x [B, T, N, H] turned by their positions 0 to T - 1.

    The first R features turn, feature i together with i + R / 2; the others
    pass. Angles and the rotation are in float32, the result in x's dtype.

    Source: RoFormer, Su et al., arXiv 2104.09864, in the half-split layout of
    GPT-NeoX.
    """
    half = frequencies.shape[0]
    positions = jnp.arange(x.shape[1], dtype=jnp.float32)
    angles = (positions[:, None] * frequencies)[:, None, :]  # [T, 1, R / 2]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first = x[..., :half].astype(jnp.float32)
    second = x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return jnp.concatenate(
        [turned.astype(x.dtype), x[..., 2 * half :]], axis=-1
    )


def causal_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    scale: float,
    window: int | None = None,
) -> jax.Array:
    """Returns causal attention of grouped heads: [B, T, N, H].

    Softmax in float32 over the keys s <= t, with a window also s > t - window.
    Right padding needs no mask: later positions never reach earlier ones.

    Args:
      query: [B, T, N, H].
      key: [B, T, K, H]; K divides N.
      value: [B, T, K, H].
      scale: Factor of the scores, often H^-0.5.
      window: Number of positions that a query sees, its own included.
    """
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        scale=scale,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
    )
