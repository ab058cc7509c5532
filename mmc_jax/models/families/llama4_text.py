"""Llama 4: Scout and Maverick (2025).

By Meta AI; released without a paper. Special:
  - RMSNorm before each sublayer; most layers turn, feature 2i with 2i + 1, and
    attend within chunks of the text; perhaps queries and keys are normalised
    after they turned, without a weight;
  - the other layers neither turn nor have chunks; their queries grow with their
    position, 1 + attn_scale log(1 + floor((t + 1) / floor_scale));
  - every layer, or every second, has experts: one that all tokens share and the
    best by the router, whose sigmoid scales what goes into the expert.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, E experts, C chunks, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate_interleaved

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.",)
SHARDING = (
    *sharding.RULES,
    *sharding.replicated("router"),
    (r"\.experts\.gate_up_proj$", P(None, "model")),
    (r"\.experts\.down_proj$", P("model", None)),
)
INERT = {
    "interleave_moe_layer_step": "moe_layers holds what it says",
    "no_rope_layer_interval": "no_rope_layers holds what it says",
}

Config = transformers.Llama4TextConfig
_CHUNKED = "chunked_attention"


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns what all layers have, and their MLPs or experts."""
    every = range(config.num_hidden_layers)
    mixed = [i for i in every if i in config.moe_layers]
    return {
        "model.layers": layers.Stack("layers", every),
        "model.mixed": layers.Stack("layers", mixed),
        "model.dense": layers.Stack(
            "layers", [i for i in every if i not in mixed]
        ),
    }


