"""DeepSeek-V2: A Strong, Economical, and Efficient MoE Language Model (2024).

By DeepSeek-AI, arXiv 2405.04434; the Lite model too. Special:
  - multi-head latent attention: keys and values of all heads are made from one
    short vector, which has an RMSNorm (queries likewise, but for the Lite);
  - of each query head a part turns, feature 2i with 2i + 1; the keys' part that
    turns is one for all heads;
  - YaRN scales the scores by the square of its factor, if `mscale_all_dim`;
  - the first layers have an MLP, the others experts: those that all tokens
    share and, times `routed_scaling_factor`, the best by the router's softmax,
    of all or of the best groups (a group is as good as its best expert).
Over 150 lines: it has two kinds of layers and two of routing.

B batch, T position, N heads, H head features, R rotated ones, D width, V
vocabulary, E experts, G groups of them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import transformers
from absl import logging
from flax import nnx

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.rotary import (
    Rotary,
    rotary_positions,
    rotate_interleaved,
    yarn_scale,
)

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns(
        "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"
    ),
    *sharding.replicated("gate"),
)
INERT = {
    "intermediate_size": "only layers without experts have it",
}
# Of the short vectors; transformers and the release have no attribute for it.
_LATENT_EPSILON = 1e-6
_GROUPED = "group_limited_greedy"

Config = transformers.DeepseekV2Config


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts."""
    dense = config.first_k_dense_replace
    mixed = range(dense, config.num_hidden_layers)
    return {
        "model.dense_layers": layers.Stack("layers", range(dense)),
        "model.layers": layers.Stack("layers", mixed),
        "model.layers.mlp.experts": layers.Stack(
            "experts", range(config.n_routed_experts)
        ),
    }


class Attention(nnx.Module):
    """Multi-head latent attention.

    Args:
      config: Hugging Face's config of DeepSeek-V2, or of a kin that has the
        same attributes for attention.
      turn: Turns the heads by their positions, a function of `rotary`.
    """

    def __init__(
        self,
        config: Config,
        *,
        turn: Callable[[jax.Array, Rotary], jax.Array] = rotate_interleaved,
        rngs: nnx.Rngs,
    ):
        self.turn = turn
        bias, width = config.attention_bias, config.hidden_size
        self.num_heads = config.num_attention_heads
        self.latent = config.kv_lora_rank
        self.fixed, self.turned = config.qk_nope_head_dim, config.head_dim
        num_query = self.num_heads * config.qk_head_dim
        num_value = self.num_heads * config.v_head_dim
        rank = config.q_lora_rank
        self.low_rank = rank is not None
        if self.low_rank:
            self.q_a_proj = layers.Linear(width, rank, use_bias=bias, rngs=rngs)
            self.q_a_layernorm = _rms_norm(rank, _LATENT_EPSILON, rngs)
            self.q_b_proj = layers.Linear(
                rank, num_query, use_bias=False, rngs=rngs
            )
        else:
            self.q_proj = layers.Linear(
                width, num_query, use_bias=False, rngs=rngs
            )
        self.kv_a_proj_with_mqa = layers.Linear(
            width, self.latent + self.turned, use_bias=bias, rngs=rngs
        )
        self.kv_a_layernorm = _rms_norm(self.latent, _LATENT_EPSILON, rngs)
        self.kv_b_proj = layers.Linear(
            self.latent,
            self.num_heads * self.fixed + num_value,
            use_bias=False,
            rngs=rngs,
        )
        self.o_proj = layers.Linear(num_value, width, use_bias=bias, rngs=rngs)
        self.scale = config.qk_head_dim**-0.5 * _score_scale(config)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        if self.low_rank:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        else:
            q = self.q_proj(x)
        q = q.reshape(B, T, self.num_heads, -1)
        latent, k_turned = jnp.split(
            self.kv_a_proj_with_mqa(x), [self.latent], axis=-1
        )
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.reshape(B, T, self.num_heads, -1)
        k_fixed, v = jnp.split(kv, [self.fixed], axis=-1)
        q_fixed, q_turned = jnp.split(q, [self.fixed], axis=-1)
        q_turned = self.turn(q_turned, positions)
        k_turned = self.turn(k_turned[:, :, None], positions)
        k_turned = jnp.broadcast_to(k_turned, q_turned.shape)
        q = jnp.concatenate([q_fixed, q_turned], axis=-1)
        k = jnp.concatenate([k_fixed, k_turned], axis=-1)
        x = layers.causal_attention(q, k, v, scale=self.scale)
        return self.o_proj(x.reshape(B, T, -1))


