"""Hunyuan dense models of 0.5 to 7 billion parameters (2025).

By Tencent. Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key heads,
    a gated MLP;
  - an RMSNorm over each query and key head, after their rotation;
  - rotary scaling "dynamic" with `alpha` stretches the base once for all texts.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import functools

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {"eod_token_id": "it names a token"}
# What this family alone reads of rope_parameters.
ROTARY = ("alpha",)

# The mixtures of experts have the same attention.
Config = transformers.HunYuanDenseV1Config | transformers.HunYuanMoEV1Config


class Attention(nnx.Module):
    """Grouped-query attention; queries and keys turn, then are normalised."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.query_layernorm = rms_norm(config, self.head_dim, rngs)
        self.key_layernorm = rms_norm(config, self.head_dim, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = rotate(self.q_proj(x).reshape(B, T, -1, self.head_dim), positions)
        k = rotate(self.k_proj(x).reshape(B, T, -1, self.head_dim), positions)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            self.query_layernorm(q),
            self.key_layernorm(k),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Transformer(llama.Transformer):
    """LLaMA's, with a base of the rotation that alpha may stretch."""

    def positions(self) -> Rotary:
        rope = dict(self.rope_parameters)
        alpha = rope.pop("alpha", None)
        if rope["rope_type"] == "dynamic" and alpha:
            if not isinstance(alpha, int | float) or alpha <= 0:
                raise ValueError(f"rope_parameters: alpha={alpha!r}")
            stretch = alpha ** (self.head_dim / (self.head_dim - 2))
            rope = dict(
                rope_type="default", rope_theta=rope["rope_theta"] * stretch
            )
        return rotary_positions(rope, self.head_dim, self.max_positions)


class CausalLM(layers.Headed):
    """Hunyuan with its head, from Hugging Face's `HunYuanDenseV1Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(
            llama.Block, attention=Attention, mlp=self.mlp
        )
        model = Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)

    def mlp(self, config: Config, *, rngs: nnx.Rngs) -> nnx.Module:
        """Returns what stands behind the attention of a layer."""
        return mlp(config, rngs)


def head_dim(config: Config) -> int:
    """Returns the number of features of a head."""
    return config.head_dim or config.hidden_size // config.num_attention_heads


def mlp(config: Config, rngs: nnx.Rngs) -> experts.GatedMLP:
    """Returns a gated MLP, which is an expert as well."""
    width, inner = config.hidden_size, config.intermediate_size
    return experts.GatedMLP(width, inner, config.hidden_act, rngs=rngs)


def rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """Returns an RMSNorm with the config's epsilon."""
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
