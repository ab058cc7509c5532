"""Gemma: Open Models Based on Gemini Research and Technology (2024).

By Mesnard et al., arXiv 2403.08295. Special:
  - embeddings times sqrt(D), a factor rounded to the parameters' dtype;
  - RMSNorm whose weight is 1 + w, multiplied in float32;
  - a gated MLP with a tanh gelu (old files say `gelu`, Hugging Face's config
    means the same by it);
  - heads of 256 features, one key head in the 2B; tied head.

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


class Embed(layers.Embed):
    """A table of vectors, each times sqrt(D) when it is looked up."""

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = super().__call__(tokens)
        return x * jnp.asarray(self.features**0.5, x.dtype)


class RMSNorm(nnx.Module):
    """x / rms(x) * (1 + w), all in float32."""

    def __init__(self, num_features: int, *, epsilon: float):
        self.epsilon = epsilon
        self.weight = nnx.Param(jnp.zeros(num_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        square = jnp.mean(y * y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(square + self.epsilon)
        y = y * (1.0 + self.weight[...].astype(jnp.float32))
        return y.astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: transformers.GemmaConfig, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, width: int, inner: int, act: str, *, rngs: nnx.Rngs):
        self.gate_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: transformers.GemmaConfig, *, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, epsilon=epsilon)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = RMSNorm(width, epsilon=epsilon)
        self.mlp = MLP(
            width, config.intermediate_size, config.hidden_act, rngs=rngs
        )

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.GemmaConfig, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm = RMSNorm(config.hidden_size, epsilon=config.rms_norm_eps)

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
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Gemma with its head, from Hugging Face's `GemmaConfig`.

    Raises:
      ValueError: Attention in both directions, an activation or a kind of
        rotary scaling is not ported.
    """

    def __init__(self, config: transformers.GemmaConfig, *, rngs: nnx.Rngs):
        if config.use_bidirectional_attention:
            raise ValueError("use_bidirectional_attention=True is not ported")
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