class Mixture(nnx.Module):
    """The router and its experts, and those that all tokens share, as one."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, num_experts = config.hidden_size, config.n_routed_experts
        self.top_k = config.num_experts_per_tok
        self.scale = config.routed_scaling_factor
        self.num_groups, self.top_groups = config.n_group, config.topk_group
        self.grouped = config.topk_method == _GROUPED
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        act, inner = config.hidden_act, config.moe_intermediate_size
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        num_shared = config.n_shared_experts
        self.shared_experts = _mlp(config, num_shared * inner, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        # Here the router's logits too are in float32.
        kernel = self.gate.kernel[...].astype(jnp.float32)
        scores = jax.nn.softmax(x.astype(jnp.float32) @ kernel, axis=-1)
        if self.grouped:
            scores = self.in_best_groups(scores)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        mixed = experts.mixture(x, self.experts, chosen, weights * self.scale)
        return mixed + self.shared_experts(x)

    def in_best_groups(self, scores: jax.Array) -> jax.Array:
        """Returns scores [..., E] with zeros for all but the best groups."""
        groups = scores.reshape(*scores.shape[:-1], self.num_groups, -1)
        _, best = jax.lax.top_k(groups.max(axis=-1), self.top_groups)
        among = (best[..., None] == jnp.arange(self.num_groups)).any(axis=-2)
        return jnp.where(among[..., None], groups, 0.0).reshape(scores.shape)


class Block(nnx.Module):
    """Attention, then MLP or experts, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, dense: bool, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = _rms_norm(width, epsilon, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(width, epsilon, rngs)
        if dense:
            self.mlp = _mlp(config, config.intermediate_size, rngs)
        else:
            self.mlp = Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.turned = config.qk_rope_head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        width, num_layers = config.hidden_size, config.num_hidden_layers
        self.num_dense = config.first_k_dense_replace
        self.embed_tokens = layers.Embed(config.vocab_size, width, rngs=rngs)
        if self.num_dense:
            self.dense_layers = layers.stack(
                lambda rngs: Block(config, dense=True, rngs=rngs),
                self.num_dense,
                rngs,
            )
        self.layers = layers.stack(
            lambda rngs: Block(config, dense=False, rngs=rngs),
            num_layers - self.num_dense,
            rngs,
        )
        self.norm = _rms_norm(width, config.rms_norm_eps, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.turned, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x = self.embed_tokens(tokens)

        def step(x: jax.Array, layer: Block) -> tuple[jax.Array, None]:
            return layer(x, positions), None

        if self.num_dense:
            x, _ = jax.lax.scan(step, x, self.dense_layers)
        x, _ = jax.lax.scan(step, x, self.layers)
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """DeepSeek-V2 with its head, from Hugging Face's `DeepseekV2Config`.

    Raises:
      ValueError: A way of routing, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        _check(config)
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


def _check(config: Config) -> None:
    methods, heads = ("greedy", _GROUPED), config.num_attention_heads
    for name, value, ported in (
        ("topk_method", config.topk_method, methods),
        ("num_key_value_heads", config.num_key_value_heads, (heads,)),
    ):
        if value not in ported:
            raise ValueError(f"{name}={value!r} is not ported")
    if config.norm_topk_prob:
        logging.log_first_n(
            logging.WARNING,
            "deepseek_v2: norm_topk_prob=True changes nothing here, nor in "
            "transformers; the release's own code normalises there",
            1,
        )
    if config.num_experts_per_tok is None:
        raise ValueError("num_experts_per_tok=None is not ported")
    if (dense := config.first_k_dense_replace) >= config.num_hidden_layers:
        raise ValueError(
            f"first_k_dense_replace={dense} leaves no layer with experts"
        )
    num_experts, num_groups = config.n_routed_experts, config.n_group
    if config.topk_method == _GROUPED and num_experts % (num_groups or 1):
        raise ValueError(
            f"n_routed_experts={num_experts} is no multiple of "
            f"n_group={num_groups}"
        )


def _score_scale(config: Config) -> float:
    rope = config.rope_parameters
    if rope["rope_type"] == "default" or not rope.get("mscale_all_dim"):
        return 1.0
    return yarn_scale(rope["factor"], rope["mscale_all_dim"]) ** 2


def _mlp(config: Config, inner: int, rngs: nnx.Rngs) -> experts.GatedMLP:
    return experts.GatedMLP(
        config.hidden_size,
        inner,
        config.hidden_act,
        use_bias=config.mlp_bias,
        rngs=rngs,
    )


def _rms_norm(num_features: int, epsilon: float, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=epsilon, rngs=rngs)
