"""dots.llm1 Technical Report (2025).

By Huo et al., arXiv 2506.05767. Special:
  - RMSNorm before each sublayer, an RMSNorm over each query and key head,
    rotary positions, perhaps a window in the later layers;
  - the first layers have an MLP, the others the experts of DeepSeek-V3.

B batch, T position, D width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import dense_first, layers
from mmc_jax.models.families import glm4_moe, llama
from mmc_jax.models.rotary import Rotary, rotary_positions

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = glm4_moe.SHARDING
INERT = {
    "intermediate_size": "only layers without experts have it",
    "max_window_layers": "layer_types holds what it says",
}
UNDECLARED = ("head_dim",)

Config = transformers.Dots1Config
stacks = glm4_moe.stacks


class Transformer(dense_first.Transformer):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = llama.head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        self.positions()  # Refuses what is not ported before any weight.
        bias = config.attention_bias
        super().__init__(
            config,
            config.first_k_dense_replace,
            lambda dense, rngs: glm4_moe.Block(
                config,
                dense=dense,
                normalised=True,
                output_bias=bias,
                rngs=rngs,
            ),
            rngs=rngs,
        )

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        return self.run(
            self.embed_tokens(tokens),
            lambda x, layer, window: layer(x, positions, window),
            jnp.array(self.windows),
        )


class CausalLM(layers.Headed):
    """dots.llm1 with its head, from Hugging Face's `Dots1Config`.

    Raises:
      ValueError: A type of layer, a grouping of experts, an activation or a
        kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)
