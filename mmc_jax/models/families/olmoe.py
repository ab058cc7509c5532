"""OLMoE: Open Mixture-of-Experts Language Models (2024).

By Muennighoff et al., arXiv 2409.02060. Special:
  - RMSNorm before each sublayer and at the end; rotary positions; grouped key
    heads (the released model has as many as query heads);
  - an RMSNorm over all features of the queries and of the keys, before they are
    cut into heads; `clip_qkv` bounds these and the values;
  - in place of the MLP, the best 8 of 64 gated MLPs for each token, weighted by
    the router's softmax (over all, unless `norm_topk_prob`).

Longer than most families for its experts and their names in files.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers, E experts.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = ()
# FlashAttention in transformers has a window where a file states one.
UNDECLARED = ("sliding_window",)
SHARDING = sharding.RULES + sharding.replicated("gate")

Config = transformers.OlmoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers, and in each the experts."""
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        "model.layers.mlp.experts": layers.Stack(
            "experts", range(config.num_experts)
        ),
    }


class Attention(nnx.Module):
    """Grouped-query attention with normalised, rotated queries and keys."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        self.clip = config.clip_qkv
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.q_norm = _rms_norm(config, num_query, rngs)
        self.k_norm = _rms_norm(config, num_key, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q, k = self.q_norm(self.q_proj(x)), self.k_norm(self.k_proj(x))
        q, k, v = (
            (
                x if self.clip is None else jnp.clip(x, -self.clip, self.clip)
            ).reshape(B, T, -1, self.head_dim)
            for x in (q, k, self.v_proj(x))
        )
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class Mixture(nnx.Module):
    """The router and its experts."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, act = config.hidden_size, config.hidden_act
        num_experts, inner = config.num_experts, config.intermediate_size
        self.top_k = config.num_experts_per_tok
        self.normalised = config.norm_topk_prob
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.softmax(self.gate(x).astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        if self.normalised:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        return experts.mixture(x, self.experts, chosen, weights)


class Block(nnx.Module):
    """Attention, then experts, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.input_layernorm = _rms_norm(config, width, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, width, rngs)
        self.mlp = Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = _head_dim(config)
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
        self.norm = _rms_norm(config, config.hidden_size, rngs)

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
    """OLMoE with its head, from Hugging Face's `OlmoeConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported, or
        the config has a window.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        if (window := getattr(config, "sliding_window", None)) is not None:
            raise ValueError(f"sliding_window={window} is not ported")
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


def _head_dim(config: Config) -> int:
    return config.hidden_size // config.num_attention_heads


def _rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
