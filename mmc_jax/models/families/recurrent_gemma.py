"""RecurrentGemma: Moving Past Transformers (2024).

By Botev, De, Smith et al., arXiv 2404.07839; the architecture is Griffin (De
et al., arXiv 2402.19427). Special:
  - two layers with a gated linear recurrence (RG-LRU, whose gates are
    block-diagonal) after a causal convolution, then one with local attention,
    partly rotated; each before a gated MLP of half `intermediate_size`;
  - RMSNorm with a factor 1 + weight, embeddings times a rounded sqrt(D), a soft
    cap of the logits; tied head.

Longer than most families: it has two kinds of layers, and attention whose
memory is linear in the length of the text.

B batch, T position, C position in a chunk, N query heads and blocks of gates, K
key heads, H head features, E recurrent width, W its width a block, D width, F
MLP width, V vocabulary, L layers.
"""

import itertools

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import convolutions, layers, scans, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = ()
SHARDING = (
    *sharding.RULES,
    *sharding.columns("linear_x", "linear_y"),
    *sharding.rows("linear_out"),
    *sharding.features(r"conv_1d\.weight", r"\w+_gate_weight", rank=3),
    *sharding.features(r"\w+_gate_bias", rank=2),
    *sharding.features(r"conv_1d\.bias", "recurrent_param"),
)

# Positions that the scan takes at once: its memory is linear in this.
_CHUNK = 64

Config = transformers.RecurrentGemmaConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns where the rows of each stack stand in a checkpoint."""
    recurrent = _numbers(config, "recurrent")
    attention = _numbers(config, "attention")
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        "model.recurrent": layers.Stack("layers", recurrent),
        "model.attention": layers.Stack("layers", attention),
    }


class RMSNorm(nnx.Module):
    """Root mean square norm with a factor 1 + weight, in float32."""

    def __init__(self, config: Config):
        self.weight = nnx.Param(jnp.zeros(config.hidden_size))
        self.epsilon = config.rms_norm_eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
        factor = 1 + self.weight[...].astype(jnp.float32)
        return (x32 * jax.lax.rsqrt(square + self.epsilon) * factor).astype(
            x.dtype
        )


class RGLRU(nnx.Module):
    """h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t, a_t = exp(-8 r_t softplus).

    The gates i and r are sigmoids of x by blocks; the first input enters whole.

    Source: De et al., arXiv 2402.19427, eq. 1 to 4 and 6.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        N, E = config.num_attention_heads, config.lru_width
        init = nnx.initializers.lecun_normal(in_axis=1, batch_axis=0)
        shape = (N, E // N, E // N)
        self.recurrent_param = nnx.Param(jnp.linspace(-8.0, -2.0, E))
        self.input_gate_weight = nnx.Param(init(rngs.params(), shape))
        self.input_gate_bias = nnx.Param(jnp.zeros(shape[:2]))
        self.recurrent_gate_weight = nnx.Param(init(rngs.params(), shape))
        self.recurrent_gate_bias = nnx.Param(jnp.zeros(shape[:2]))

    def __call__(self, x: jax.Array) -> jax.Array:
        def gate(weight, bias):
            blocks = x.reshape(*x.shape[:2], *bias.shape)
            y = jnp.einsum("BTNW,NWU->BTNU", blocks, weight[...]) + bias[...]
            return jax.nn.sigmoid(y.astype(jnp.float32)).reshape(x.shape)

        input_gate = gate(self.input_gate_weight, self.input_gate_bias)
        gate = gate(self.recurrent_gate_weight, self.recurrent_gate_bias)
        rate = jax.nn.softplus(self.recurrent_param[...].astype(jnp.float32))
        log_decay = -8 * gate * rate
        # Not expm1, which is more exact than transformers.
        factor = jnp.sqrt(1 - jnp.exp(2 * log_decay)).at[:, 0].set(1.0)
        inflow = factor * input_gate * x.astype(jnp.float32)
        return linear_recurrence(jnp.exp(log_decay), inflow).astype(x.dtype)


def linear_recurrence(decay: jax.Array, inflow: jax.Array) -> jax.Array:
    """Returns h_t = decay_t h_(t-1) + inflow_t, from h = 0: [B, T, E]."""
    recurrence = scans.Recurrence(
        element=lambda arrays: arrays,
        compose=lambda decay_1, decay_2: decay_1 * decay_2,
        advance=lambda state, decay, inflow: decay * state + inflow,
        output=lambda _, state, arrays: state,
    )
    state = jnp.zeros_like(inflow[:, 0])
    return scans.scan_recurrence(recurrence, state, (decay, inflow), _CHUNK)


class RecurrentBlock(nnx.Module):
    """A convolution and the RG-LRU, times a second branch, and projected."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.lru_width
        self.linear_y = layers.Linear(width, inner, rngs=rngs)
        self.linear_x = layers.Linear(width, inner, rngs=rngs)
        self.linear_out = layers.Linear(inner, width, rngs=rngs)
        self.conv_1d = convolutions.CausalConv1D(
            inner, config.conv1d_width, bias=True, rngs=rngs
        )
        self.rg_lru = RGLRU(config, rngs=rngs)
        self.act = layers.activation(config.hidden_activation)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.rg_lru(self.conv_1d(self.linear_x(x)))
        return self.linear_out(y * self.act(self.linear_y(x)))


class Attention(nnx.Module):
    """Grouped-query attention to a window, with partly rotated heads."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, bias = config.hidden_size, config.attention_bias
        self.head_dim = config.head_dim
        self.window = config.attention_window_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = rotate(self.q_proj(x).reshape(B, T, -1, self.head_dim), positions)
        k = rotate(self.k_proj(x).reshape(B, T, -1, self.head_dim), positions)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = local_attention(q, k, v, self.window)
        return self.o_proj(x.reshape(B, T, -1))


def local_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, window: int
) -> jax.Array:
    """Returns attention to the newest `window` positions: [B, T, N, H].

    A chunk of `window` queries sees its own keys and those of the chunk before,
    so that memory is linear in the length of the text.

    Args:
      query: [B, T, N, H].
      key: [B, T, K, H]; K divides N.
      value: [B, T, K, H].
      window: Number of positions that a query sees, its own included.
    """
    C, scale = min(window, query.shape[1]), query.shape[-1] ** -0.5
    distance = C + jnp.arange(C)[:, None] - jnp.arange(2 * C)
    in_window = (distance >= 0) & (distance < window)

    def scan_chunk(state, chunk):
        is_first, *before = state
        query, *own = chunk
        key, value = (
            jnp.concatenate(pair, axis=1)
            for pair in zip(before, own, strict=True)
        )
        mask = in_window & ~(is_first & (jnp.arange(2 * C) < C))
        y = jax.nn.dot_product_attention(
            query, key, value, mask=mask[None, None], scale=scale
        )
        return (jnp.array(False), *own), y

    nothing = jnp.zeros_like(key[:, :C])
    state = (jnp.array(True), nothing, nothing)
    return scans.scan_chunks(scan_chunk, state, (query, key, value), C)


