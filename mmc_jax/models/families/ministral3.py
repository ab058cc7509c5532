"""Ministral 3 (2026).

By Liu et al., arXiv 2601.08584; the published models see as well. Special:
  - the layers of Mistral, with YaRN;
  - queries grow with their position: 1 + beta log(1 + floor(t / T0)), T0 the
    original context (as in Llama 4).

B batch, T position, N query heads, K key heads, H head features, D width.
"""

import functools

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
ROTARY = ("llama_4_scaling_beta",)

Config = transformers.Ministral3Config


class Attention(llama.Attention):
    """Grouped-query attention whose queries grow with their position."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        rope = config.rope_parameters
        self.beta = rope.get("llama_4_scaling_beta")
        self.original = rope.get("original_max_position_embeddings")
        if self.beta is None or not self.original:
            raise ValueError(
                "rope_parameters: without llama_4_scaling_beta and "
                "original_max_position_embeddings it is not ported"
            )

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = rotate(self.q_proj(x).reshape(B, T, -1, self.head_dim), positions)
        k = rotate(self.k_proj(x).reshape(B, T, -1, self.head_dim), positions)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        times = jnp.floor(jnp.arange(T, dtype=jnp.float32) / self.original)
        grown = 1 + self.beta * jnp.log(1 + times)
        x = layers.causal_attention(
            q * grown.astype(q.dtype)[:, None, None],
            k,
            v,
            scale=self.head_dim**-0.5,
            window=self.window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class CausalLM(layers.Headed):
    """Ministral 3 with its head, from Hugging Face's `Ministral3Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(llama.Block, attention=Attention)
        model = llama.Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)
