"""Helium 1 (2025).

By Kyutai; released without a paper. Special:
  - LLaMA's layers; of each head feature 2i turns with 2i + 1;
  - the projection back from the heads has no bias, whatever the others have.

B batch, T position, N query heads, K key heads, H head features, D width.
"""

import functools

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate_interleaved

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

Config = transformers.HeliumConfig


class Attention(nnx.Module):
    """Grouped-query attention with interleaved rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        if num_query != width:
            raise ValueError(
                f"head_dim={self.head_dim}: the heads have {num_query} "
                f"features together, and hidden_size={width}"
            )
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)

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


class CausalLM(layers.Headed):
    """Helium with its head, from Hugging Face's `HeliumConfig`.

    Raises:
      ValueError: The heads are not as wide as the model, or an activation or a
        kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(llama.Block, attention=Attention)
        model = llama.Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)
