"""RWKV: Reinventing RNNs for the Transformer Era (2023).

By Peng et al., arXiv 2305.13048 (RWKV-4). Special:
  - no attention and no positions: WKV, an average of all values so far whose
    weights decay with the distance and grow with the key, one decay a feature;
  - both sublayers see each token mixed with the one before it;
  - a LayerNorm of its own (`pre_ln`) before the first layer;
  - transformers halves the residual stream every `rescale_every` layers, which
    the norms undo but for their epsilon; this port does the same.

Longer than most families: WKV as a parallel scan stands here.

B batch, T position, C position in a chunk, E features of WKV, D width, F MLP
width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx
from jax.sharding import PartitionSpec as P

from mmc_jax.models import layers, scans, sharding

PREFIX = "rwkv."
IGNORED = ()
SHARDING = (
    *sharding.columns(
        r"attention\.(key|value|receptance)",
        r"feed_forward\.(key|receptance)",
        "head",
    ),
    *sharding.rows(r"attention\.output", r"feed_forward\.value"),
    *sharding.tables("embeddings"),
    *sharding.features("time_decay", "time_first"),
    (r"\.time_mix_\w+$", P()),
    *sharding.replicated("pre_ln", "ln1", "ln2", "ln_out"),
)
INERT = {
    "context_length": "it is the length of the training texts, no limit",
}

# Positions that the scan takes at once: its memory is linear in this.
_CHUNK = 64


def stacks(config: transformers.RwkvConfig) -> dict[str, layers.Stack]:
    """Returns where the rows of each stack stand in a checkpoint."""
    return {
        "rwkv.blocks": layers.Stack("blocks", range(config.num_hidden_layers)),
        "rwkv.before_blocks": layers.Stack("blocks", (0,)),
    }


class Attention(nnx.Module):
    """WKV of mixed tokens, times a gate (`receptance`)."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.attention_hidden_size
        # Of a new model: slow decays first, as the authors'.
        self.time_decay = nnx.Param(jnp.linspace(-5.0, 3.0, inner))
        self.time_first = nnx.Param(jnp.ones(inner))
        self.time_mix_key = _time_mix(width)
        self.time_mix_value = _time_mix(width)
        self.time_mix_receptance = _time_mix(width)
        self.key = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.value = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.receptance = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.output = layers.Linear(inner, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        before = _shift(x)
        key = self.key(_mix(x, before, self.time_mix_key))
        value = self.value(_mix(x, before, self.time_mix_value))
        gate = self.receptance(_mix(x, before, self.time_mix_receptance))
        average = wkv(
            jnp.exp(self.time_decay[...].astype(jnp.float32)),
            self.time_first[...].astype(jnp.float32),
            key.astype(jnp.float32),
            value.astype(jnp.float32),
        )
        return self.output(jax.nn.sigmoid(gate) * average.astype(x.dtype))


def wkv(
    decay: jax.Array, first: jax.Array, key: jax.Array, value: jax.Array
) -> jax.Array:
    """Returns the decaying average of the values, float32 [B, T, E].

    wkv_t = sum_s e_s v_s / sum_s e_s over s <= t, with
    e_s = exp(k_s - (t - 1 - s) decay) for s < t and e_t = exp(k_t + first).

    Sums are kept as (num, den) e^(top - age decay): top is the key of the
    largest exponent so far, so that nothing overflows, and age the steps since,
    so that a key that stays the largest is not rounded in each of them.

    Args:
      decay: Decay of the exponent at each step, positive, [E].
      first: Bonus of the newest position's exponent, [E].
      key: [B, T, E].
      value: [B, T, E].

    Source: Peng et al., arXiv 2305.13048, eq. 16 and appendix D.
    """

    def add(sums_1, sums_2):
        (age_1, top_1, num_1, den_1), (age_2, top_2, num_2, den_2) = (
            sums_1,
            sums_2,
        )
        exponent_1, exponent_2 = top_1 - age_1 * decay, top_2 - age_2 * decay
        largest = jnp.maximum(exponent_1, exponent_2)
        scale_1 = jnp.exp(exponent_1 - largest)
        scale_2 = jnp.exp(exponent_2 - largest)
        return (
            jnp.where(exponent_1 < exponent_2, age_2, age_1),
            jnp.where(exponent_1 < exponent_2, top_2, top_1),
            scale_1 * num_1 + scale_2 * num_2,
            scale_1 * den_1 + scale_2 * den_2,
        )

    def inflow(key, value):
        return jnp.zeros_like(key), key, value, jnp.ones_like(key)

    def element(arrays):
        key, _ = arrays
        return jnp.ones_like(key), inflow(*arrays)

    def advance(sums, num_steps, inflow):
        age, *rest = sums
        return add((age + num_steps, *rest), inflow)

    def output(before, _, arrays):
        key, value = arrays
        *_, num, den = add(before, inflow(key + first, value))
        return num / den

    recurrence = scans.Recurrence(
        element=element,
        compose=lambda num_1, num_2: num_1 + num_2,
        advance=advance,
        output=output,
    )
    B, _, E = key.shape
    zeros = jnp.zeros((B, E), jnp.float32)
    # No infinities: they cancel to NaN.
    state = (zeros, zeros - 1e38, zeros, zeros)
    return scans.scan_recurrence(recurrence, state, (key, value), _CHUNK)


class FeedForward(nnx.Module):
    """An MLP of mixed tokens with a squared relu, times a gate."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.time_mix_key = _time_mix(width)
        self.time_mix_receptance = _time_mix(width)
        self.key = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.receptance = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.value = layers.Linear(inner, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        before = _shift(x)
        key = self.key(_mix(x, before, self.time_mix_key))
        gate = self.receptance(_mix(x, before, self.time_mix_receptance))
        return jax.nn.sigmoid(gate) * self.value(jnp.square(jax.nn.relu(key)))


class Block(nnx.Module):
    """WKV, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        self.ln1 = _layer_norm(config, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.ln2 = _layer_norm(config, rngs)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(self, x: jax.Array, scale: jax.Array) -> jax.Array:
        """Returns the stream after the layer, both kept at `scale`."""
        scale = scale.astype(x.dtype)
        x = x + scale * self.attention(self.ln1(x))
        return x + scale * self.feed_forward(self.ln2(x))


class BeforeBlocks(nnx.Module):
    """What the first layer alone has."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        self.pre_ln = _layer_norm(config, rngs)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        self.embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.before_blocks = layers.stack(
            lambda rngs: BeforeBlocks(config, rngs=rngs), 1, rngs
        )
        self.blocks = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        # Its epsilon is PyTorch's default, whatever the config says.
        self.ln_out = nnx.LayerNorm(
            config.hidden_size, epsilon=1e-5, use_fast_variance=False, rngs=rngs
        )
        # What the stream is scaled by in each layer, and at the end.
        every = config.rescale_every
        self.scales = tuple(
            0.5 ** (i // every) if every > 0 else 1.0
            for i in range(config.num_hidden_layers + 1)
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        before = jax.tree.map(lambda x: x[0], self.before_blocks)
        scales = jnp.array(self.scales, jnp.float32)

        def run(x, layer):
            block, scale, next_scale = layer
            x = block(x, scale)
            return x * (next_scale / scale).astype(x.dtype), None

        x, _ = jax.lax.scan(
            run,
            before.pre_ln(self.embeddings(tokens)),
            (self.blocks, scales[:-1], scales[1:]),
        )
        return self.ln_out(x)


class CausalLM(layers.LanguageModel):
    """RWKV-4 with its head, from Hugging Face's `RwkvConfig`."""

    def __init__(self, config: transformers.RwkvConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.rwkv = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.rwkv(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.rwkv.embeddings.attend(hidden)
        return self.head(hidden)


def _time_mix(width: int) -> nnx.Param:
    return nnx.Param(jnp.arange(width).reshape(1, 1, -1) / width)


def _shift(x: jax.Array) -> jax.Array:
    """Returns what stands one position before, zero at the first."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def _mix(x: jax.Array, before: jax.Array, share: nnx.Param) -> jax.Array:
    return x * share[...] + before * (1 - share[...])


def _layer_norm(
    config: transformers.RwkvConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
