"""Falcon-H1: A Family of Hybrid-Head Language Models (2025).

By Zuo et al., arXiv 2507.22448. Special:
  - each layer has Mamba-2 and attention side by side, on one RMSNorm, then a
    gated MLP;
  - a fixed multiplier at most places: of embeddings, keys, both mixers' inputs
    and outputs, the five inputs of Mamba-2, the MLP and the logits;
  - the norm of Mamba-2 may be left out, or stand before the gate;
  - rotary positions with a base of up to 1e11; heads of a size of their own.

Longer than most families for its two mixers.

B batch, T position, N query heads, K key heads, H head features, E inner width
of Mamba-2, D width, F MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding, state_spaces
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = ()
INERT = {
    "mamba_chunk_size": "it is the block of the scan, not what it computes",
    "num_logits_to_keep": "it says what a call returns, not its logits",
}
UNDECLARED = ("head_dim",)
SHARDING = (
    *state_spaces.SHARDING,
    *sharding.columns(
        "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "lm_head"
    ),
    *sharding.rows("o_proj", "down_proj"),
    *sharding.tables("embed_tokens"),
)

Config = transformers.FalconH1Config


class Gate(nnx.Module):
    """The gate alone, of models without a norm in Mamba-2."""

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x, float32, in the gate's dtype: [B, T, E]."""
        return (x * jax.nn.silu(gate.astype(jnp.float32))).astype(gate.dtype)


class NormBeforeGate(state_spaces.GatedRMSNorm):
    """The RMSNorm of each group of features, before a gate."""

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x, float32, in the gate's dtype: [B, T, E]."""
        x = self.weight[...].astype(jnp.float32) * self.normalised(x)
        return (x * jax.nn.silu(gate.astype(jnp.float32))).astype(gate.dtype)


class Mamba(state_spaces.Mamba2Mixer):
    """Mamba-2's layer with a multiplier of each of its inputs."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        sizes = state_spaces.Sizes(
            config.hidden_size,
            config.mamba_n_heads,
            config.mamba_d_head,
            config.mamba_n_groups,
            config.mamba_d_state,
            config.mamba_d_conv,
        )
        norm = Gate()
        norm_type = state_spaces.GatedRMSNorm
        if config.mamba_norm_before_gate:
            norm_type = NormBeforeGate
        if config.mamba_rms_norm:
            norm = norm_type(
                sizes.inner, config.mamba_n_groups, config.rms_norm_eps
            )
        super().__init__(
            sizes,
            norm,
            hidden_act=config.hidden_act,
            step_limits=config.time_step_limit,
            conv_bias=config.mamba_conv_bias,
            in_bias=config.mamba_proj_bias,
            out_bias=config.projectors_bias,
            rngs=rngs,
        )
        self.multiplier = config.ssm_in_multiplier
        # Of gate, input, input weights, output weights and step.
        self.multipliers = tuple(config.ssm_multipliers)

    def project(self, x: jax.Array) -> jax.Array:
        """Returns gate, input, weights and step of each position, scaled."""
        sizes, num_weights = self.sizes, self.sizes.num_groups
        num_weights *= sizes.state_size
        repeats = (sizes.inner, sizes.inner, num_weights, num_weights)
        factors = jnp.repeat(
            jnp.array(self.multipliers, x.dtype),
            jnp.array((*repeats, sizes.num_heads)),
            total_repeat_length=sum(repeats) + sizes.num_heads,
        )
        return self.in_proj(x * self.multiplier) * factors


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and scaled keys."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = _head_dim(config)
        self.key_multiplier = config.key_multiplier
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q = rotate(q, positions)
        k = rotate(k * self.key_multiplier, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back, gate and output scaled."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.mlp_bias
        self.gate_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)
        self.of_gate, self.of_output = config.mlp_multipliers

    def __call__(self, x: jax.Array) -> jax.Array:
        gate = self.act(self.gate_proj(x) * self.of_gate)
        return self.down_proj(self.up_proj(x) * gate) * self.of_output


class Block(nnx.Module):
    """Mamba-2 beside attention, then MLP, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.mamba = Mamba(config, rngs=rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.pre_ff_layernorm = _rms_norm(config, rngs)
        self.feed_forward = MLP(config, rngs=rngs)
        self.of_mamba = config.ssm_out_multiplier
        self.of_input = config.attention_in_multiplier
        self.of_attention = config.attention_out_multiplier

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        normed = self.input_layernorm(x)
        mamba = self.mamba(normed) * self.of_mamba
        attention = self.self_attn(normed * self.of_input, positions)
        x = x + mamba + attention * self.of_attention
        return x + self.feed_forward(self.pre_ff_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = _head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.multiplier = config.embedding_multiplier
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.final_layernorm = _rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.multiplier * self.embed_tokens(tokens),
            self.layers,
        )
        return self.final_layernorm(x)


class CausalLM(layers.Headed):
    """Falcon-H1 with its head, from Hugging Face's `FalconH1Config`.

    Raises:
      ValueError: Groups do not divide the heads of Mamba-2, or its heads do not
        make up its inner width; multipliers are missing; an activation or a
        kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        _check_mamba(config)
        self.multiplier = config.lm_head_multiplier
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, scaled: [..., D] -> [..., V]."""
        return super().logits(hidden) * self.multiplier


def _check_mamba(config: Config) -> None:
    inner = config.mamba_d_ssm
    if inner is None:
        inner = int(config.mamba_expand * config.hidden_size)
    else:
        _ = config.mamba_expand  # It counts without mamba_d_ssm alone.
    if config.mamba_n_heads * config.mamba_d_head != inner:
        raise ValueError(
            f"mamba_n_heads {config.mamba_n_heads} of mamba_d_head "
            f"{config.mamba_d_head}, but the inner width is {inner} "
            "(mamba_d_ssm)"
        )
    for name, length in (
        ("mlp_multipliers", 2),
        ("ssm_multipliers", 5),
        ("time_step_limit", 2),
    ):
        value = getattr(config, name)
        if value is None or len(value) != length:
            raise ValueError(f"{name}={value} is not ported")
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
