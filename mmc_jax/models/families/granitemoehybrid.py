"""Granite 4.0 (2025), with and without Mamba-2 and experts.

By IBM Research. Special:
  - each layer has Mamba-2 or attention, then an MLP that all tokens share and,
    beside it, a mixture of experts (none where `num_local_experts` is 0);
  - fixed multipliers of embeddings and residuals, a scale of the attention, and
    logits divided by a constant, as in Granite 3;
  - positions where `position_embedding_type` is "rope" (the dense models);
  - gate and up projection in one tensor, all experts of a layer in one tensor.

Longer than most families for its two kinds of layers.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers, E experts, R rows of a block.
"""

import functools

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import experts, hybrids, layers, sharding, state_spaces
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = ()
INERT = {
    "mamba_chunk_size": "it is the block of the scan, not what it computes",
}
UNDECLARED = ("head_dim",)
SHARDING = (
    *state_spaces.SHARDING,
    *sharding.columns(
        "q_proj", "k_proj", "v_proj", r"shared_mlp\.input_linear", "lm_head"
    ),
    *sharding.rows("o_proj", r"shared_mlp\.output_linear"),
    *sharding.tables("embed_tokens"),
    *sharding.replicated("layer"),
    # Of experts, [E, outputs, inputs].
    (r"block_sparse_moe\.input_linear\.weight$", P("model", None)),
    (r"block_sparse_moe\.output_linear\.weight$", P(None, "model")),
)

Config = transformers.GraniteMoeHybridConfig

# The attribute that holds the layers of each type.
_STACKS = {"linear_attention": "mamba", "full_attention": "attention"}
# What the layers of a type alone read.
_ATTRIBUTES = {
    "linear_attention": "mamba_conv_bias mamba_d_conv mamba_d_head "
    "mamba_d_state mamba_expand mamba_n_groups mamba_n_heads mamba_proj_bias "
    "time_step_limit",
    "full_attention": "attention_bias attention_multiplier num_attention_heads "
    "num_key_value_heads",
    "experts": "intermediate_size num_experts_per_tok",
    "rope": "rope_parameters",
}


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of each kind."""
    return hybrids.stacks("model", config.layer_types, _STACKS)


class Mamba(state_spaces.Mamba2Mixer):
    """Mamba-2's layer by the names of `GraniteMoeHybridConfig`."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        sizes = state_spaces.Sizes(
            config.hidden_size,
            config.mamba_n_heads,
            config.mamba_d_head,
            config.mamba_n_groups,
            config.mamba_d_state,
            config.mamba_d_conv,
        )
        super().__init__(
            sizes,
            state_spaces.GatedRMSNorm(
                sizes.inner, config.mamba_n_groups, config.rms_norm_eps
            ),
            hidden_act=config.hidden_act,
            step_limits=config.time_step_limit,
            conv_bias=config.mamba_conv_bias,
            in_bias=config.mamba_proj_bias,
            out_bias=config.mamba_proj_bias,
            rngs=rngs,
        )


class Attention(nnx.Module):
    """Grouped-query attention with a scale of its own."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        self.scale = config.attention_multiplier
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary | None) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        if positions is not None:
            q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.scale)
        return self.o_proj(x.reshape(B, T, -1))


class SharedMLP(nnx.Module):
    """A gated linear unit, gate and input in one tensor, and a projection."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.shared_intermediate_size
        self.input_linear = layers.Linear(
            width, 2 * inner, use_bias=False, rngs=rngs
        )
        self.output_linear = layers.Linear(
            inner, width, use_bias=False, rngs=rngs
        )
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, x = jnp.split(self.input_linear(x), 2, axis=-1)
        return self.output_linear(self.act(gate) * x)


