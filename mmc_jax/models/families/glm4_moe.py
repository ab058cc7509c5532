"""GLM-4.5: Agentic, Reasoning, and Coding (ARC) Foundation Models (2025).

By the GLM-4.5 Team, arXiv 2508.06471. Special:
  - RMSNorm before each sublayer; half of each head turns; biases of queries,
    keys and values; perhaps an RMSNorm over each query and key head;
  - the first layers have an MLP, the others the experts of DeepSeek-V3;
  - checkpoints hold a layer that predicts a second token, which is left aside.

B batch, T position, N query heads, K key heads, H head features, D width, V
vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import dense_first, experts, layers, sharding
from mmc_jax.models.families import llama
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
# The layer of a second token; transformers knows it by the same names.
IGNORED = (r"\.rotary_emb\.inv_freq$", r"^model\.layers\.(46|92)\.")
SHARDING = sharding.RULES + sharding.replicated("gate")
INERT = {
    "intermediate_size": "only layers without experts have it",
    "num_nextn_predict_layers": "only generation asks for a second token",
}
UNDECLARED = ("head_dim",)

Config = transformers.Glm4MoeConfig | transformers.Dots1Config


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts."""
    return dense_first.stacks(
        config.num_hidden_layers,
        config.first_k_dense_replace,
        config.n_routed_experts,
    )


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and perhaps a window.

    Args:
      config: Hugging Face's config.
      normalised: Whether each query and key head has an RMSNorm.
      output_bias: Whether the projection back from the heads has a bias.
    """

    def __init__(
        self,
        config: Config,
        *,
        normalised: bool,
        output_bias: bool,
        rngs: nnx.Rngs,
    ):
        self.head_dim = llama.head_dim(config)
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(
            num_query, width, use_bias=output_bias, rngs=rngs
        )
        self.normalised = normalised
        if normalised:
            self.q_norm = _rms_norm(config, self.head_dim, rngs)
            self.k_norm = _rms_norm(config, self.head_dim, rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array | None
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        if self.normalised:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, positions), rotate(k, positions)
        scale = self.head_dim**-0.5
        x = layers.causal_attention(q, k, v, scale=scale, window=window)
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP or experts, each after an RMSNorm and added."""

    def __init__(
        self,
        config: Config,
        *,
        dense: bool,
        normalised: bool,
        output_bias: bool,
        rngs: nnx.Rngs,
    ):
        width = config.hidden_size
        self.input_layernorm = _rms_norm(config, width, rngs)
        self.self_attn = Attention(
            config, normalised=normalised, output_bias=output_bias, rngs=rngs
        )
        self.post_attention_layernorm = _rms_norm(config, width, rngs)
        if dense:
            self.mlp = experts.GatedMLP(
                width, config.intermediate_size, config.hidden_act, rngs=rngs
            )
        else:
            self.mlp = dense_first.Mixture(config, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        positions: Rotary,
        window: jax.Array | None = None,
    ) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions, window)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(dense_first.Transformer):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = llama.head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        normalised = config.use_qk_norm
        super().__init__(
            config,
            config.first_k_dense_replace,
            lambda dense, rngs: Block(
                config,
                dense=dense,
                normalised=normalised,
                output_bias=False,
                rngs=rngs,
            ),
            rngs=rngs,
        )

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        return self.run(
            self.embed_tokens(tokens), lambda x, layer: layer(x, positions)
        )


class CausalLM(layers.Headed):
    """GLM-4.5 with its head, from Hugging Face's `Glm4MoeConfig`.

    Raises:
      ValueError: A grouping of experts, an activation or a kind of rotary
        scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def _rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