class Attention(nnx.Module):
    """Grouped-query attention, within chunks or not, that turns or not."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        self.normalised = config.use_qk_norm
        self.epsilon = config.rms_norm_eps
        self.chunk = config.attention_chunk_size
        self.grows = config.attn_temperature_tuning
        self.growth, self.interval = config.attn_scale, config.floor_scale
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        positions: Rotary,
        turns: jax.Array,
        chunked: jax.Array,
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q = jnp.where(turns, self.turned(q, positions), self.grown(q))
        k = jnp.where(turns, self.turned(k, positions), k)
        return self.o_proj(self.attend(q, k, v, chunked).reshape(B, T, -1))

    def turned(self, x: jax.Array, positions: Rotary) -> jax.Array:
        """Returns queries or keys [B, T, N, H] of a layer that turns."""
        x = rotate_interleaved(x, positions)
        if not self.normalised:
            return x
        y = x.astype(jnp.float32)
        square = jnp.mean(y * y, axis=-1, keepdims=True)
        return (y * jax.lax.rsqrt(square + self.epsilon)).astype(x.dtype)

    def grown(self, q: jax.Array) -> jax.Array:
        """Returns queries [B, T, N, H] of a layer that does not turn."""
        if not self.grows:
            return q
        position = jnp.arange(q.shape[1], dtype=jnp.float32) + 1.0
        times = jnp.floor(position / self.interval)
        scale = (jnp.log1p(times) * self.growth + 1.0)[:, None, None]
        return (q.astype(jnp.float32) * scale).astype(q.dtype)

    def attend(
        self, q: jax.Array, k: jax.Array, v: jax.Array, chunked: jax.Array
    ) -> jax.Array:
        """Returns causal attention, within chunks where they are: as `q`."""
        B, T, N, H = q.shape

        def full(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return layers.causal_attention(q, k, v, scale=H**-0.5)

        def within(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            # Each chunk is a text of its own: [B * C, chunk, N, H].
            pad = -T % self.chunk

            def cut(x: jax.Array) -> jax.Array:
                x = jnp.pad(x, ((0, 0), (0, pad), (0, 0), (0, 0)))
                return x.reshape(-1, self.chunk, *x.shape[2:])

            attended = full(cut(q), cut(k), cut(v))
            return attended.reshape(B, T + pad, N, H)[:, :T]

        if self.chunk is None or T <= self.chunk:
            return full(q, k, v)
        return jax.lax.cond(chunked, within, full, q, k, v)


class Mixture(nnx.Module):
    """The router and its experts, and the one that all tokens share."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        act, num_experts = config.hidden_act, config.num_local_experts
        self.top_k = config.num_experts_per_tok
        self.router = layers.Linear(
            width, num_experts, use_bias=False, rngs=rngs
        )
        self.experts = layers.stack(
            lambda rngs: experts.PackedMLP(
                width, inner, act, inputs_first=True, rngs=rngs
            ),
            num_experts,
            rngs,
        )
        self.shared_expert = experts.GatedMLP(width, inner, act, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        logits, chosen = jax.lax.top_k(self.router(x), self.top_k)
        scores = jax.nn.sigmoid(logits.astype(jnp.float32)).astype(x.dtype)
        total = self.shared_expert(x)
        # Each expert of a token has an input of its own.
        for j in range(self.top_k):
            one = jnp.ones((*x.shape[:-1], 1), jnp.float32)
            scaled = x * scores[..., j : j + 1]
            total = total + experts.mixture(
                scaled, self.experts, chosen[..., j : j + 1], one
            )
        return total


class Block(nnx.Module):
    """What a layer has of whatever kind: norms and attention."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)


class FeedForward(nnx.Module):
    """The MLP or the experts of a layer, by the name that files have."""

    def __init__(self, feed_forward: nnx.Module):
        self.feed_forward = feed_forward


class Transformer(nnx.Module):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        L, width = config.num_hidden_layers, config.hidden_size
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        _check(config)
        self.turns = tuple(map(bool, config.no_rope_layers[:L]))
        self.chunked = tuple(
            kind == _CHUNKED for kind in config.layer_types[:L]
        )
        self.embed_tokens = layers.Embed(config.vocab_size, width, rngs=rngs)
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs), L, rngs
        )
        mixed = [i for i in range(L) if i in config.moe_layers]
        dense = [i for i in range(L) if i not in mixed]
        inner, act = config.intermediate_size_mlp, config.hidden_act
        self.has_mixed, self.has_dense = bool(mixed), bool(dense)
        if mixed:
            self.mixed = layers.stack(
                lambda rngs: FeedForward(Mixture(config, rngs=rngs)),
                len(mixed),
                rngs,
            )
        if dense:
            self.dense = layers.stack(
                lambda rngs: FeedForward(
                    experts.GatedMLP(width, inner, act, rngs=rngs)
                ),
                len(dense),
                rngs,
            )
        # Of each layer: whether it has experts, and its row in that stack.
        self.is_mixed = tuple(i in mixed for i in range(L))
        self.rows = tuple(
            (mixed if i in mixed else dense).index(i) for i in range(L)
        )
        self.norm = _rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def feed_forward(
        self, x: jax.Array, is_mixed: jax.Array, row: jax.Array
    ) -> jax.Array:
        """Returns what the MLP or the experts of a layer make of x."""

        def mix(x: jax.Array, row: jax.Array) -> jax.Array:
            layer = jax.tree.map(lambda p: p[row], self.mixed)
            return layer.feed_forward(x)

        def dense(x: jax.Array, row: jax.Array) -> jax.Array:
            layer = jax.tree.map(lambda p: p[row], self.dense)
            return layer.feed_forward(x)

        if not self.has_mixed:
            return dense(x, row)
        if not self.has_dense:
            return mix(x, row)
        return jax.lax.cond(is_mixed, mix, dense, x, row)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()

        def step(x: jax.Array, layer: tuple) -> tuple[jax.Array, None]:
            block, turns, chunked, is_mixed, row = layer
            y = block.input_layernorm(x)
            x = x + block.self_attn(y, positions, turns, chunked)
            y = block.post_attention_layernorm(x)
            return x + self.feed_forward(y, is_mixed, row), None

        of_layers = (self.turns, self.chunked, self.is_mixed, self.rows)
        x, _ = jax.lax.scan(
            step,
            self.embed_tokens(tokens),
            (self.layers, *map(jnp.array, of_layers)),
        )
        return self.norm(x)


class CausalLM(layers.Headed):
    """Llama 4 with its head, from Hugging Face's `Llama4TextConfig`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def _check(config: Config) -> None:
    L = config.num_hidden_layers
    for name in ("no_rope_layers", "layer_types"):
        if len(value := getattr(config, name)) < L:
            raise ValueError(f"{name} {value}: num_hidden_layers is {L}")
    chunk = config.attention_chunk_size
    for kind in config.layer_types:
        if kind != "full_attention" and (kind != _CHUNKED or not chunk):
            raise ValueError(
                f"layer_types: {kind!r} with attention_chunk_size={chunk} is "
                "not ported"
            )


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
