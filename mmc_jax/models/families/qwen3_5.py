"""Qwen3.5 (2026).

By the Qwen team. Special:
  - the layers of Qwen3-Next, three with a gated delta rule and one with gated
    attention, before a gated MLP;
  - the projections of the delta rule are stored one by one;
  - rotary positions have three axes, for images; on text all three are the
    position, so that they turn as one;
  - all models see as well (`model_type` qwen3_5): this is the text tower.

B batch, T position, D width, F MLP width, V vocabulary, L layers.
"""

from collections.abc import Callable

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, hybrids, layers, sharding
from mmc_jax.models.families import qwen3_next

PREFIX = "model."
IGNORED = qwen3_next.IGNORED
SHARDING = (
    *qwen3_next.SHARDING,
    *sharding.columns("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
)

Config = transformers.Qwen3_5TextConfig | transformers.Qwen3_5MoeTextConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of both kinds."""
    return hybrids.stacks("model", config.layer_types, qwen3_next.STACKS)


class DeltaNet(qwen3_next.DeltaNet):
    """The gated delta rule of Qwen3-Next from projections of their own."""

    def make_projections(self, width: int, rngs: nnx.Rngs):
        """Makes the layers of `projections`."""
        heads = self.heads

        def linear(num_features: int) -> nnx.Linear:
            return layers.Linear(width, num_features, use_bias=False, rngs=rngs)

        self.in_proj_qkv = linear(2 * heads.keys + heads.values)
        self.in_proj_z = linear(heads.values)
        self.in_proj_b = linear(heads.num_values)
        self.in_proj_a = linear(heads.num_values)

    def projections(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Returns what is convolved, and gates, rates and steps.

        [B, T, 2 keys + values], [B, T, values], [B, T, value heads] twice.
        """
        made = (
            self.in_proj_qkv,
            self.in_proj_z,
            self.in_proj_b,
            self.in_proj_a,
        )
        return tuple(projection(x) for projection in made)


class CausalLM(qwen3_next.CausalLM):
    """Qwen3.5 with its head, from Hugging Face's `Qwen3_5TextConfig`.

    Raises:
      ValueError: The layers are not of both kinds, linear and full attention;
        key heads do not divide value heads; an activation or a kind of rotary
        scaling is not ported.
    """

    delta_net = DeltaNet

    def checked_mlp(self, config: Config) -> Callable[[nnx.Rngs], nnx.Module]:
        """Returns what makes the second half of a layer."""
        width, inner = config.hidden_size, config.intermediate_size
        act = config.hidden_act
        return lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs)
