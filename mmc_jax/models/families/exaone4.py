"""EXAONE 4.0: Unified Large Language Models (2025).

By LG AI Research, arXiv 2507.11407. Special:
  - norms on the output of each sublayer, and none before;
  - an RMSNorm over each query and key head;
  - three layers with a window and rotary positions, then one without either;
    small models have no windows, and rotary positions in all layers.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import experts, layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {"sliding_window_pattern": "layer_types holds what it says"}

Config = transformers.Exaone4Config


class Attention(nnx.Module):
    """Grouped-query attention whose queries and keys are normalised."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        width = config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=False, rngs=rngs)
        self.q_norm = _rms_norm(config, self.head_dim, rngs)
        self.k_norm = _rms_norm(config, self.head_dim, rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        k = self.k_norm(self.k_proj(x).reshape(B, T, -1, self.head_dim))
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, their outputs normalised and added."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, width, rngs)
        self.mlp = experts.GatedMLP(width, inner, config.hidden_act, rngs=rngs)
        self.post_feedforward_layernorm = _rms_norm(config, width, rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        y = self.self_attn(x, positions, window)
        x = x + self.post_attention_layernorm(y)
        return x + self.post_feedforward_layernorm(self.mlp(x))


class Transformer(llama.Transformer):
    """LLaMA's, with positions and the window of each layer."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        # Layers without a window turn only where no layer has one.
        self.turns = tuple(
            config.sliding_window is None or kind == "sliding_attention"
            for kind in config.layer_types
        )
        super().__init__(config, block=Block, rngs=rngs)

    def positions(self) -> Rotary:
        """Returns those of each layer; where there are none, all angles 0."""
        one = super().positions()
        if one.scale != 1.0 or one.max_positions is not None:
            kind = self.rope_parameters["rope_type"]
            raise ValueError(
                f"rope_parameters: rope_type {kind!r} is not ported"
            )
        turns = jnp.array(self.turns, jnp.float32)[:, None]
        return Rotary(turns * one.frequencies, jnp.ones(len(turns)))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, *layer[1:]), None),
            self.embed_tokens(tokens),
            (self.layers, self.positions(), jnp.array(self.windows)),
        )
        return self.norm(x)


class CausalLM(layers.Headed):
    """EXAONE 4 with its head, from Hugging Face's `Exaone4Config`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def _head_dim(config: Config) -> int:
    return config.hidden_size // config.num_attention_heads


def _rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
