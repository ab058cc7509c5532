"""LFM2 Technical Report (2025): the mixtures of experts.

By Liquid AI, arXiv 2511.23404. Special:
  - as LFM2: gated short convolutions, some layers with attention instead, an
    RMSNorm over each query and key head;
  - the first `num_dense_layers` have an MLP, the others experts: the best by
    the sigmoid of the router plus a bias, weighted by the sigmoid alone (over
    the sum of the chosen ones if `norm_topk_prob`).

B batch, T position, D width, V vocabulary, L layers, E experts.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.families import lfm2
from mmc_jax.models.rotary import Rotary, rotary_positions

PREFIX = "model."
IGNORED = ()
SHARDING = (
    *lfm2.SHARDING,
    *sharding.replicated("gate"),
    (r"\.expert_bias$", P()),
)

Config = transformers.Lfm2MoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of each kind, and the experts."""
    num_layers, num_dense = config.num_hidden_layers, config.num_dense_layers
    return {
        "model.layers": layers.Stack("layers", range(num_layers)),
        "model.dense_mlps": layers.Stack("layers", range(num_dense)),
        "model.mixtures": layers.Stack("layers", range(num_dense, num_layers)),
        "model.mixtures.feed_forward.experts": layers.Stack(
            "experts", range(config.num_experts)
        ),
        **lfm2.mixer_stacks(config),
    }


class Mixture(nnx.Module):
    """The router and its experts."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, num_experts = config.hidden_size, config.num_experts
        self.top_k = config.num_experts_per_tok
        self.normalised = config.norm_topk_prob
        self.scale = config.routed_scaling_factor
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        bias = jnp.zeros(num_experts)
        self.expert_bias = nnx.Param(bias) if config.use_expert_bias else None
        inner = config.moe_intermediate_size
        self.experts = layers.stack(
            lambda rngs: lfm2.MLP(width, inner, rngs=rngs), num_experts, rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.sigmoid(self.gate(x).astype(jnp.float32))
        ranks = scores
        if self.expert_bias is not None:
            ranks = scores + self.expert_bias[...].astype(jnp.float32)
        _, chosen = jax.lax.top_k(ranks, self.top_k)
        weights = jnp.take_along_axis(scores, chosen, axis=-1)
        if self.normalised:
            weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-6)
        return experts.mixture(x, self.experts, chosen, weights * self.scale)


class Norms(nnx.Module):
    """The two RMSNorms of a layer."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.operator_norm = lfm2.rms_norm(config, width, rngs)
        self.ffn_norm = lfm2.rms_norm(config, width, rngs)


class Transformer(lfm2.Mixers):
    """Embedding, layers without and with experts, and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.rope_parameters = config.rope_parameters
        self.head_dim = lfm2.head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        width, num_layers = config.hidden_size, config.num_hidden_layers
        self.num_dense = config.num_dense_layers
        self.embed_tokens = layers.Embed(config.vocab_size, width, rngs=rngs)
        self.layers = layers.stack(
            lambda rngs: Norms(config, rngs=rngs), num_layers, rngs
        )
        inner = config.intermediate_size
        if self.num_dense:
            self.dense_mlps = layers.stack(
                lambda rngs: lfm2.Named(
                    feed_forward=lfm2.MLP(width, inner, rngs=rngs)
                ),
                self.num_dense,
                rngs,
            )
        self.mixtures = layers.stack(
            lambda rngs: lfm2.Named(feed_forward=Mixture(config, rngs=rngs)),
            num_layers - self.num_dense,
            rngs,
        )
        self.embedding_norm = lfm2.rms_norm(config, width, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()

        def run(x, layer):
            norms, kind, mlp = layer
            x = x + self.mixed(norms.operator_norm(x), kind, positions)
            return x + mlp.feed_forward(norms.ffn_norm(x)), None

        common = (self.layers, self.kinds())
        first = jax.tree.map(lambda p: p[: self.num_dense], common)
        rest = jax.tree.map(lambda p: p[self.num_dense :], common)
        x = self.embed_tokens(tokens)
        if self.num_dense:
            x, _ = jax.lax.scan(run, x, (*first, self.dense_mlps))
        x, _ = jax.lax.scan(run, x, (*rest, self.mixtures))
        return self.embedding_norm(x)


class CausalLM(layers.LanguageModel):
    """LFM2-MoE with its head, from Hugging Face's `Lfm2MoeConfig`.

    Raises:
      ValueError: The layers are not of both kinds, convolution and attention;
        no layer has experts; or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        lfm2.check_kinds(config)
        num_dense, num_layers = config.num_dense_layers, len(config.layer_types)
        if not 0 <= num_dense < num_layers:
            raise ValueError(
                f"num_dense_layers={num_dense} of {num_layers} layers leaves "
                "none with experts"
            )
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden)
        return self.lm_head(hidden)
