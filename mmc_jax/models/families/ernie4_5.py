"""ERNIE 4.5 Technical Report (2025).

By the ERNIE team of Baidu: the dense model. Special:
  - as LLaMA: RMSNorm before each sublayer, grouped key heads, a gated MLP;
  - rotary positions that turn feature 2i together with 2i + 1;
  - all projections but the head have biases, or none has.

B batch, T position, N query heads, K key heads, H head features, D width.
"""

import functools

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, layers
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate_interleaved

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

# The mixtures of experts have the same attention.
Config = transformers.Ernie4_5Config | transformers.Ernie4_5_MoeConfig


class Attention(nnx.Module):
    """Grouped-query attention with interleaved rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        bias, width = config.use_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

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
    """ERNIE 4.5 with its head, from Hugging Face's `Ernie4_5Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        block = functools.partial(
            llama.Block,
            attention=Attention,
            mlp=lambda config, *, rngs: mlp(
                config, config.intermediate_size, rngs
            ),
        )
        model = llama.Transformer(config, block=block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)


def head_dim(config: Config) -> int:
    """Returns the number of features of a head."""
    # Of the experts' config only files have it.
    if isinstance(getattr(config, "head_dim", None), int):
        return config.head_dim
    return config.hidden_size // config.num_attention_heads


def mlp(config: Config, inner: int, rngs: nnx.Rngs) -> experts.GatedMLP:
    """Returns a gated MLP of so many inner features."""
    return experts.GatedMLP(
        config.hidden_size,
        inner,
        config.hidden_act,
        use_bias=config.use_bias,
        rngs=rngs,
    )


def rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """Returns an RMSNorm of the model's width."""
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
