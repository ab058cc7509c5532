"""LFM2 Technical Report (2025).

By Liquid AI, arXiv 2511.23404; also LFM2.5. Special:
  - most layers mix positions by a gated short convolution, y = C * conv(B * x)
    with gates B and C that are linear in the input; the others by grouped-query
    attention with an RMSNorm over each query and key head;
  - RMSNorm before each sublayer, rotary positions, a gated MLP whose width is
    computed from `intermediate_size`; the last norm is `embedding_norm`.

Longer than most families for its two kinds of layers.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.convolutions import CausalConv1D
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = ()
INERT = {"full_attn_idxs": "layer_types holds what it says"}
SHARDING = (
    *sharding.columns("q_proj", "k_proj", "v_proj", "in_proj", "w1", "w3"),
    *sharding.columns("lm_head"),
    *sharding.rows("out_proj", "w2"),
    *sharding.tables("embed_tokens"),
    *sharding.features(r"conv\.conv\.weight", rank=3),
    *sharding.features(r"conv\.conv\.bias"),
    *sharding.NORMS,
)

_KINDS = ("conv", "full_attention")

Config = transformers.Lfm2Config | transformers.Lfm2MoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns where the rows of each stack stand in a checkpoint."""
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        **mixer_stacks(config),
    }


def mixer_stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns where the convolutions and the attentions stand."""
    convolution, attention = numbers(config)
    return {
        "model.convolution": layers.Stack("layers", convolution),
        "model.attention": layers.Stack("layers", attention),
    }


class ShortConvolution(nnx.Module):
    """A causal convolution of few positions between two gates."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, bias = config.hidden_size, config.conv_bias
        self.in_proj = layers.Linear(width, 3 * width, use_bias=bias, rngs=rngs)
        self.conv = CausalConv1D(
            width, config.conv_L_cache, bias=bias, rngs=rngs
        )
        self.out_proj = layers.Linear(width, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        before, after, x = jnp.split(self.in_proj(x), 3, axis=-1)
        return self.out_proj(after * self.conv(before * x))


class Attention(nnx.Module):
    """Grouped-query attention with normalised, rotated queries and keys."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        width = config.hidden_size
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.out_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.q_layernorm = rms_norm(config, self.head_dim, rngs)
        self.k_layernorm = rms_norm(config, self.head_dim, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_layernorm(self.q_proj(x).reshape(B, T, -1, self.head_dim))
        k = self.k_layernorm(self.k_proj(x).reshape(B, T, -1, self.head_dim))
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.out_proj(x.reshape(B, T, -1))


class Named(nnx.Module):
    """A module under the name that it has in a checkpoint's layer."""

    def __init__(self, **modules: nnx.Module):
        for name, module in modules.items():
            setattr(self, name, module)


class Mixers(nnx.Module):
    """What looks at other positions, of all layers: a stack of each kind."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        convolution, attention = numbers(config)
        self.convolution = layers.stack(
            lambda rngs: Named(conv=ShortConvolution(config, rngs=rngs)),
            len(convolution),
            rngs,
        )
        self.attention = layers.stack(
            lambda rngs: Named(self_attn=Attention(config, rngs=rngs)),
            len(attention),
            rngs,
        )
        # Each layer's kind, and its row in the stack of that kind.
        every = range(config.num_hidden_layers)
        self.is_attention = tuple(i in attention for i in every)
        self.rows = tuple(
            (attention if i in attention else convolution).index(i)
            for i in every
        )

    def kinds(self) -> tuple[jax.Array, jax.Array]:
        """Returns which layers attend, and each layer's row: [L] both."""
        return jnp.array(self.is_attention), jnp.array(self.rows)

    def mixed(
        self, x: jax.Array, kind: tuple[jax.Array, jax.Array], positions: Rotary
    ) -> jax.Array:
        """Returns what the layer of that kind and row mixes: [B, T, D]."""

        def attend(x, row):
            layer = jax.tree.map(lambda p: p[row], self.attention)
            return layer.self_attn(x, positions)

        def convolve(x, row):
            layer = jax.tree.map(lambda p: p[row], self.convolution)
            return layer.conv(x)

        is_attention, row = kind
        return jax.lax.cond(is_attention, attend, convolve, x, row)


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, width: int, inner: int, *, rngs: nnx.Rngs):
        self.w1 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.w3 = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.w2 = layers.Linear(inner, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w2(jax.nn.silu(self.w1(x)) * self.w3(x))


class Block(nnx.Module):
    """The two RMSNorms of a layer, and its MLP."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.operator_norm = rms_norm(config, width, rngs)
        self.ffn_norm = rms_norm(config, width, rngs)
        self.feed_forward = MLP(width, _inner(config), rngs=rngs)


class Transformer(Mixers):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.rope_parameters = config.rope_parameters
        self.head_dim = head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.embedding_norm = rms_norm(config, config.hidden_size, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()

        def run(x, layer):
            block, kind = layer
            x = x + self.mixed(block.operator_norm(x), kind, positions)
            return x + block.feed_forward(block.ffn_norm(x)), None

        x, _ = jax.lax.scan(
            run, self.embed_tokens(tokens), (self.layers, self.kinds())
        )
        return self.embedding_norm(x)


class CausalLM(layers.LanguageModel):
    """LFM2 with its head, from Hugging Face's `Lfm2Config`.

    Raises:
      ValueError: The layers are not of both kinds, convolution and attention,
        or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        check_kinds(config)
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


def check_kinds(config: Config) -> None:
    """Refuses layers that are not of both kinds, or of a third one."""
    kinds = list(config.layer_types or ())
    if len(kinds) != config.num_hidden_layers or set(kinds) != set(_KINDS):
        raise ValueError(
            f"layer_types {kinds} for num_hidden_layers="
            f"{config.num_hidden_layers} is not ported: one a layer, of both "
            f"{' and '.join(_KINDS)}, is"
        )


def numbers(config: Config) -> tuple[list[int], list[int]]:
    """Returns the numbers of the layers that convolve and that attend."""
    convolution, attention = (
        [i for i, of_layer in enumerate(config.layer_types) if of_layer == kind]
        for kind in _KINDS
    )
    return convolution, attention


def head_dim(config: Config) -> int:
    """Returns the number of features of a head."""
    return config.hidden_size // config.num_attention_heads


def _inner(config: transformers.Lfm2Config) -> int:
    """Returns the width of the MLP: two thirds, times a factor, rounded up."""
    inner = config.intermediate_size
    factor, multiple = config.block_ffn_dim_multiplier, config.block_multiple_of
    if config.block_auto_adjust_ff_dim:
        inner = int(2 * inner / 3)
        if factor is not None:
            inner = multiple * -(-int(factor * inner) // multiple)
    return inner


def rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """Returns an RMSNorm with the config's epsilon."""
    return nnx.RMSNorm(num_features, epsilon=config.norm_eps, rngs=rngs)
