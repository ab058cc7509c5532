"""Kimi Linear: An Expressive, Efficient Attention Architecture (2025).

By the Kimi Team, arXiv 2510.26692. Special:
  - three layers with Kimi Delta Attention, then one with latent attention;
  - Kimi Delta Attention: a delta rule in which each feature of a key decays by
    itself; causal convolutions, queries and keys of length 1, decays and gates
    by matrices of low rank, an RMSNorm under the sigmoid of a gate;
  - latent attention as DeepSeek-V2's (arXiv 2405.04434), but nothing turns:
    positions are known from the decays alone;
  - experts of DeepSeek-V3's kind: chosen by sigmoids and a bias, some that all
    tokens share; the first layer has an MLP.

Longer than most families for its two kinds of layers and of experts.

B batch, T position, N query heads, D width, F MLP width, V vocabulary, L
layers, E experts.
"""

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

PREFIX = "model."
IGNORED = ()
SHARDING = (
    *sharding.RULES,
    *sharding.columns(
        *("b_proj", "f_b_proj", "g_b_proj", "kv_b_proj", "q_b_proj")
    ),
    *sharding.replicated(
        *("f_a_proj", "g_a_proj", "gate", "kv_a_proj_with_mqa", "q_a_proj")
    ),
    *sharding.columns("w1", "w3"),
    *sharding.rows("w2"),
    *sharding.features(r"[qkv]_conv1d\.weight", rank=3),
    *sharding.features("dt_bias"),
    (r"\.A_log$", jax.sharding.PartitionSpec(None, None, "model", None)),
)

# transformers writes the MLPs of the first layers under the name of experts.
OTHER_NAMES = (
    (r"\.block_sparse_moe\.(gate|up|down)_proj\.", r".mlp.\1_proj."),
)
INERT = {
    "head_dim": "transformers never uses it in Kimi Linear",
    "model_max_length": "it is a length of texts; nothing turns",
    "qk_head_dim": "it is the sum of qk_nope_head_dim and qk_rope_head_dim",
}
# Read by the config class, which makes layer_types and sizes of them.
UNDECLARED = ("first_k_dense_replace", "linear_attn_config")

Config = transformers.KimiLinearConfig

# Of the latent norms; the config's rms_norm_eps is for the others.
_LATENT_EPSILON = 1e-6
# The attribute that holds the layers of a kind, with MLP or experts.
_STACKS = {
    ("linear_attention", "dense"): "linear_dense",
    ("linear_attention", "sparse"): "linear_sparse",
    ("full_attention", "dense"): "full_dense",
    ("full_attention", "sparse"): "full_sparse",
}


