"""Gemma 4 (2026).

By the Gemma Team, Google DeepMind. Special:
  - as Gemma 3: scaled embeddings, norms before and after each sublayer and over
    each query and key head, layers with a window between layers without; norms
    whose weight is w, values normalised as well, scores without a scale;
  - layers without a window have longer heads, perhaps fewer of keys, perhaps
    keys that are the values too; a share of each head turns;
  - the last layers take the keys and values of the last layer of their type
    that has its own; their MLP may be twice as wide;
  - perhaps each token has a short vector for each layer, from a table and from
    its embedding, which a gate adds at the end of the layer;
  - perhaps experts beside the MLP; each layer's output times a number.

Over 400 lines, in one file as all families are: its layers are of four kinds,
and it has two more inputs.

B batch, T position, N query heads, K key heads, H head features, D width, P
features of a layer's own input, E experts, V vocabulary, L layers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.families.gemma import Embed
from mmc_jax.models.families.gemma2 import soft_cap
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = (
    r"\.rotary_emb\.",
    # Files hold them for layers that take another's keys and values, too.
    r"^model\.layers\.\d+\.self_attn\.([kv]_proj|[kv]_norm)\.",
)
PER_LAYER = ("head_dim", "num_key_value_heads")
SHARDING = (
    *sharding.RULES,
    *sharding.tables("embed_tokens_per_layer"),
    *sharding.columns("per_layer_input_gate", "per_layer_model_projection"),
    *sharding.rows("per_layer_projection"),
    (r"\.router\.", P()),
    (r"\.layer_scalar$", P()),
    (r"\.experts\.gate_up_proj$", P("model", None)),
    (r"\.experts\.down_proj$", P(None, "model")),
)

Config = transformers.Gemma4TextConfig
# By whether a layer is without a window: keys and values, [B, T, K, H] each.
Kept = dict[bool, tuple[jax.Array, jax.Array]]


class Kinds(NamedTuple):
    """The numbers of the layers of each kind.

    Attributes:
      full: Those without a window.
      sliding: Those with one.
      own_full: Those without a window that have keys and values of their own.
      own_sliding: Those with a window that have their own.
      shared: Those that take another's.
    """

    full: list[int]
    sliding: list[int]
    own_full: list[int]
    own_sliding: list[int]
    shared: list[int]


def kinds(config: Config) -> Kinds:
    """Returns the numbers of the layers of each kind."""
    every = range(config.num_hidden_layers)
    full = [i for i in every if config.layer_types[i] == "full_attention"]
    sliding = [i for i in every if i not in full]
    num_own = config.num_hidden_layers - config.num_kv_shared_layers
    return Kinds(
        full,
        sliding,
        [i for i in full if i < num_own],
        [i for i in sliding if i < num_own],
        [i for i in every if i >= num_own],
    )


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns what all layers have, and what those of a kind have."""
    of_kind = kinds(config)
    own = [*of_kind.own_full, *of_kind.own_sliding]
    numbers = {
        "layers": range(config.num_hidden_layers),
        "full": of_kind.full,
        "sliding": of_kind.sliding,
        "own_full": of_kind.own_full,
        "own_sliding": of_kind.own_sliding,
        "narrow": sorted(own),
        "wide": of_kind.shared,
    }
    return {
        f"model.{name}": layers.Stack("layers", rows)
        for name, rows in numbers.items()
    }


