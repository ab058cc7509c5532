"""Seed-OSS (2025).

By the Seed team of ByteDance. Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key heads,
    a gated MLP;
  - biases of queries, keys and values, of the attention's output, and of the
    MLP, each by an attribute of its own.

B batch, T position, N query heads, K key heads, H head features, D width.
"""

import functools

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {"residual_dropout": "only training uses it"}

Config = transformers.SeedOssConfig


class Attention(nnx.Module):
    """Grouped-query attention with biases and rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(
            num_query, width, use_bias=config.attention_out_bias, rngs=rngs
        )

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class CausalLM(layers.Headed):
    """Seed-OSS with its head, from Hugging Face's `SeedOssConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(llama.Block, attention=Attention)
        model = llama.Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)
