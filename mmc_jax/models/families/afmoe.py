"""Arcee Trinity Large Technical Report (2026); Nano and Mini too.

By Singh et al., arXiv 2602.17004; in transformers AFMoE. Special:
  - an RMSNorm before and after each sublayer, and over each query and key head;
  - what the heads attended to is gated by sigmoids of the layer's input;
  - layers with a window turn queries and keys; those without do not;
  - the first layers have an MLP, the others experts: those that all tokens
    share and, times `route_scale`, the best by the router's sigmoids and a bias
    that has a part in the choice alone;
  - embeddings times sqrt(D) if `mup_enabled`.

Longer than most families for its two kinds of layers.

B batch, T position, N query heads, K key heads, H head features, D width, E
experts, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import dense_first, experts, layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.replicated("gate"),
    (r"\.expert_bias$", P()),
)
INERT = {
    "intermediate_size": "only layers without experts have it",
    "global_attn_every_n_layers": "layer_types holds what it says",
}

Config = transformers.AfmoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts."""
    return dense_first.stacks(
        config.num_hidden_layers, config.num_dense_layers, config.num_experts
    )


class Attention(nnx.Module):
    """Gated grouped-query attention with normalised queries and keys."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.gate_proj = layers.Linear(
            width, num_query, use_bias=False, rngs=rngs
        )
        self.q_norm = _rms_norm(config, self.head_dim, rngs)
        self.k_norm = _rms_norm(config, self.head_dim, rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        k = self.k_norm(self.k_proj(x).reshape(B, T, -1, self.head_dim))
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        gate = jax.nn.sigmoid(self.gate_proj(x))
        q, k = rotate(q, positions), rotate(k, positions)
        scale = self.head_dim**-0.5
        x = layers.causal_attention(q, k, v, scale=scale, window=window)
        return self.o_proj(x.reshape(B, T, -1) * gate)


class Router(nnx.Module):
    """The linear layer that scores experts."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.gate = layers.Linear(
            config.hidden_size, config.num_experts, use_bias=False, rngs=rngs
        )


class Mixture(nnx.Module):
    """The router and its experts, and those that all tokens share, as one."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.moe_intermediate_size
        act, num_experts = config.hidden_act, config.num_experts
        self.top_k, self.scale = config.num_experts_per_tok, config.route_scale
        self.router = Router(config, rngs=rngs)
        self.expert_bias = nnx.Param(jnp.zeros(num_experts))
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        self.shared_experts = experts.GatedMLP(
            width, config.num_shared_experts * inner, act, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = jax.nn.sigmoid(self.router.gate(x).astype(jnp.float32))
        bias = self.expert_bias[...].astype(jnp.float32)
        _, chosen = jax.lax.top_k(scores + bias, self.top_k)
        weights = jnp.take_along_axis(scores, chosen, axis=-1)
        weights = experts.normalised(weights) * self.scale
        mixed = experts.mixture(x, self.experts, chosen, weights)
        return self.shared_experts(x) + mixed


class Block(nnx.Module):
    """Attention, then MLP or experts, each between two RMSNorms, added."""

    def __init__(self, config: Config, *, dense: bool, rngs: nnx.Rngs):
        width = config.hidden_size
        self.input_layernorm = _rms_norm(config, width, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, width, rngs)
        self.pre_mlp_layernorm = _rms_norm(config, width, rngs)
        if dense:
            self.mlp = experts.GatedMLP(
                width, config.intermediate_size, config.hidden_act, rngs=rngs
            )
        else:
            self.mlp = Mixture(config, rngs=rngs)
        self.post_mlp_layernorm = _rms_norm(config, width, rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        y = self.self_attn(self.input_layernorm(x), positions, window)
        x = x + self.post_attention_layernorm(y)
        y = self.mlp(self.pre_mlp_layernorm(x))
        return x + self.post_mlp_layernorm(y)


class Transformer(dense_first.Transformer):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.layer_types = tuple(config.layer_types)
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        self.positions()  # Refuses what is not ported before any weight.
        self.scale = config.hidden_size**0.5 if config.mup_enabled else None
        super().__init__(
            config,
            config.num_dense_layers,
            lambda dense, rngs: Block(config, dense=dense, rngs=rngs),
            rngs=rngs,
        )

    def positions(self) -> Rotary:
        """Returns the angles of each layer, zero where nothing turns."""
        one = rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )
        turns = jnp.array([t == "sliding_attention" for t in self.layer_types])
        return one._replace(
            frequencies=jnp.where(turns[:, None], one.frequencies, 0.0),
            scale=jnp.where(turns, one.scale, 1.0),
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed_tokens(tokens)
        if self.scale is not None:
            x = (x.astype(jnp.float32) * self.scale).astype(x.dtype)
        positions = self.positions()
        most = positions.max_positions

        def step(
            x: jax.Array, layer: Block, rotary: Rotary, window: jax.Array
        ) -> jax.Array:
            return layer(x, rotary._replace(max_positions=most), window)

        of_layers = positions._replace(max_positions=None)
        return self.run(x, step, of_layers, jnp.array(self.windows))


class CausalLM(layers.Headed):
    """Trinity with its head, from Hugging Face's `AfmoeConfig`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def _rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