class Temporal(nnx.Module):
    """The part of a layer that looks at other positions."""

    def __init__(self, temporal_block: nnx.Module):
        self.temporal_block = temporal_block


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size // 2
        self.gate_proj = layers.Linear(width, inner, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, rngs=rngs)
        self.act = layers.activation(config.hidden_activation)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """A temporal part, then MLP, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.temporal_pre_norm = RMSNorm(config)
        self.channel_pre_norm = RMSNorm(config)
        self.mlp_block = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, temporal) -> jax.Array:
        x = x + temporal(self.temporal_pre_norm(x))
        return x + self.mlp_block(self.channel_pre_norm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        recurrent = _numbers(config, "recurrent")
        attention = _numbers(config, "attention")
        self.recurrent = layers.stack(
            lambda rngs: Temporal(RecurrentBlock(config, rngs=rngs)),
            len(recurrent),
            rngs,
        )
        self.attention = layers.stack(
            lambda rngs: Temporal(Attention(config, rngs=rngs)),
            len(attention),
            rngs,
        )
        # Each layer's kind, and its row in the stack of that kind.
        every = range(config.num_hidden_layers)
        self.is_attention = tuple(i in attention for i in every)
        self.rows = tuple(
            (attention if i in attention else recurrent).index(i) for i in every
        )
        self.final_norm = RMSNorm(config)

    def positions(self) -> Rotary:
        kind = self.rope_parameters["rope_type"]
        if kind != "default":
            raise ValueError(f"rope_parameters: {kind!r} is not ported")
        return rotary_positions(
            self.rope_parameters, self.head_dim, 0, partial=True
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x = self.embed_tokens(tokens)
        # Rounded to bfloat16 in float32 models as well.
        scale = jnp.array(x.shape[-1] ** 0.5, jnp.bfloat16).astype(x.dtype)

        def attend(x, row):
            block = jax.tree.map(lambda p: p[row], self.attention)
            return block.temporal_block(x, positions)

        def recur(x, row):
            block = jax.tree.map(lambda p: p[row], self.recurrent)
            return block.temporal_block(x)

        def run(x, layer):
            block, is_attention, row = layer
            x = block(
                x, lambda x: jax.lax.cond(is_attention, attend, recur, x, row)
            )
            return x, None

        kinds, rows = jnp.array(self.is_attention), jnp.array(self.rows)
        x, _ = jax.lax.scan(run, x * scale, (self.layers, kinds, rows))
        return self.final_norm(x)


class CausalLM(layers.LanguageModel):
    """RecurrentGemma with its head, from Hugging Face's config.

    Raises:
      ValueError: The layers are not of both kinds, recurrent and attention, or
        heads do not divide `lru_width`; an activation or a kind of rotary
        positions is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        kinds = ("recurrent", "attention")
        numbers = [_numbers(config, kind) for kind in kinds]
        if not all(numbers) or set(config.block_types) - set(kinds):
            raise ValueError(
                f"block_types {config.block_types} for num_hidden_layers "
                f"{config.num_hidden_layers} are not ported: both of {kinds}, "
                "and no others, are"
            )
        if config.lru_width % config.num_attention_heads:
            raise ValueError(
                f"lru_width {config.lru_width} is no multiple of "
                f"num_attention_heads {config.num_attention_heads}"
            )
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        self.soft_cap = config.logits_soft_cap
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, capped: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            logits = self.model.embed_tokens.attend(hidden)
        else:
            logits = self.lm_head(hidden)
        return self.soft_cap * jnp.tanh(logits / self.soft_cap)


def _numbers(config: Config, kind: str) -> list[int]:
    """Returns the numbers of the layers of a kind."""
    kinds = itertools.islice(
        itertools.cycle(config.block_types), config.num_hidden_layers
    )
    return [i for i, of_layer in enumerate(kinds) if of_layer == kind]
