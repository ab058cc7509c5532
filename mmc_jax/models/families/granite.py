"""Granite 3.0 Language Models (2024).

By the Granite team, IBM; the multipliers come from Power Scheduler (Shen et
al., arXiv 2408.13359). Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key
    heads, a gated MLP;
  - the embeddings, what each sublayer adds, and the scores are multiplied by
    constants of the config; the scores by that alone, not by H^-0.5;
  - the logits are divided by a constant.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and a scale of its own."""

    def __init__(self, config: transformers.GraniteConfig, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scale = config.attention_multiplier
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
        x = layers.causal_attention(q, k, v, scale=self.scale)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.GraniteConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.mlp_bias
        self.gate_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm, multiplied and added."""

    def __init__(self, config: transformers.GraniteConfig, *, rngs: nnx.Rngs):
        self.multiplier = config.residual_multiplier
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        attended = self.self_attn(self.input_layernorm(x), positions)
        x = x + self.multiplier * attended
        return x + self.multiplier * self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.GraniteConfig, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.multiplier = config.embedding_multiplier
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
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.multiplier * self.embed_tokens(tokens),
            self.layers,
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Granite with its head, from Hugging Face's `GraniteConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.GraniteConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.divisor = config.logits_scaling
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, divided: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden) / self.divisor
        return self.lm_head(hidden) / self.divisor


def _rms_norm(
    config: transformers.GraniteConfig, rngs: nnx.Rngs
) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
