"""Nemotron-H: Accurate and Efficient Hybrid Mamba-Transformer Models (2025).

By NVIDIA, arXiv 2504.03624; also Nemotron 3 (arXiv 2512.20848). Special:
  - each layer is one mixer after an RMSNorm: Mamba-2, attention, an MLP of
    squared ReLU, or a mixture of such MLPs, in an order that the config spells
    out (`hybrid_override_pattern`);
  - attention without positions; its grouped heads have a size of their own;
  - the experts of a token by sigmoids and a bias that only chooses; beside
    them an MLP that all tokens share; the experts may see fewer features.

Longer than most families for its four kinds of layers.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers, E experts.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, hybrids, layers, sharding, state_spaces
from mmc_jax.models.families import mamba

PREFIX = "backbone."
# Layers that predict further tokens, which the logits do not need.
IGNORED = (r"^(backbone\.)?mtp\.",)
RENAMED = {"model.": "backbone."}
INERT = {
    "chunk_size": "it is the block of the scan, not what it computes",
    "expand": "mamba_num_heads and mamba_head_dim count",
    "mamba_proj_bias": "use_bias counts in its place",
    "attention_bias": "transformers gives attention no bias",
    "mamba_ssm_cache_dtype": "generation alone has a cache",
    "moe_shared_expert_overlap": "it chooses between ways to compute the same",
    "mtp_layers_block_type": "layers that predict further tokens are left out",
    "n_shared_experts": "moe_shared_expert_intermediate_size says all",
    "num_logits_to_keep": "it says what a call returns, not its logits",
    "num_nextn_predict_layers": "they are left out by transformers too",
    "residual_in_fp32": "transformers never reads it",
    "time_step_limit": "transformers never reads it: time_step_min counts",
    "use_mamba_kernels": "it chooses between ways to compute the same",
}
SHARDING = (
    *state_spaces.SHARDING,
    *sharding.columns(
        "q_proj", "k_proj", "v_proj", "up_proj", "fc1_latent_proj", "lm_head"
    ),
    *sharding.rows("o_proj", "down_proj", "fc2_latent_proj"),
    *sharding.tables("embeddings"),
    *sharding.replicated("gate"),
)

Config = transformers.NemotronHConfig

# The attribute that holds the layers of each type.
_STACKS = {
    "linear_attention": "mamba",
    "full_attention": "attention",
    "mlp": "mlp",
    "moe": "mixture",
}
# What the layers of a type alone read.
_ATTRIBUTES = {
    "linear_attention": "conv_kernel mamba_head_dim mamba_hidden_act "
    "mamba_num_heads n_groups ssm_state_size time_step_floor time_step_max "
    "time_step_min use_bias use_conv_bias",
    "full_attention": "head_dim num_attention_heads num_key_value_heads",
    "mlp": "intermediate_size mlp_bias mlp_hidden_act",
    "moe": "mlp_bias mlp_hidden_act moe_intermediate_size moe_latent_size "
    "moe_shared_expert_intermediate_size n_group n_routed_experts "
    "norm_topk_prob num_experts_per_tok routed_scaling_factor topk_group",
}


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of each kind, and in each mixture the experts."""
    of_kinds = hybrids.stacks("backbone", config.layer_types, _STACKS)
    of_experts = layers.Stack("experts", range(config.n_routed_experts))
    return {**of_kinds, "backbone.mixture.mixer.experts": of_experts}


class Mamba(state_spaces.Mamba2Mixer):
    """Mamba-2's layer by the names of `NemotronHConfig`."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        sizes = state_spaces.Sizes(
            config.hidden_size,
            config.mamba_num_heads,
            config.mamba_head_dim,
            config.n_groups,
            config.ssm_state_size,
            config.conv_kernel,
        )
        super().__init__(
            sizes,
            state_spaces.GatedRMSNorm(
                sizes.inner, config.n_groups, config.layer_norm_epsilon
            ),
            hidden_act=config.mamba_hidden_act,
            step_limits=(config.time_step_min, float("inf")),
            conv_bias=config.use_conv_bias,
            in_bias=config.use_bias,
            out_bias=config.use_bias,
            step_bias=mamba.step_bias(config),
            rngs=rngs,
        )


class Attention(nnx.Module):
    """Grouped-query attention without positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim, width = config.head_dim, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self, width: int, inner: int, config: Config, *, bias: bool, rngs
    ):
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.mlp_hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.up_proj(x)))