class RMSNorm(nnx.Module):
    """x / rms(x), and perhaps times w, all in float32."""

    def __init__(
        self, num_features: int, *, epsilon: float, weighted: bool = True
    ):
        self.epsilon = epsilon
        self.weight = nnx.Param(jnp.ones(num_features)) if weighted else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        square = jnp.mean(y * y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(square + self.epsilon)
        if self.weight is not None:
            y = y * self.weight[...].astype(jnp.float32)
        return y.astype(x.dtype)


class Queries(nnx.Module):
    """Queries, attention to given keys and values, and the projection back."""

    def __init__(self, config: Config, number: int, *, rngs: nnx.Rngs):
        self.head_dim = config.per_layer_config[number].head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.q_norm = RMSNorm(self.head_dim, epsilon=config.rms_norm_eps)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        k: jax.Array,
        v: jax.Array,
        positions: Rotary,
        window: int | None,
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        x = layers.causal_attention(
            rotate(q, positions), k, v, scale=1.0, window=window
        )
        return self.o_proj(x.reshape(B, T, -1))


class Keys(nnx.Module):
    """Keys, which turn, and values, both normalised: [B, T, K, H] each."""

    def __init__(
        self, config: Config, number: int, *, alike: bool, rngs: nnx.Rngs
    ):
        of_layer = config.per_layer_config[number]
        self.head_dim = of_layer.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_key = of_layer.num_key_value_heads * self.head_dim
        epsilon = config.rms_norm_eps
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.k_norm = RMSNorm(self.head_dim, epsilon=epsilon)
        self.alike = alike
        if not alike:
            self.v_proj = layers.Linear(
                width, num_key, use_bias=bias, rngs=rngs
            )
        self.v_norm = RMSNorm(self.head_dim, epsilon=epsilon, weighted=False)

    def __call__(
        self, x: jax.Array, positions: Rotary
    ) -> tuple[jax.Array, jax.Array]:
        B, T, _ = x.shape
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = k
        if not self.alike:
            v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        return rotate(self.k_norm(k), positions), self.v_norm(v)


class Attention(nnx.Module):
    """The attention of a layer, or its keys, by the name that files have."""

    def __init__(self, self_attn: nnx.Module):
        self.self_attn = self_attn


class Dense(nnx.Module):
    """The MLP of a layer, by the name that files have."""

    def __init__(self, config: Config, inner: int, *, rngs: nnx.Rngs):
        self.mlp = experts.GatedMLP(
            config.hidden_size, inner, config.hidden_activation, rngs=rngs
        )


class Router(nnx.Module):
    """The router: weights that sum to one, each times its expert's scale."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, num_experts = config.hidden_size, config.num_experts
        self.top_k = config.top_k_experts
        self.norm = RMSNorm(width, epsilon=config.rms_norm_eps, weighted=False)
        self.proj = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        self.scale_ = nnx.Param(jnp.ones(width))
        self.per_expert_scale = nnx.Param(jnp.ones(num_experts))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns weights, float32, and numbers of experts: [..., k] each."""
        x = self.norm(x) * self.scale_[...]
        logits = self.proj(x * jnp.asarray(x.shape[-1] ** -0.5, x.dtype))
        scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(scores, self.top_k)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        scale = self.per_expert_scale[...].astype(jnp.float32)
        return weights * scale[chosen], chosen


class Block(nnx.Module):
    """What a layer has of whatever kind: norms, experts, its own input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.rms_norm_eps
        own, act = config.hidden_size_per_layer_input, config.hidden_activation
        self.input_layernorm = RMSNorm(width, epsilon=epsilon)
        self.post_attention_layernorm = RMSNorm(width, epsilon=epsilon)
        self.pre_feedforward_layernorm = RMSNorm(width, epsilon=epsilon)
        self.post_feedforward_layernorm = RMSNorm(width, epsilon=epsilon)
        self.layer_scalar = nnx.Param(jnp.ones(1))
        self.has_experts, self.has_input = config.enable_moe_block, own > 0
        if self.has_experts:
            self.router = Router(config, rngs=rngs)
            inner = config.moe_intermediate_size
            self.experts = layers.stack(
                lambda rngs: experts.PackedMLP(
                    width, inner, act, inputs_first=False, rngs=rngs
                ),
                config.num_experts,
                rngs,
            )
            self.post_feedforward_layernorm_1 = RMSNorm(width, epsilon=epsilon)
            self.post_feedforward_layernorm_2 = RMSNorm(width, epsilon=epsilon)
            self.pre_feedforward_layernorm_2 = RMSNorm(width, epsilon=epsilon)
        if self.has_input:
            self.act = layers.activation(act)
            self.per_layer_input_gate = layers.Linear(
                width, own, use_bias=False, rngs=rngs
            )
            self.per_layer_projection = layers.Linear(
                own, width, use_bias=False, rngs=rngs
            )
            self.post_per_layer_input_norm = RMSNorm(width, epsilon=epsilon)

    def after_attention(
        self,
        x: jax.Array,
        y: jax.Array,
        mlp: Callable[[jax.Array], jax.Array],
        inputs: jax.Array | None,
    ) -> jax.Array:
        """Returns the output of the layer: [B, T, D].

        Args:
          x: Its input, [B, T, D].
          y: What attention makes of it, [B, T, D].
          mlp: What its MLP makes of normalised features, [B, T, D] each.
          inputs: Its own input of each token, [B, T, P].
        """
        x = x + self.post_attention_layernorm(y)
        y = mlp(self.pre_feedforward_layernorm(x))
        if self.has_experts:
            weights, chosen = self.router(x)
            mixed = experts.mixture(
                self.pre_feedforward_layernorm_2(x),
                self.experts,
                chosen,
                weights,
            )
            y = self.post_feedforward_layernorm_1(y)
            y = y + self.post_feedforward_layernorm_2(mixed)
        x = x + self.post_feedforward_layernorm(y)
        if self.has_input:
            y = self.act(self.per_layer_input_gate(x)) * inputs
            y = self.per_layer_projection(y)
            x = x + self.post_per_layer_input_norm(y)
        return x * self.layer_scalar[...]


class PerLayerEmbed(layers.Embed):
    """A table of vectors, each times sqrt(P) when it is looked up."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        own = config.hidden_size_per_layer_input
        num_tokens = config.vocab_size_per_layer_input
        if num_tokens < config.vocab_size:
            raise ValueError(
                f"vocab_size_per_layer_input={num_tokens}, but there are "
                f"vocab_size={config.vocab_size} tokens"
            )
        super().__init__(num_tokens, config.num_hidden_layers * own, rngs=rngs)
        self.factor = own**0.5

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = super().__call__(tokens)
        return x * jnp.asarray(self.factor, x.dtype)


class Transformer(nnx.Module):
    """Embedding, inputs of layers, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        of_kind = kinds(config)
        self.window = config.sliding_window
        self.rope_parameters = config.rope_parameters
        self.max_positions = config.max_position_embeddings
        self.head_dims = {
            name: config.per_layer_config[rows[0]].head_dim
            for name, rows in (
                ("full_attention", of_kind.full),
                ("sliding_attention", of_kind.sliding),
            )
        }
        self.positions()  # Refuses what is not ported before any weight.
        L, width = config.num_hidden_layers, config.hidden_size
        epsilon = config.rms_norm_eps
        self.own_input = config.hidden_size_per_layer_input
        self.embed_tokens = Embed(config.vocab_size, width, rngs=rngs)
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs), L, rngs
        )

        def queries(rows: list[int]) -> nnx.Module:
            return layers.stack(
                lambda rngs: Attention(Queries(config, rows[0], rngs=rngs)),
                len(rows),
                rngs,
            )

        def keys(rows: list[int], alike: bool) -> nnx.Module:
            return layers.stack(
                lambda rngs: Attention(
                    Keys(config, rows[0], alike=alike, rngs=rngs)
                ),
                len(rows),
                rngs,
            )

        def dense(rows: list[int], factor: int) -> nnx.Module:
            inner = factor * config.intermediate_size
            return layers.stack(
                lambda rngs: Dense(config, inner, rngs=rngs), len(rows), rngs
            )

        self.full = queries(of_kind.full)
        self.sliding = queries(of_kind.sliding)
        self.own_full = keys(of_kind.own_full, config.attention_k_eq_v)
        self.own_sliding = keys(of_kind.own_sliding, False)
        own = [i for i in range(L) if i not in of_kind.shared]
        factor = 2 if config.use_double_wide_mlp else 1
        self.narrow = dense(own, 1)
        self.wide = dense(of_kind.shared, factor) if of_kind.shared else None
        # Of each layer: whether it is full, whether it shares, and its rows.
        self.is_full = tuple(i in of_kind.full for i in range(L))
        self.shares = tuple(i in of_kind.shared for i in range(L))
        self.rows = tuple(
            tuple(rows.index(i) if i in rows else 0 for i in range(L))
            for rows in (*of_kind[:4], own, of_kind.shared)
        )
        self.norm = RMSNorm(width, epsilon=epsilon)
        if self.own_input:
            self.embed_tokens_per_layer = PerLayerEmbed(config, rngs=rngs)
            self.per_layer_model_projection = layers.Linear(
                width, L * self.own_input, use_bias=False, rngs=rngs
            )
            self.per_layer_projection_norm = RMSNorm(
                self.own_input, epsilon=epsilon
            )

    def positions(self) -> dict[str, Rotary]:
        return {
            kind: rotary_positions(
                self.rope_parameters[kind], head_dim, self.max_positions
            )
            for kind, head_dim in self.head_dims.items()
        }

    def inputs(self, tokens: jax.Array, x: jax.Array) -> jax.Array | None:
        """Returns the own input of each layer, [L, B, T, P], if they have one.

        Args:
          tokens: Numbers of the tokens, [B, T].
          x: Embeddings of the tokens, [B, T, D].
        """
        if not self.own_input:
            return None
        shape = (*tokens.shape, -1, self.own_input)
        made = self.per_layer_model_projection(x)
        made = made * jnp.asarray(x.shape[-1] ** -0.5, x.dtype)
        made = self.per_layer_projection_norm(made.reshape(shape))
        looked_up = self.embed_tokens_per_layer(tokens).reshape(shape)
        both = (made + looked_up) * jnp.asarray(2**-0.5, x.dtype)
        return jnp.moveaxis(both, 2, 0)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x = self.embed_tokens(tokens)
        full = _OfType(self.own_full, self.full, positions["full_attention"])
        sliding = _OfType(
            self.own_sliding, self.sliding, positions["sliding_attention"]
        )

        def keep(x: jax.Array, kept: Kept, rows: jax.Array) -> Kept:
            return kept

        def make_full(x: jax.Array, kept: Kept, rows: jax.Array) -> Kept:
            return {**kept, True: full.keys(x, rows[2])}

        def make_sliding(x: jax.Array, kept: Kept, rows: jax.Array) -> Kept:
            return {**kept, False: sliding.keys(x, rows[3])}

        def attend_full(x: jax.Array, kept: Kept, rows: jax.Array) -> jax.Array:
            return full.attend(x, rows[0], kept[True], None)

        def attend_sliding(
            x: jax.Array, kept: Kept, rows: jax.Array
        ) -> jax.Array:
            return sliding.attend(x, rows[1], kept[False], self.window)

        def narrow(x: jax.Array, rows: jax.Array) -> jax.Array:
            return _row(self.narrow, rows[4]).mlp(x)

        def wide(x: jax.Array, rows: jax.Array) -> jax.Array:
            return _row(self.wide, rows[5]).mlp(x)

        def step(carry: tuple[jax.Array, Kept], layer: tuple) -> tuple:
            x, kept = carry
            block, is_full, shares, rows, inputs = layer
            y = block.input_layernorm(x)
            kind = jnp.where(shares, 2, jnp.where(is_full, 1, 0))
            kept = jax.lax.switch(
                kind, (make_sliding, make_full, keep), y, kept, rows
            )
            y = jax.lax.cond(
                is_full, attend_full, attend_sliding, y, kept, rows
            )

            def mlp(x: jax.Array) -> jax.Array:
                if self.wide is None:
                    return narrow(x, rows)
                return jax.lax.cond(shares, wide, narrow, x, rows)

            return (block.after_attention(x, y, mlp, inputs), kept), None

        kept = {True: full.zeros(x), False: sliding.zeros(x)}
        along = (
            self.layers,
            jnp.array(self.is_full),
            jnp.array(self.shares),
            jnp.array(self.rows).T,
            self.inputs(tokens, x),
        )
        (x, _), _ = jax.lax.scan(step, (x, kept), along)
        return self.norm(x)


class _OfType(NamedTuple):
    """The layers with a window, or those without."""

    own: nnx.Module
    queries: nnx.Module
    positions: Rotary

    def keys(
        self, x: jax.Array, row: jax.Array | int
    ) -> tuple[jax.Array, jax.Array]:
        return _row(self.own, row).self_attn(x, self.positions)

    def zeros(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = jax.eval_shape(lambda: self.keys(x, 0))
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), made)

    def attend(
        self,
        x: jax.Array,
        row: jax.Array,
        kept: tuple[jax.Array, jax.Array],
        window: int | None,
    ) -> jax.Array:
        layer = _row(self.queries, row)
        return layer.self_attn(x, *kept, self.positions, window)


def _row(stacked: nnx.Module, row: jax.Array | int) -> Any:
    return jax.tree.map(lambda p: p[row], stacked)


class CausalLM(layers.Headed):
    """Gemma 4 with its head, from Hugging Face's `Gemma4TextConfig`.

    Raises:
      ValueError: Layers are not of both types, or take keys and values that no
        layer has; or an activation or a kind of rotary positions is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        _check(config)
        self.cap = config.final_logit_softcapping
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, capped: [..., D] -> [..., V]."""
        return soft_cap(super().logits(hidden), self.cap)


def _check(config: Config) -> None:
    if config.use_bidirectional_attention not in (None, "vision"):
        raise ValueError(
            "use_bidirectional_attention="
            f"{config.use_bidirectional_attention!r} is not ported"
        )
    num_tokens = config.vocab_size_per_layer_input
    if config.hidden_size_per_layer_input and num_tokens < config.vocab_size:
        raise ValueError(
            f"vocab_size_per_layer_input={num_tokens}, but there are "
            f"vocab_size={config.vocab_size} tokens"
        )
    layers.windows(config.layer_types, config.sliding_window)
    of_kind = kinds(config)
    if not of_kind.own_full or not of_kind.own_sliding:
        raise ValueError(
            f"layer_types with num_kv_shared_layers="
            f"{config.num_kv_shared_layers}: no layer of a type has keys and "
            "values of its own; that is not ported"
        )
    for rows in (of_kind.full, of_kind.sliding):
        shapes = {
            tuple(getattr(config.per_layer_config[i], n) for n in PER_LAYER)
            for i in rows
        }
        if len(shapes) > 1:
            raise ValueError(
                "per_layer_config: layers of one type differ, which is not "
                "ported"
            )