def _kinds(config: Config) -> tuple[str, ...]:
    """Returns the attribute that holds each layer."""
    both = zip(config.layer_types, config.mlp_layer_types, strict=True)
    return tuple(_STACKS[kinds] for kinds in both)


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of all kinds, and in some the experts."""
    kinds = _kinds(config)
    found = hybrids.stacks("model", kinds, {name: name for name in kinds})
    numbers = range(config.num_local_experts)
    return found | {
        f"{path}.block_sparse_moe.experts": layers.Stack("experts", numbers)
        for path in found
        if path.endswith("_sparse")
    }


class DeltaAttention(nnx.Module):
    """Kimi Delta Attention.

    Source: Kimi Team, arXiv 2510.26692, eq. 10.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.num_heads, H = config.linear_num_heads, config.linear_head_dim
        inner = self.num_heads * H

        def linear(num_in: int, num_out: int) -> nnx.Linear:
            return layers.Linear(num_in, num_out, use_bias=False, rngs=rngs)

        def convolution() -> convolutions.CausalConv1D:
            return convolutions.CausalConv1D(
                inner, config.linear_conv_kernel_dim, bias=False, rngs=rngs
            )

        self.q_proj, self.q_conv1d = linear(width, inner), convolution()
        self.k_proj, self.k_conv1d = linear(width, inner), convolution()
        self.v_proj, self.v_conv1d = linear(width, inner), convolution()
        self.f_a_proj, self.f_b_proj = linear(width, H), linear(H, inner)
        self.g_a_proj, self.g_b_proj = linear(width, H), linear(H, inner)
        self.b_proj = linear(width, self.num_heads)
        rates = jnp.linspace(1, 16, self.num_heads)
        self.A_log = nnx.Param(jnp.log(rates)[None, None, :, None])
        self.dt_bias = nnx.Param(jnp.full(inner, -4.0))
        self.o_norm = GatedRMSNorm(H, epsilon=config.rms_norm_eps)
        self.o_proj = linear(inner, width)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""

        def heads(y):
            return y.reshape(*x.shape[:2], self.num_heads, -1)

        q, k, v = (
            heads(self.act(convolution(projection(x)))).astype(jnp.float32)
            for projection, convolution in (
                (self.q_proj, self.q_conv1d),
                (self.k_proj, self.k_conv1d),
                (self.v_proj, self.v_conv1d),
            )
        )
        step = self.f_b_proj(self.f_a_proj(x)).astype(jnp.float32)
        step = heads(step + self.dt_bias[...].astype(jnp.float32))
        # Not log1p, which is more exact than transformers where steps are
        # small; a state that lasts shows the difference.
        softplus = jnp.log(1.0 + jnp.exp(jnp.minimum(step, 20.0)))
        softplus = jnp.where(step > 20.0, step, softplus)
        y = delta_rule.channel_delta_rule(
            delta_rule.normalised(q) * q.shape[-1] ** -0.5,
            delta_rule.normalised(k),
            v,
            -jnp.exp(self.A_log[...].astype(jnp.float32)) * softplus,
            jax.nn.sigmoid(self.b_proj(x)).astype(jnp.float32),
        )
        y = self.o_norm(y, heads(self.g_b_proj(self.g_a_proj(x))))
        return self.o_proj(y.reshape(*x.shape[:2], -1))


