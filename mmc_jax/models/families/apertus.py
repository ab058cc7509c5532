"""Apertus: Democratizing Open and Compliant LLMs (2025).

By the Swiss AI Initiative, arXiv 2509.14233. Special:
  - LLaMA's layers by other names; an RMSNorm over each query and key head;
  - an MLP without a gate, whose activation xIELU has two weights a layer
    (Huang and Schlag, arXiv 2411.13010).

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = sharding.RULES + sharding.replicated("act_fn")
UNDECLARED = ("head_dim",)

Config = transformers.ApertusConfig


class XIELU(nnx.Module):
    """The activation xIELU, whose slopes are weights.

    a_p x^2 + b x where x > 0, elsewhere a_n (exp(min(x, e)) - 1 - x) + b x;
    a_p = softplus(alpha_p), a_n = b + softplus(alpha_n). The files hold b and
    e, too.

    Source: Huang and Schlag, arXiv 2411.13010.
    """

    def __init__(self):
        self.alpha_p = nnx.Param(jnp.log(jnp.expm1(jnp.full(1, 0.8))))
        self.alpha_n = nnx.Param(jnp.log(jnp.expm1(jnp.full(1, 0.3))))
        self.beta = nnx.Param(jnp.array(0.5))
        self.eps = nnx.Param(jnp.array(-1e-6))

    def __call__(self, x: jax.Array) -> jax.Array:
        beta = self.beta[...]
        positive = jax.nn.softplus(self.alpha_p[...]) * x * x
        bent = jnp.expm1(jnp.minimum(x, self.eps[...])) - x
        negative = bent * (beta + jax.nn.softplus(self.alpha_n[...]))
        return jnp.where(x > 0, positive, negative) + beta * x


class Attention(nnx.Module):
    """Grouped-query attention with normalised, rotated queries and keys."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        # ApertusConfig has none; a file may, and transformers reads it.
        self.head_dim = llama.head_dim(config)
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.q_norm = _rms_norm(config, self.head_dim, rngs)
        self.k_norm = _rms_norm(config, self.head_dim, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        k = self.k_norm(self.k_proj(x).reshape(B, T, -1, self.head_dim))
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """Two linear layers with an activation between."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        if config.hidden_act == "xielu":
            self.act_fn = XIELU()
        else:
            self.act_fn = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act_fn(self.up_proj(x)))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.attention_layernorm = _rms_norm(config, width, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.feedforward_layernorm = _rms_norm(config, width, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.attention_layernorm(x), positions)
        return x + self.mlp(self.feedforward_layernorm(x))


class CausalLM(layers.Headed):
    """Apertus with its head, from Hugging Face's `ApertusConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        model = llama.Transformer(config, block=Block, rngs=rngs)
        super().__init__(config, model, rngs=rngs)


def _rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
