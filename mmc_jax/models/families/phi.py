"""Textbooks Are All You Need II: phi-1.5 technical report (2023).

By Li et al., arXiv 2309.05463; also phi-1 (Gunasekar et al., arXiv 2306.11644)
and phi-2. Special:
  - attention and MLP side by side, after one LayerNorm;
  - rotary positions on a share of each head;
  - biases everywhere, in the head too;
  - perhaps a LayerNorm over the features of each query and key head
    (`qk_layernorm`).

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
    *sharding.columns("fc1"),
    *sharding.rows("dense", "fc2"),
)


class Attention(nnx.Module):
    """Grouped-query attention with partly rotated heads."""

    def __init__(self, config: transformers.PhiConfig, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        width = config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=True, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=True, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=True, rngs=rngs)
        self.dense = layers.Linear(num_query, width, use_bias=True, rngs=rngs)
        self.normalised = config.qk_layernorm
        if self.normalised:
            self.q_layernorm = _layer_norm(config, self.head_dim, rngs)
            self.k_layernorm = _layer_norm(config, self.head_dim, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        if self.normalised:
            q, k = self.q_layernorm(q), self.k_layernorm(k)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.dense(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.PhiConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.fc1 = layers.Linear(width, inner, use_bias=True, rngs=rngs)
        self.fc2 = layers.Linear(inner, width, use_bias=True, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(self.act(self.fc1(x)))


class Block(nnx.Module):
    """Attention and MLP of the same normalised input, added to the input."""

    def __init__(self, config: transformers.PhiConfig, *, rngs: nnx.Rngs):
        self.input_layernorm = _layer_norm(config, config.hidden_size, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        normed = self.input_layernorm(x)
        return x + self.self_attn(normed, positions) + self.mlp(normed)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.PhiConfig, *, rngs: nnx.Rngs):
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
        self.final_layernorm = _layer_norm(config, config.hidden_size, rngs)

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
        return self.final_layernorm(x)


class Bias(nnx.Module):
    """What a head whose weight is the embedding has of its own."""

    def __init__(self, num_features: int):
        self.bias = nnx.Param(jnp.zeros(num_features))


class CausalLM(layers.LanguageModel):
    """Phi with its head, from Hugging Face's `PhiConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.PhiConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if config.tie_word_embeddings:
            self.lm_head = Bias(config.vocab_size)
        else:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=True, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            logits = self.model.embed_tokens.attend(hidden)
            return logits + self.lm_head.bias[...]
        return self.lm_head(hidden)


def _layer_norm(
    config: transformers.PhiConfig, num_features: int, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        num_features,
        epsilon=config.layer_norm_eps,
        use_fast_variance=False,
        rngs=rngs,
    )
