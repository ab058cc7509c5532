"""Hunyuan-A13B (2025): mixtures of experts.

By Tencent. Special:
  - the layers of the dense Hunyuan models: RMSNorm over each query and key
    head after their rotation, and a rotary base stretched by `alpha`;
  - in place of the MLP, one that every token gets and the best of 64 like it,
    weighted by the router's softmax over the sum of the chosen ones.

B batch, T position, D width, L layers, E experts.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.families import hunyuan_v1_dense as dense

PREFIX = "model."
IGNORED = dense.IGNORED
INERT = {
    "eod_token_id": "it names a token",
    "sep_token_id": "it names a token",
}
ROTARY = dense.ROTARY
SHARDING = sharding.RULES + sharding.replicated(r"gate\.wg")

Config = transformers.HunYuanMoEV1Config


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers, and in each the experts."""
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        "model.layers.mlp.experts": layers.Stack(
            "experts", range(config.num_experts)
        ),
    }


class Router(nnx.Module):
    """The linear layer that ranks the experts."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.wg = layers.Linear(
            config.hidden_size, config.num_experts, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the share of each expert, in float32: [..., E]."""
        kernel = self.wg.kernel[...].astype(jnp.float32)
        return jax.nn.softmax(x.astype(jnp.float32) @ kernel, axis=-1)


class Mixture(nnx.Module):
    """The router and its experts, and the one that all tokens share."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.top_k = _top_k(config)
        self.gate = Router(config, rngs=rngs)
        self.experts = layers.stack(
            lambda rngs: dense.mlp(config, rngs), config.num_experts, rngs
        )
        self.shared_mlp = dense.mlp(config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        weights, chosen = jax.lax.top_k(self.gate(x), self.top_k)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        return mixed + self.shared_mlp(x)


class CausalLM(dense.CausalLM):
    """Hunyuan-A13B with its head, from Hugging Face's `HunYuanMoEV1Config`.

    Raises:
      ValueError: Layers give their tokens different numbers of experts (of no
        released model), or an activation or a kind of rotary scaling is not
        ported.
    """

    def mlp(self, config: Config, *, rngs: nnx.Rngs) -> nnx.Module:
        """Returns what stands behind the attention of a layer."""
        return Mixture(config, rngs=rngs)


def _top_k(config: Config) -> int:
    """Returns the number of experts of a token, which is one for all layers."""
    top_k = config.moe_topk
    if isinstance(top_k, int):
        return top_k
    if len(set(top_k)) != 1 or len(top_k) != config.num_hidden_layers:
        raise ValueError(
            f"moe_topk={top_k}: only one number for all of "
            f"{config.num_hidden_layers} layers is ported"
        )
    return top_k[0]
