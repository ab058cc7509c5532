"""Transformers are SSMs: Generalized Models Through State Space Duality (2024).

By Dao and Gu, arXiv 2405.21060 (Mamba-2). Special:
  - no attention and no positions: a causal convolution over inputs and weights
    together, then a linear recurrence with one decay a head (SSD), which is a
    matrix product inside a chunk;
  - input and output weights (B, C) are shared by a group of heads;
  - an RMSNorm over each group after the gate; the residual stream in float32.

The layer is `state_spaces.Mamba2Mixer`, and the model Mamba's around it.
"""

import transformers
from flax import nnx

from mmc_jax.models import sharding, state_spaces
from mmc_jax.models.families import mamba

PREFIX = "backbone."
LAYERS = "backbone.layers"
IGNORED = ()
SHARDING = (
    *state_spaces.SHARDING,
    *sharding.columns("lm_head"),
    *sharding.tables("embeddings"),
)
INERT = {
    "chunk_size": "it is the block of the scan, not what it computes",
    "time_step_rank": "transformers never uses it in Mamba-2",
}


class Mixer(state_spaces.Mamba2Mixer):
    """Mamba-2's layer by the names of `Mamba2Config`."""

    def __init__(self, config: transformers.Mamba2Config, *, rngs: nnx.Rngs):
        inner = int(config.expand * config.hidden_size)
        super().__init__(
            state_spaces.Sizes(
                config.hidden_size,
                config.num_heads,
                config.head_dim,
                config.n_groups,
                config.state_size,
                config.conv_kernel,
            ),
            state_spaces.GatedRMSNorm(
                inner, config.n_groups, config.layer_norm_epsilon
            ),
            hidden_act=config.hidden_act,
            step_limits=config.time_step_limit,
            conv_bias=config.use_conv_bias,
            in_bias=config.use_bias,
            out_bias=config.use_bias,
            step_bias=mamba.step_bias(config),
            rngs=rngs,
        )


class CausalLM(mamba.CausalLM):
    """Mamba-2 with its head, from Hugging Face's `Mamba2Config`.

    Raises:
      ValueError: An activation is not ported, or groups do not divide heads.
    """

    mixer = Mixer

    def __init__(self, config: transformers.Mamba2Config, *, rngs: nnx.Rngs):
        state_spaces.check_groups(
            config.num_heads, config.n_groups, "num_heads n_groups"
        )
        super().__init__(config, rngs=rngs)