class Router(nnx.Module):
    """Scores of the experts, by a linear layer of that name."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.layer = layers.Linear(
            config.hidden_size,
            config.num_local_experts,
            use_bias=False,
            rngs=rngs,
        )


class ExpertWeights(nnx.Module):
    """One layer of all experts: [E, outputs, inputs]."""

    def __init__(self, num_experts: int, inputs: int, outputs: int, *, rngs):
        init = nnx.initializers.lecun_normal(
            in_axis=2, out_axis=1, batch_axis=0
        )
        shape = (num_experts, outputs, inputs)
        self.weight = nnx.Param(init(rngs.params(), shape))


class Mixture(nnx.Module):
    """The router, and its experts: gated linear units as the shared one."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        num_experts = config.num_local_experts
        self.top_k = config.num_experts_per_tok
        self.router = Router(config, rngs=rngs)
        self.input_linear = ExpertWeights(
            num_experts, width, 2 * inner, rngs=rngs
        )
        self.output_linear = ExpertWeights(num_experts, inner, width, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = self.router.layer(x).astype(jnp.float32)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        of_experts = jax.tree_util.Partial(
            functools.partial(_expert, self.act),
            self.input_linear.weight[...],
            self.output_linear.weight[...],
        )
        return experts.mixture(
            x, of_experts, chosen, jax.nn.softmax(weights, axis=-1)
        )


def _expert(act, input_weight, output_weight, x: jax.Array) -> jax.Array:
    """Returns the output of one expert, [R, D] -> [R, D]."""
    gate, x = jnp.split(x @ input_weight.T, 2, axis=-1)
    return (act(gate) * x) @ output_weight.T


class Block(nnx.Module):
    """A mixer, then MLP and experts, after RMSNorms, added times a factor."""

    def __init__(self, config: Config, name: str, mixer: nnx.Module, *, rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        # As the files call it.
        self.name = name
        setattr(self, name, mixer)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.shared_mlp = SharedMLP(config, rngs=rngs)
        self.has_experts = config.num_local_experts > 0
        if self.has_experts:
            self.block_sparse_moe = Mixture(config, rngs=rngs)
        self.factor = config.residual_multiplier

    def __call__(self, x: jax.Array, *positions: Rotary | None) -> jax.Array:
        mixed = getattr(self, self.name)(self.input_layernorm(x), *positions)
        x = x + mixed * self.factor
        normed = self.post_attention_layernorm(x)
        y = self.shared_mlp(normed)
        if self.has_experts:
            y = self.block_sparse_moe(normed) + y
        return x + y * self.factor


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.layer_types = tuple(config.layer_types)
        self.multiplier = config.embedding_multiplier
        self.rope_parameters = None
        if config.position_embedding_type == "rope":
            self.rope_parameters = config.rope_parameters
        self.head_dim = _head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )

        def blocks(kind, name, mixer):
            return hybrids.blocks(
                self.layer_types,
                kind,
                lambda rngs: Block(
                    config, name, mixer(config, rngs=rngs), rngs=rngs
                ),
                rngs,
            )

        self.mamba = blocks("linear_attention", "mamba", Mamba)
        self.attention = blocks("full_attention", "self_attn", Attention)
        self.norm = _rms_norm(config, rngs)

    def positions(self) -> Rotary | None:
        if self.rope_parameters is None:
            return None
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        kinds = {
            "linear_attention": hybrids.Kind(
                self.mamba, lambda block, x: block(x)
            ),
            "full_attention": hybrids.Kind(
                self.attention, lambda block, x: block(x, positions)
            ),
        }
        x = self.multiplier * self.embed_tokens(tokens)
        return self.norm(hybrids.run(x, self.layer_types, kinds))


class CausalLM(layers.LanguageModel):
    """Granite 4.0 with its head, from Hugging Face's config.

    Raises:
      ValueError: A layer is of another type; groups do not divide the heads of
        Mamba-2, or its heads do not make up its inner width; positions, an
        activation or a kind of rotary scaling are not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        kinds = set(config.layer_types)
        if not kinds or kinds - set(_STACKS):
            raise ValueError(
                f"layer_types: {sorted(kinds - set(_STACKS))} are not ported; "
                f"ported are {', '.join(_STACKS)}"
            )
        if len(config.layer_types) != config.num_hidden_layers:
            raise ValueError(
                f"num_hidden_layers {config.num_hidden_layers}, but "
                f"layer_types has {len(config.layer_types)}"
            )
        if config.position_embedding_type not in (None, "nope", "rope"):
            raise ValueError(
                f"position_embedding_type {config.position_embedding_type!r} "
                "is not ported"
            )
        if "linear_attention" in kinds:
            _check_mamba(config)
        present = [*kinds, config.position_embedding_type]
        present += ["experts"] if config.num_local_experts else []
        hybrids.pass_over(config, present, _ATTRIBUTES)
        self.config = config
        self.divisor = config.logits_scaling
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, divided: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden) / self.divisor
        return self.lm_head(hidden) / self.divisor


def _check_mamba(config: Config) -> None:
    inner = int(config.mamba_expand * config.hidden_size)
    if config.mamba_n_heads * config.mamba_d_head != inner:
        raise ValueError(
            f"mamba_n_heads {config.mamba_n_heads} of mamba_d_head "
            f"{config.mamba_d_head}, but mamba_expand times hidden_size is "
            f"{inner}"
        )
    if config.time_step_limit is None:
        raise ValueError("time_step_limit=None is not ported")
    state_spaces.check_groups(
        config.mamba_n_heads,
        config.mamba_n_groups,
        "mamba_n_heads mamba_n_groups",
    )


def _head_dim(config: Config) -> int:
    width = config.hidden_size // config.num_attention_heads
    return getattr(config, "head_dim", None) or width


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
