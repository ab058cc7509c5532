"""Mixtral of Experts (2024).

By Jiang et al., arXiv 2401.04088. Special:
  - as Mistral 7B: RMSNorm before each sublayer, rotary positions, grouped key
    heads, perhaps a window (the released models have none);
  - in place of the MLP, the best 2 of 8 gated MLPs for each token, weighted by
    the router's softmax over the chosen ones.

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
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns("w1", "w3"),
    *sharding.rows("w2"),
    *sharding.replicated("gate"),
)


def stacks(config: transformers.MixtralConfig) -> dict[str, layers.Stack]:
    """Returns the layers, and in each the experts."""
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        "model.layers.block_sparse_moe.experts": layers.Stack(
            "experts", range(config.num_local_experts)
        ),
    }


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and perhaps a window."""

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        self.window = config.sliding_window
        width = config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=self.window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Expert(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.w1 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.w2 = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.w3 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w2(self.act(self.w1(x)) * self.w3(x))


class Mixture(nnx.Module):
    """The router and its experts; the weights of the chosen sum to one."""

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
        width, self.num_experts = config.hidden_size, config.num_local_experts
        self.top_k = config.num_experts_per_tok
        self.gate = layers.Linear(
            width, self.num_experts, use_bias=False, rngs=rngs
        )
        self.experts = layers.stack(
            lambda rngs: Expert(config, rngs=rngs), self.num_experts, rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.softmax(self.gate(x).astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return experts.mixture(x, self.experts, chosen, weights)


class Block(nnx.Module):
    """Attention, then experts, each after an RMSNorm and added to its input."""

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.block_sparse_moe = Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.block_sparse_moe(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
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
    """Mixtral with its head, from Hugging Face's `MixtralConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.MixtralConfig, *, rngs: nnx.Rngs):
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


def _head_dim(config: transformers.MixtralConfig) -> int:
    return config.head_dim or config.hidden_size // config.num_attention_heads


def _rms_norm(
    config: transformers.MixtralConfig, rngs: nnx.Rngs
) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
