"""Qwen3-Next: Towards Ultimate Training and Inference Efficiency (2025).

By the Qwen team. Special:
  - three layers with a gated delta rule (linear attention, after Yang et al.,
    arXiv 2412.06464), then one with attention;
  - the delta rule: a causal convolution over queries, keys and values, queries
    and keys of length 1, one decay a value head, an RMSNorm under a gate;
  - attention: an RMSNorm over each query and key head, a quarter of a head
    turns, and the output is multiplied by the sigmoid of a gate;
  - the best 10 of 512 experts for each token, and one that all tokens share,
    times a sigmoid gate; RMSNorm whose weight is 1 + w.

Longer than most families for its two kinds of layers and of experts.

B batch, T position, N query heads, K key heads, G value heads a key head, H
head features, D width, F MLP width, V vocabulary, L layers, E experts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import (
    convolutions,
    delta_rule,
    experts,
    hybrids,
    layers,
    sharding,
)
from mmc_jax.models.families.gemma import RMSNorm
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
# Layers that guess further tokens; no logits of a text depend on them.
IGNORED = (r"^(model\.)?mtp\.",)
INERT = {
    "intermediate_size": "only layers without experts have it",
}
SHARDING = (
    *sharding.RULES,
    *sharding.columns("in_proj_qkvz", "in_proj_ba"),
    *sharding.rows("out_proj"),
    *sharding.features(r"conv1d\.weight", rank=3),
    *sharding.features("A_log", "dt_bias"),
    *sharding.replicated("gate", "shared_expert_gate"),
)

# The attribute that holds the layers of a kind.
STACKS = {"linear_attention": "linear", "full_attention": "full"}

Config = (
    transformers.Qwen3NextConfig
    | transformers.Qwen3_5TextConfig
    | transformers.Qwen3_5MoeTextConfig
    | transformers.OlmoHybridConfig
)


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of both kinds, and in each the experts."""
    experts = layers.Stack("experts", range(config.num_experts))
    of_layers = hybrids.stacks("model", config.layer_types, STACKS)
    return of_layers | {f"{path}.mlp.experts": experts for path in of_layers}


class DeltaNet(nnx.Module):
    """Linear attention by the gated delta rule.

    Source: Yang, Kautz and Hatamizadeh, arXiv 2412.06464, figure 1.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.heads = heads = delta_heads(config)
        self.make_projections(config.hidden_size, rngs)
        self.conv1d = convolutions.CausalConv1D(
            2 * heads.keys + heads.values,
            config.linear_conv_kernel_dim,
            bias=False,
            rngs=rngs,
        )
        rates = jnp.linspace(0.5, 16, heads.num_values)
        self.A_log = nnx.Param(jnp.log(rates))
        self.dt_bias = nnx.Param(jnp.ones(heads.num_values))
        self.norm = delta_rule.GatedRMSNorm(
            heads.value_dim, epsilon=config.rms_norm_eps
        )
        self.out_proj = layers.Linear(
            heads.values, config.hidden_size, use_bias=False, rngs=rngs
        )
        self.act = layers.activation(config.hidden_act)

    def make_projections(self, width: int, rngs: nnx.Rngs):
        """Makes the layers of `projections`."""
        features = 2 * (self.heads.keys + self.heads.values)
        self.in_proj_qkvz = layers.Linear(
            width, features, use_bias=False, rngs=rngs
        )
        self.in_proj_ba = layers.Linear(
            width, 2 * self.heads.num_values, use_bias=False, rngs=rngs
        )

    def projections(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Returns what is convolved, and gates, rates and steps.

        [B, T, 2 keys + values], [B, T, values], [B, T, value heads] twice.
        """
        (B, T, _), (num_keys, num_values, D, V) = x.shape, self.heads
        group = num_values // num_keys
        # The features of a key head and of its value heads stand together.
        qkvz = self.in_proj_qkvz(x).reshape(B, T, num_keys, -1)
        *qkv, gate = (
            y.reshape(B, T, -1)
            for y in jnp.split(qkvz, [D, 2 * D, 2 * D + group * V], axis=-1)
        )
        ba = self.in_proj_ba(x).reshape(B, T, num_keys, 2, group)
        rate, step = (ba[..., i, :].reshape(B, T, -1) for i in range(2))
        return jnp.concatenate(qkv, axis=-1), gate, rate, step

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""
        qkv, gate, rate, step = self.projections(x)
        y = delta_rule.linear_attention(
            self.act(self.conv1d(qkv)),
            jax.nn.sigmoid(rate),
            step,
            self.A_log[...],
            self.dt_bias[...],
            self.heads,
        )
        y = self.norm(y, gate.reshape(y.shape))
        return self.out_proj(y.reshape(gate.shape))


