"""Qwen3.5 (2026): the mixtures of experts.

By the Qwen team. Special:
  - as Qwen3.5: three layers with a gated delta rule, then one with gated
    attention; the text tower of a model that sees (`model_type` qwen3_5_moe);
  - in place of the MLP, the best 8 of 256 gated MLPs for each token, weighted
    by the router's softmax over the chosen ones, and one that all tokens share,
    times a sigmoid gate;
  - published files have all experts of a layer in one tensor, as files of
    transformers have one tensor an expert: both are read.

B batch, T position, D width, F MLP width, V vocabulary, L layers, E experts.
"""

from collections.abc import Callable

import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families import qwen3_5, qwen3_next

PREFIX = "model."
IGNORED = qwen3_5.IGNORED
SHARDING = qwen3_5.SHARDING
FUSED = {
    "experts.gate_up_proj": ("gate_proj", "up_proj"),
    "experts.down_proj": ("down_proj",),
}

Config = transformers.Qwen3_5MoeTextConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of both kinds, and in each the experts."""
    return qwen3_next.stacks(config)


class CausalLM(qwen3_next.CausalLM):
    """Qwen3.5-MoE with its head, from Hugging Face's `Qwen3_5MoeTextConfig`.

    Raises:
      ValueError: The layers are not of both kinds, linear and full attention;
        key heads do not divide value heads; an activation or a kind of rotary
        scaling is not ported.
    """

    delta_net = qwen3_5.DeltaNet

    def checked_mlp(self, config: Config) -> Callable[[nnx.Rngs], nnx.Module]:
        """Returns what makes the second half of a layer."""
        return lambda rngs: qwen3_next.Mixture(
            config, normalised=True, rngs=rngs
        )