class Mixture(nnx.Module):
    """The router and its experts, and the one that all tokens share."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, latent = config.hidden_size, config.moe_latent_size
        bias = config.mlp_bias
        self.gate = experts.SigmoidRouter(
            width,
            config.n_routed_experts,
            top_k=config.num_experts_per_tok,
            num_groups=config.n_group,
            top_groups=config.topk_group,
            normalise=config.norm_topk_prob,
            scale=config.routed_scaling_factor,
            rngs=rngs,
        )
        self.is_latent = latent is not None
        if self.is_latent:
            self.fc1_latent_proj = layers.Linear(
                width, latent, use_bias=bias, rngs=rngs
            )
            self.fc2_latent_proj = layers.Linear(
                latent, width, use_bias=bias, rngs=rngs
            )
        self.experts = layers.stack(
            lambda rngs: MLP(
                latent or width,
                config.moe_intermediate_size,
                config,
                bias=False,
                rngs=rngs,
            ),
            config.n_routed_experts,
            rngs,
        )
        self.shared_experts = MLP(
            width,
            config.moe_shared_expert_intermediate_size,
            config,
            bias=bias,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        chosen, weights = self.gate(x)
        seen = self.fc1_latent_proj(x) if self.is_latent else x
        mixed = experts.mixture(seen, self.experts, chosen, weights)
        if self.is_latent:
            mixed = self.fc2_latent_proj(mixed)
        return mixed + self.shared_experts(x)


class Block(nnx.Module):
    """A mixer after an RMSNorm, added to its input."""

    def __init__(self, config: Config, mixer: nnx.Module, *, rngs: nnx.Rngs):
        self.norm = _rms_norm(config, rngs)
        self.mixer = mixer

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.mixer(self.norm(x))


class Backbone(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.layer_types = tuple(config.layer_types)
        self.embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )

        def blocks(kind, mixer):
            return hybrids.blocks(
                self.layer_types,
                kind,
                lambda rngs: Block(config, mixer(rngs), rngs=rngs),
                rngs,
            )

        self.mamba = blocks(
            "linear_attention", lambda rngs: Mamba(config, rngs=rngs)
        )
        self.attention = blocks(
            "full_attention", lambda rngs: Attention(config, rngs=rngs)
        )
        self.mlp = blocks(
            "mlp",
            lambda rngs: MLP(
                config.hidden_size,
                config.intermediate_size,
                config,
                bias=config.mlp_bias,
                rngs=rngs,
            ),
        )
        self.mixture = blocks("moe", lambda rngs: Mixture(config, rngs=rngs))
        self.norm_f = _rms_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        kinds = {
            kind: hybrids.Kind(getattr(self, name), lambda block, x: block(x))
            for kind, name in _STACKS.items()
        }
        x = hybrids.run(self.embeddings(tokens), self.layer_types, kinds)
        return self.norm_f(x)


class CausalLM(layers.LanguageModel):
    """Nemotron-H with its head, from Hugging Face's `NemotronHConfig`.

    Raises:
      ValueError: A layer is of a type that is none of the four; groups do not
        divide the heads of Mamba-2 or the experts; the head is tied, which
        transformers never does; an activation is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        kinds = set(config.layer_types)
        if not kinds or kinds - set(_STACKS):
            raise ValueError(
                f"layers_block_type: {sorted(kinds - set(_STACKS))} are not "
                f"ported; ported are {', '.join(_STACKS)}"
            )
        if config.tie_word_embeddings:
            raise ValueError("tie_word_embeddings=True is not ported")
        if "linear_attention" in kinds:
            state_spaces.check_groups(
                config.mamba_num_heads,
                config.n_groups,
                "mamba_num_heads n_groups",
            )
        hybrids.pass_over(config, config.layer_types, _ATTRIBUTES)
        self.config = config
        self.backbone = Backbone(config, rngs=rngs)
        self.lm_head = layers.Linear(
            config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
        )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.backbone(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        return self.lm_head(hidden)


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.layer_norm_epsilon, rngs=rngs
    )
