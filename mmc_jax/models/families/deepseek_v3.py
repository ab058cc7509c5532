"""DeepSeek-V3 Technical Report (2024).

By DeepSeek-AI, arXiv 2412.19437; Moonlight (Liu et al., arXiv 2502.16982) too.
Special:
  - the latent attention of DeepSeek-V2;
  - the first layers have an MLP, the others experts: those that all tokens
    share and, times `routed_scaling_factor`, the best by the router's sigmoids
    and a bias that has a part in the choice alone;
  - checkpoints hold a layer that predicts a second token, which is left aside.

B batch, T position, N heads, H head features, D width, V vocabulary.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import dense_first, experts, layers
from mmc_jax.models.families import deepseek_v2
from mmc_jax.models.rotary import (
    Rotary,
    rotary_positions,
    rotate,
    rotate_interleaved,
)

PREFIX = "model."
# The layer of a second token; transformers knows it by the same name.
IGNORED = (r"\.rotary_emb\.inv_freq$", r"^model\.layers\.61\.")
SHARDING = deepseek_v2.SHARDING
INERT = {
    "intermediate_size": "only layers without experts have it",
    "num_nextn_predict_layers": "only generation asks for a second token",
}

Config = transformers.DeepseekV3Config


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts."""
    return dense_first.stacks(
        config.num_hidden_layers,
        config.first_k_dense_replace,
        config.n_routed_experts,
    )


class Block(nnx.Module):
    """Attention, then MLP or experts, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, dense: bool, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        turn = rotate_interleaved if config.rope_interleave else rotate
        self.input_layernorm = nnx.RMSNorm(width, epsilon=epsilon, rngs=rngs)
        self.self_attn = deepseek_v2.Attention(config, turn=turn, rngs=rngs)
        self.post_attention_layernorm = nnx.RMSNorm(
            width, epsilon=epsilon, rngs=rngs
        )
        if dense:
            self.mlp = experts.GatedMLP(
                width, config.intermediate_size, config.hidden_act, rngs=rngs
            )
        else:
            self.mlp = dense_first.Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(dense_first.Transformer):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.turned = config.qk_rope_head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        super().__init__(
            config,
            config.first_k_dense_replace,
            lambda dense, rngs: Block(config, dense=dense, rngs=rngs),
            rngs=rngs,
        )

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.turned, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        return self.run(
            self.embed_tokens(tokens), lambda x, layer: layer(x, positions)
        )


class CausalLM(layers.Headed):
    """DeepSeek-V3 with its head, from Hugging Face's `DeepseekV3Config`.

    Raises:
      ValueError: A grouping of experts, an activation or a kind of rotary
        scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        if config.num_key_value_heads != config.num_attention_heads:
            raise ValueError(
                f"num_key_value_heads={config.num_key_value_heads} is not "
                "ported"
            )
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)
