"""XGLM: Few-shot Learning with Multilingual Generative Language Models (2021).

By Lin et al., arXiv 2112.10668. Special:
  - sinusoidal positions, all sines then all cosines, from position 2 on;
  - embeddings times the root of the width (`scale_embedding`);
  - LayerNorm before each sublayer and at the end; tied head.

B batch, T position, N heads, H head features, D width, F MLP width, V
vocabulary, L layers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding

PREFIX = "model."
LAYERS = "model.layers"
# The table of sinusoids, which older files carry.
IGNORED = (r"\.embed_positions\.weights$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns("fc1"),
    *sharding.rows("out_proj", "fc2"),
)

# PyTorch's default, in no config.
_EPSILON = 1e-5
# The first token stands at this position.
_OFFSET = 2


class Attention(nnx.Module):
    """Multi-head attention."""

    def __init__(self, config: transformers.XGLMConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"d_model {width} is no multiple of attention_heads "
                f"{self.num_heads}"
            )
        self.q_proj = layers.Linear(width, width, rngs=rngs)
        self.k_proj = layers.Linear(width, width, rngs=rngs)
        self.v_proj = layers.Linear(width, width, rngs=rngs)
        self.out_proj = layers.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, D = x.shape
        q = self.q_proj(x).reshape(B, T, self.num_heads, -1)
        k = self.k_proj(x).reshape(B, T, self.num_heads, -1)
        v = self.v_proj(x).reshape(B, T, self.num_heads, -1)
        x = layers.causal_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.out_proj(x.reshape(B, T, D))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.XGLMConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.ffn_dim
        self.self_attn_layer_norm = _layer_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.final_layer_norm = _layer_norm(config, rngs)
        self.fc1 = layers.Linear(width, inner, rngs=rngs)
        self.fc2 = layers.Linear(inner, width, rngs=rngs)
        self.act = layers.activation(config.activation_function)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(self.act(self.fc1(self.final_layer_norm(x))))


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.XGLMConfig, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.scale = math.sqrt(width) if config.scale_embedding else 1.0
        self.embed_tokens = layers.Embed(config.vocab_size, width, rngs=rngs)
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.layer_norm = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed_tokens(tokens) * self.scale
        x = x + sinusoids(*x.shape[1:]).astype(x.dtype)
        x, _ = jax.lax.scan(lambda x, layer: (layer(x), None), x, self.layers)
        return self.layer_norm(x)


class CausalLM(layers.LanguageModel):
    """XGLM with its head, from Hugging Face's `XGLMConfig`.

    Raises:
      ValueError: Cross attention, an activation that is not ported, or a
        padding token whose number is that of a position.
    """

    def __init__(self, config: transformers.XGLMConfig, *, rngs: nnx.Rngs):
        if config.add_cross_attention:
            raise ValueError("add_cross_attention=True is not ported")
        # Transformers blanks the row of that number in the position table.
        padding = config.pad_token_id
        if padding is not None and padding >= _OFFSET:
            raise ValueError(f"pad_token_id={padding} is not ported")
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden)
        return self.lm_head(hidden)


def sinusoids(num_positions: int, width: int) -> jax.Array:
    """Returns sines, then cosines, of angles p 10000^(-i / (D/2 - 1)): [T, D].

    Float32; a last column of zeros where D is odd. Positions start at 2.

    Source: tensor2tensor's, which XGLM uses; the exponent differs from that of
    Vaswani et al., arXiv 1706.03762, section 3.5.
    """
    half = width // 2
    steps = np.arange(half, dtype=np.float32)
    step = np.float32(-math.log(10000) / (half - 1))
    positions = jnp.arange(num_positions, dtype=jnp.float32) + _OFFSET
    angles = positions[:, None] * np.exp(steps * step)
    table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
    return jnp.pad(table, ((0, 0), (0, width % 2)))


def _layer_norm(
    config: transformers.XGLMConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=_EPSILON,
        use_fast_variance=False,
        rngs=rngs,
    )
