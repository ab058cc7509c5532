"""GLM-4-0414 (2025).

By Zhipu AI; its line is described by GLM et al., arXiv 2406.12793. Special:
  - an RMSNorm before and after each sublayer;
  - half of each head turns, feature 2i with 2i + 1;
  - biases of queries, keys and values; a gated MLP in one projection.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.families import llama, phi3
from mmc_jax.models.rotary import (
    Rotary,
    rotary_positions,
    rotate_interleaved,
)

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = sharding.RULES + sharding.columns("gate_up_proj")

Config = transformers.Glm4Config


class Attention(nnx.Module):
    """Grouped-query attention with interleaved rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
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
        x = layers.causal_attention(
            rotate_interleaved(q, positions),
            rotate_interleaved(k, positions),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, each between two RMSNorms, added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_self_attn_layernorm = _rms_norm(config, rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = phi3.MLP(config, rngs=rngs)
        self.post_mlp_layernorm = _rms_norm(config, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        y = self.self_attn(self.input_layernorm(x), positions)
        x = x + self.post_self_attn_layernorm(y)
        y = self.mlp(self.post_attention_layernorm(x))
        return x + self.post_mlp_layernorm(y)


class Transformer(llama.Transformer):
    """Embedding, layers and the last RMSNorm."""

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
        )


class CausalLM(layers.Headed):
    """GLM-4-0414 with its head, from Hugging Face's `Glm4Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        model = Transformer(config, block=Block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
