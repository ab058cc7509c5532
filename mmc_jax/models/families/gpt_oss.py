"""gpt-oss-120b & gpt-oss-20b Model Card (2025).

By OpenAI, arXiv 2508.10925. Special:
  - RMSNorm before each sublayer, rotary positions, grouped key heads, biases;
  - a layer with a window of 128 positions, then one without;
  - each head has a sink: a score of its own in the softmax that brings no
    value, so that the weights of the keys add up to less than 1;
  - experts whose gate and inner features are clamped, (up + 1) times gate times
    sigmoid(alpha gate); the router's softmax is over the chosen ones alone.

Published experts are in MXFP4 (`quantised`).

B batch, T query position, S key position, N query heads, K key heads, H head
features, D width, F MLP width, V vocabulary, L layers, E experts.
"""

import functools

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = ()
INERT = {"hidden_act": "transformers never reads it in gpt-oss"}
SHARDING = (
    *sharding.RULES,
    *sharding.replicated("router"),
    *sharding.features(r"self_attn\.sinks"),
    (r"\.gate_up_proj$", P(None, "model")),
    (r"\.gate_up_proj_bias$", P("model")),
    (r"\.experts\.down_proj$", P("model", None)),
    (r"\.down_proj_bias$", P()),
)

Config = transformers.GptOssConfig


class Attention(nnx.Module):
    """Grouped-query attention with sinks, rotary positions and a window."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.sinks = nnx.Param(jnp.zeros(config.num_attention_heads))

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=window,
            sinks=self.sinks[...],
        )
        return self.o_proj(x.reshape(B, T, -1))


class Experts(nnx.Module):
    """All experts; a slice of each parameter is one, [M, D] -> [M, D].

    Features 2i of the first projection are gates, 2i + 1 what they gate.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        E, D = config.num_local_experts, config.hidden_size
        F = config.intermediate_size
        init = nnx.initializers.lecun_normal(in_axis=1, batch_axis=0)
        self.gate_up_proj = nnx.Param(init(rngs.params(), (E, D, 2 * F)))
        self.gate_up_proj_bias = nnx.Param(jnp.zeros((E, 2 * F)))
        self.down_proj = nnx.Param(init(rngs.params(), (E, F, D)))
        self.down_proj_bias = nnx.Param(jnp.zeros((E, D)))
        self.alpha, self.limit = config.swiglu_alpha, config.swiglu_limit

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x @ self.gate_up_proj[...] + self.gate_up_proj_bias[...]
        gate = jnp.minimum(x[..., ::2], self.limit)
        up = jnp.clip(x[..., 1::2], -self.limit, self.limit)
        x = (up + 1) * (gate * jax.nn.sigmoid(self.alpha * gate))
        return x @ self.down_proj[...] + self.down_proj_bias[...]


class Mixture(nnx.Module):
    """The router and its experts."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.top_k = config.num_experts_per_tok
        self.router = layers.Linear(
            config.hidden_size, config.num_local_experts, rngs=rngs
        )
        self.experts = Experts(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = self.router(x).astype(jnp.float32)
        scores, chosen = jax.lax.top_k(scores, self.top_k)
        weights = jax.nn.softmax(scores, axis=-1)
        return experts.mixture(x, self.experts, chosen, weights)


class Transformer(llama.Transformer):
    """LLaMA's with experts, and with the window of each layer."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        block = functools.partial(llama.Block, attention=Attention, mlp=Mixture)
        super().__init__(config, block=block, rngs=rngs)

    def of_layers(self) -> tuple[jax.Array]:
        """Returns the windows, one a layer."""
        return (jnp.array(self.windows),)


class CausalLM(layers.Headed):
    """gpt-oss with its head, from Hugging Face's `GptOssConfig`.

    Raises:
      ValueError: A type of layer or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)
