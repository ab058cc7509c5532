"""Qwen1.5-MoE (2024) and the mixtures of experts of Qwen2 (2024).

By the Qwen team; Yang et al., arXiv 2407.10671. Special:
  - as Qwen2: RMSNorm before each sublayer, rotary positions, grouped key heads,
    biases of query, key and value alone;
  - in place of the MLP, the best 4 of 60 (8 of 64) small gated MLPs for each
    token, weighted by the router's softmax (over all, unless `norm_topk_prob`);
  - beside them a large one that every token gets, times a sigmoid gate.

Longer than most families for its two kinds of experts.

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
INERT = {
    "intermediate_size": "only layers without experts have it",
    "max_window_layers": "layer_types holds what it says",
}
SHARDING = sharding.RULES + sharding.replicated("gate", "shared_expert_gate")

Config = transformers.Qwen2MoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers, and in each the experts."""
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        "model.layers.mlp.experts": layers.Stack(
            "experts", range(config.num_experts)
        ),
    }


class Attention(nnx.Module):
    """Grouped-query attention with biases and rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        bias, width = config.qkv_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class Mixture(nnx.Module):
    """The router and its experts, and the one that all tokens share."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, act = config.hidden_size, config.hidden_act
        num_experts, inner = config.num_experts, config.moe_intermediate_size
        self.top_k = config.num_experts_per_tok
        self.normalised = config.norm_topk_prob
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        inner = config.shared_expert_intermediate_size
        self.shared_expert = experts.GatedMLP(width, inner, act, rngs=rngs)
        self.shared_expert_gate = layers.Linear(
            width, 1, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.softmax(self.gate(x).astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        if self.normalised:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        share = jax.nn.sigmoid(self.shared_expert_gate(x))
        return mixed + share * self.shared_expert(x)


class Block(nnx.Module):
    """Attention, then experts, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
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
        self.norm = _rms_norm(config, rngs)

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
    """Qwen2-MoE with its head, from Hugging Face's `Qwen2MoeConfig`.

    Raises:
      ValueError: A sliding window or layers without experts (no released base
        model has them), an activation or a kind of rotary scaling is not
        ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        for name, ported in (
            ("decoder_sparse_step", 1),
            ("mlp_only_layers", []),
            ("use_sliding_window", False),
        ):
            if (value := getattr(config, name)) != ported:
                raise ValueError(f"{name}={value} is not ported")
        others = set(config.layer_types) - {"full_attention"}
        if others:
            raise ValueError(f"layer_types {sorted(others)} are not ported")
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


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
