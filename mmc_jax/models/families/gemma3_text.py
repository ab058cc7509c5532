"""Gemma 3 Technical Report (2025).

By Kamath et al., arXiv 2503.19786. Special:
  - as Gemma 2: embeddings times sqrt(D), norms whose weight is 1 + w and that
    stand before and after each sublayer, scores times
    `query_pre_attn_scalar`^-0.5, tied head; no cap on the scores;
  - an RMSNorm over the features of each query and key head, before they turn;
  - five layers with a window, then one without; rotary positions of their own
    for the two types of layer;
  - the larger models see: of their checkpoints (`model_type` gemma3) this is
    the text tower, and the vision tower is left aside.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families.gemma import MLP, Embed, RMSNorm
from mmc_jax.models.families.gemma2 import soft_cap
from mmc_jax.models.rotary import Rotary, rotary_by_layer, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {
    "_sliding_window_pattern": "layer_types holds what it says",
}


class Attention(nnx.Module):
    """Grouped-query attention with normalised queries and keys, a window."""

    def __init__(
        self, config: transformers.Gemma3TextConfig, *, rngs: nnx.Rngs
    ):
        self.head_dim = config.head_dim
        self.scale = config.query_pre_attn_scalar**-0.5
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.q_norm = RMSNorm(self.head_dim, epsilon=config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, epsilon=config.rms_norm_eps)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        k = self.k_norm(self.k_proj(x).reshape(B, T, -1, self.head_dim))
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.scale, window=window)
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, each between two RMSNorms, added to its input."""

    def __init__(
        self, config: transformers.Gemma3TextConfig, *, rngs: nnx.Rngs
    ):
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

    def __init__(
        self, config: transformers.Gemma3TextConfig, *, rngs: nnx.Rngs
    ):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.layer_types = tuple(config.layer_types)
        self.windows = layers.windows(config.layer_types, config.sliding_window)
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
        return rotary_by_layer(
            self.rope_parameters,
            self.layer_types,
            self.head_dim,
            self.max_positions,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, *layer[1:]), None),
            self.embed_tokens(tokens),
            (self.layers, self.positions(), jnp.array(self.windows)),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Gemma 3 with its head, from Hugging Face's `Gemma3TextConfig`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(
        self, config: transformers.Gemma3TextConfig, *, rngs: nnx.Rngs
    ):
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
