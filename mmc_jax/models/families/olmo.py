"""OLMo: Accelerating the Science of Language Models (2024).

By Groeneveld et al., arXiv 2402.00838. Special:
  - as LLaMA: rotary positions, a gated MLP, a norm before each sublayer and at
    the end;
  - the norm is a LayerNorm without any weights;
  - perhaps query, key and value are clipped (`clip_qkv`).

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

_EPSILON = 1e-5  # No attribute of the config; so in transformers and in OLMo.


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions, perhaps clipped."""

    def __init__(self, config: transformers.OlmoConfig, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.limit = config.clip_qkv
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.limit is not None:
            q, k, v = (jnp.clip(y, -self.limit, self.limit) for y in (q, k, v))
        q, k, v = (y.reshape(B, T, -1, self.head_dim) for y in (q, k, v))
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.OlmoConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.OlmoConfig, *, rngs: nnx.Rngs):
        self.self_attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(_layer_norm(x), positions)
        return x + self.mlp(_layer_norm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.OlmoConfig, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.embed_tokens(tokens),
            self.layers,
        )
        return _layer_norm(x)


class CausalLM(layers.LanguageModel):
    """OLMo with its head, from Hugging Face's `OlmoConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.OlmoConfig, *, rngs: nnx.Rngs):
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


def _layer_norm(x: jax.Array) -> jax.Array:
    """Returns x less its mean, over its deviation, in x's dtype."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + _EPSILON)).astype(x.dtype)