class Attention(nnx.Module):
    """Grouped-query attention under a gate, with partly turned heads."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        # A head's query and its gate stand together.
        self.q_proj = layers.Linear(
            width, 2 * num_query, use_bias=bias, rngs=rngs
        )
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.q_norm = RMSNorm(self.head_dim, epsilon=config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, epsilon=config.rms_norm_eps)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, 2 * self.head_dim)
        q, gate = jnp.split(q, 2, axis=-1)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        y = layers.causal_attention(
            rotate(self.q_norm(q), positions),
            rotate(self.k_norm(k), positions),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj((y * jax.nn.sigmoid(gate)).reshape(B, T, -1))


class Mixture(nnx.Module):
    """The router and its experts, and the one that all tokens share."""

    def __init__(self, config: Config, *, normalised: bool, rngs: nnx.Rngs):
        width, act = config.hidden_size, config.hidden_act
        num_experts, inner = config.num_experts, config.moe_intermediate_size
        self.top_k = config.num_experts_per_tok
        self.normalised = normalised
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        inner = config.shared_expert_intermediate_size
        self.shared_expert = experts.GatedMLP(width, inner, act, rngs=rngs)
        self.shared_expert_gate = layers.Linear(
            width, 1, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.softmax(self.gate(x).astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        if self.normalised:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        share = jax.nn.sigmoid(self.shared_expert_gate(x))
        return mixed + share * self.shared_expert(x)


class LinearBlock(nnx.Module):
    """A delta rule, then what follows it, each after an RMSNorm and added."""

    def __init__(
        self,
        config: Config,
        delta_net: type[DeltaNet],
        mlp: nnx.Module,
        *,
        rngs: nnx.Rngs,
    ):
        self.input_layernorm = _rms_norm(config)
        self.linear_attn = delta_net(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config)
        self.mlp = mlp

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.linear_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class FullBlock(nnx.Module):
    """Attention, then what follows it, each after an RMSNorm and added."""

    def __init__(self, config: Config, mlp: nnx.Module, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config)
        self.mlp = mlp

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers of two kinds and the last RMSNorm."""

    def __init__(
        self,
        config: Config,
        delta_net: type[DeltaNet],
        mlp: Callable[[nnx.Rngs], nnx.Module],
        *,
        rngs: nnx.Rngs,
    ):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.layer_types = tuple(config.layer_types)
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.linear = layers.stack(
            lambda rngs: LinearBlock(config, delta_net, mlp(rngs), rngs=rngs),
            self.layer_types.count("linear_attention"),
            rngs,
        )
        self.full = layers.stack(
            lambda rngs: FullBlock(config, mlp(rngs), rngs=rngs),
            self.layer_types.count("full_attention"),
            rngs,
        )
        self.norm = _rms_norm(config)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        kinds = {
            "linear_attention": hybrids.Kind(
                self.linear, lambda block, x: block(x)
            ),
            "full_attention": hybrids.Kind(
                self.full, lambda block, x: block(x, positions)
            ),
        }
        x = hybrids.run(self.embed_tokens(tokens), self.layer_types, kinds)
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Qwen3-Next with its head, from Hugging Face's config.

    Raises:
      ValueError: The layers are not of both kinds, linear and full attention;
        key heads do not divide value heads; some layers are without experts (of
        no released model); an activation or a kind of rotary scaling is not
        ported.
    """

    delta_net = DeltaNet

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        check_layers(config)
        mlp = self.checked_mlp(config)
        self.config = config
        self.model = Transformer(config, self.delta_net, mlp, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def checked_mlp(self, config: Config) -> Callable[[nnx.Rngs], nnx.Module]:
        """Returns what makes the second half of a layer."""
        for name, ported in (
            ("decoder_sparse_step", 1),
            ("mlp_only_layers", []),
        ):
            if (value := getattr(config, name)) != ported:
                raise ValueError(f"{name}={value} is not ported")
        normalised = config.norm_topk_prob
        return lambda rngs: Mixture(config, normalised=normalised, rngs=rngs)

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden)
        return self.lm_head(hidden)


def check_layers(config: Config) -> None:
    """Refuses layers of other kinds, or all of one, and heads that do not fit.

    Raises:
      ValueError: They are such; the message names the attribute.
    """
    kinds = config.layer_types
    if set(kinds) != set(STACKS) or len(kinds) != config.num_hidden_layers:
        raise ValueError(
            f"layer_types {kinds} for num_hidden_layers "
            f"{config.num_hidden_layers} are not ported: both of "
            f"{', '.join(STACKS)}, and no others, are"
        )
    delta_heads(config).check("linear_num_value_heads linear_num_key_heads")


def delta_heads(config: Config) -> delta_rule.Heads:
    """Returns the heads of the delta rule."""
    return delta_rule.Heads(
        config.linear_num_key_heads,
        config.linear_num_value_heads,
        config.linear_key_head_dim,
        config.linear_value_head_dim,
    )


def _rms_norm(config: Config) -> RMSNorm:
    return RMSNorm(config.hidden_size, epsilon=config.rms_norm_eps)
