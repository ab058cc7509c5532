"""Phi-3 Technical Report: a capable model locally on your phone (2024).

By Abdin et al., arXiv 2404.14219; also Phi-3.5, phi-4 (arXiv 2412.08905) and
Phi-4-mini (arXiv 2503.01743). Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key
    heads, a gated MLP;
  - one fused projection for query, key and value, one for gate and up;
  - a window, in which a query sees its own and the keys before it;
  - rotary positions on a share of each head; LongRoPE in the long-context
    models, ported up to the original context.

Longer than most families for its fused layers and their two rotary kinds.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns("qkv_proj", "gate_up_proj"),
)
INERT = {
    "original_max_position_embeddings": "rope_parameters holds it",
}


class Attention(nnx.Module):
    """Grouped-query attention with one projection for query, key and value."""

    def __init__(self, config: transformers.Phi3Config, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.window = config.sliding_window
        width, H = config.hidden_size, self.head_dim
        self.num_query = config.num_attention_heads * H
        self.num_key = config.num_key_value_heads * H
        fused = self.num_query + 2 * self.num_key
        self.qkv_proj = layers.Linear(width, fused, use_bias=False, rngs=rngs)
        self.o_proj = layers.Linear(
            self.num_query, width, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        ends = (self.num_query, self.num_query + self.num_key)
        q, k, v = (
            part.reshape(B, T, -1, self.head_dim)
            for part in jnp.split(self.qkv_proj(x), ends, axis=-1)
        )
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=self.window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit in one projection, and a projection back."""

    def __init__(self, config: transformers.Phi3Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_up_proj = layers.Linear(
            width, 2 * inner, use_bias=False, rngs=rngs
        )
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, up = jnp.split(self.gate_up_proj(x), 2, axis=-1)
        return self.down_proj(self.act(gate) * up)


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: transformers.Phi3Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.Phi3Config, *, rngs: nnx.Rngs):
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
        self.norm = _rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
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
    """Phi-3 with its head, from Hugging Face's `Phi3Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.Phi3Config, *, rngs: nnx.Rngs):
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


def _rms_norm(config: transformers.Phi3Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
