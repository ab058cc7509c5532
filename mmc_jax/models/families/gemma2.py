"""Gemma 2: Improving Open Language Models at a Practical Size (2024).

By Riviere et al., arXiv 2408.00118. Special:
  - as Gemma: embeddings times sqrt(D), norms whose weight is 1 + w, a gated
    MLP with a tanh gelu, tied head;
  - an RMSNorm before and one after each sublayer;
  - soft caps: cap tanh(x / cap), on the attention scores and on the logits;
  - scores times `query_pre_attn_scalar`^-0.5;
  - a window in every other layer, from the first.

B batch, T query position, S key position, N query heads, K key heads, H head
features, D width, F MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families.gemma import MLP, Embed, RMSNorm
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)


class Attention(nnx.Module):
    """Grouped-query attention with capped scores and a window."""

    def __init__(self, config: transformers.Gemma2Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        self.scale = config.query_pre_attn_scalar**-0.5
        self.cap = config.attn_logit_softcapping
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        scores = soft_cap(self.scale * layers.attention_scores(q, k), self.cap)
        x = layers.attend(scores, v, layers.causal_mask(T, window))
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, each between two RMSNorms, added to its input."""

    def __init__(self, config: transformers.Gemma2Config, *, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, epsilon=epsilon)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = RMSNorm(width, epsilon=epsilon)
        self.pre_feedforward_layernorm = RMSNorm(width, epsilon=epsilon)
        self.mlp = MLP(
            width, config.intermediate_size, config.hidden_activation, rngs=rngs
        )
        self.post_feedforward_layernorm = RMSNorm(width, epsilon=epsilon)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        y = self.self_attn(self.input_layernorm(x), positions, window)
        x = x + self.post_attention_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(y)


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.Gemma2Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.windows = layers.windows(config.layer_types, config.sliding_window)
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
            lambda x, layer: (layer[0](x, positions, layer[1]), None),
            self.embed_tokens(tokens),
            (self.layers, jnp.array(self.windows)),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Gemma 2 with its head, from Hugging Face's `Gemma2Config`.

    Raises:
      ValueError: Attention in both directions, a type of layer, an activation
        or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.Gemma2Config, *, rngs: nnx.Rngs):
        if config.use_bidirectional_attention:
            raise ValueError("use_bidirectional_attention=True is not ported")
        self.cap = config.final_logit_softcapping
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
        """Returns the head's output, capped: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return soft_cap(self.model.embed_tokens.attend(hidden), self.cap)
        return soft_cap(self.lm_head(hidden), self.cap)


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
    """Returns cap tanh(x / cap), or x without a cap."""
    return x if cap is None else cap * jnp.tanh(x / cap)
