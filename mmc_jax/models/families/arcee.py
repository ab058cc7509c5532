"""Arcee's AFM-4.5B (2025).

By Arcee AI; released without a paper. Special: LLaMA's layers with an MLP
without a gate, of squared ReLU.

B batch, T position, D width, F MLP width, V vocabulary.
"""

import functools

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families import llama

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

Config = transformers.ArceeConfig


class MLP(nnx.Module):
    """Two linear layers with an activation between."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.mlp_bias
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.up_proj(x)))


class CausalLM(layers.Headed):
    """AFM-4.5B with its head, from Hugging Face's `ArceeConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(llama.Block, mlp=MLP)
        model = llama.Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)