class LatentAttention(nnx.Module):
    """Multi-head latent attention in which nothing turns."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        bias, width = config.attention_bias, config.hidden_size
        self.num_heads = config.num_attention_heads
        self.latent, self.fixed = config.kv_lora_rank, config.qk_nope_head_dim
        key_dim = self.fixed + config.qk_rope_head_dim
        value_dim, rank = config.v_head_dim, config.q_lora_rank

        def linear(num_in: int, num_out: int, bias: bool) -> nnx.Linear:
            return layers.Linear(num_in, num_out, use_bias=bias, rngs=rngs)

        self.low_rank = rank is not None
        if self.low_rank:
            self.q_a_proj = linear(width, rank, bias)
            self.q_a_layernorm = _rms_norm(rank, _LATENT_EPSILON, rngs)
            self.q_b_proj = linear(rank, self.num_heads * key_dim, False)
        else:
            self.q_proj = linear(width, self.num_heads * key_dim, False)
        self.kv_a_proj_with_mqa = linear(
            width, self.latent + config.qk_rope_head_dim, bias
        )
        self.kv_a_layernorm = _rms_norm(self.latent, _LATENT_EPSILON, rngs)
        self.kv_b_proj = linear(
            self.latent, self.num_heads * (self.fixed + value_dim), False
        )
        self.o_proj = linear(self.num_heads * value_dim, width, bias)
        self.scale = key_dim**-0.5

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""
        B, T, _ = x.shape
        if self.low_rank:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        else:
            q = self.q_proj(x)
        q = q.reshape(B, T, self.num_heads, -1)
        latent, shared = jnp.split(
            self.kv_a_proj_with_mqa(x), [self.latent], axis=-1
        )
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.reshape(B, T, self.num_heads, -1)
        k, v = jnp.split(kv, [self.fixed], axis=-1)
        shared = jnp.broadcast_to(
            shared[:, :, None], (*k.shape[:3], shared.shape[-1])
        )
        k = jnp.concatenate([k, shared], axis=-1)
        y = layers.causal_attention(q, k, v, scale=self.scale)
        return self.o_proj(y.reshape(B, T, -1))


class GatedRMSNorm(nnx.Module):
    """The RMSNorm of each head's features, times the sigmoid of a gate.

    All in float32, other than that of Gated DeltaNet.
    """

    def __init__(self, num_features: int, *, epsilon: float):
        self.weight = nnx.Param(jnp.ones(num_features))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x [..., V], float32, normalised, in the gate's dtype."""
        square = jnp.mean(x * x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(square + self.epsilon)
        x = self.weight[...].astype(jnp.float32) * x
        return (x * jax.nn.sigmoid(gate.astype(jnp.float32))).astype(gate.dtype)


class Mixture(nnx.Module):
    """The router and its experts, and those that all tokens share, as one."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.moe_intermediate_size
        act, num_experts = config.hidden_act, config.num_local_experts
        self.gate = experts.SigmoidRouter(
            width,
            num_experts,
            top_k=config.num_experts_per_tok,
            num_groups=config.n_group,
            top_groups=config.topk_group,
            normalise=config.norm_topk_prob,
            scale=config.routed_scaling_factor,
            rngs=rngs,
        )
        self.experts = layers.stack(
            lambda rngs: Expert(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        self.shared_experts = experts.GatedMLP(
            width, config.n_shared_experts * inner, act, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        chosen, weights = self.gate(x)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        return mixed + self.shared_experts(x)


class Expert(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, width: int, inner: int, act: str, *, rngs: nnx.Rngs):
        self.w1 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.w2 = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.w3 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.act = layers.activation(act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w2(self.act(self.w1(x)) * self.w3(x))


class Block(nnx.Module):
    """A mixer, then MLP or experts, each after an RMSNorm and added."""

    def __init__(
        self, config: Config, kinds: tuple[str, str], *, rngs: nnx.Rngs
    ):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        mixer, mlp = kinds
        self.input_layernorm = _rms_norm(width, epsilon, rngs)
        if mixer == "linear_attention":
            self.self_attn = DeltaAttention(config, rngs=rngs)
        else:
            self.self_attn = LatentAttention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(width, epsilon, rngs)
        self.is_dense = mlp == "dense"
        if self.is_dense:
            self.mlp = experts.GatedMLP(
                width, config.intermediate_size, config.hidden_act, rngs=rngs
            )
        else:
            self.block_sparse_moe = Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x))
        second = self.mlp if self.is_dense else self.block_sparse_moe
        return x + second(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers of several kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.kinds = _kinds(config)
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )

        def blocks(kinds: tuple[str, str], number: int) -> nnx.Module:
            return layers.stack(
                lambda rngs: Block(config, kinds, rngs=rngs), number, rngs
            )

        for kinds, name in _STACKS.items():
            if number := self.kinds.count(name):
                setattr(self, name, blocks(kinds, number))
        self.norm = _rms_norm(config.hidden_size, config.rms_norm_eps, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        kinds = {
            name: hybrids.Kind(getattr(self, name), lambda block, x: block(x))
            for name in sorted(set(self.kinds))
        }
        return self.norm(
            hybrids.run(self.embed_tokens(tokens), self.kinds, kinds)
        )


class CausalLM(layers.Headed):
    """Kimi Linear with its head, from Hugging Face's `KimiLinearConfig`.

    Raises:
      ValueError: The layers are not of both kinds, linear and full attention,
        or of other kinds; latent attention has fewer key heads; the groups
        of experts are not equal; the head is tied; an activation is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        kinds, mlps = config.layer_types, config.mlp_layer_types
        num_layers = config.num_hidden_layers
        if (
            set(kinds) != {"linear_attention", "full_attention"}
            or set(mlps) - {"dense", "sparse"}
            or {len(kinds), len(mlps)} != {num_layers}
        ):
            raise ValueError(
                f"layer_types {kinds} and mlp_layer_types {mlps} for "
                f"num_hidden_layers {num_layers} are not ported: layers with "
                "linear_attention and full_attention, before dense or sparse, "
                "are"
            )
        if "sparse" not in mlps:
            raise ValueError(
                f"mlp_layer_types {mlps} are not ported: some are sparse"
            )
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        if heads != kv_heads:
            raise ValueError(
                f"num_key_value_heads={kv_heads}, but latent attention has "
                f"num_attention_heads={heads} of both"
            )
        if config.tie_word_embeddings:
            raise ValueError("tie_word_embeddings=True is not ported")
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def _rms_norm(num_features: int, epsilon: float, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=epsilon, rngs=rngs)
