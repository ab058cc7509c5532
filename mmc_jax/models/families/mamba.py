"""Mamba: Linear-Time Sequence Modeling with Selective State Spaces (2023).

By Gu and Dao, arXiv 2312.00752; also Falcon Mamba (Zuo et al., arXiv
2410.05355). Special:
  - no attention and no positions: a causal convolution, then a linear
    recurrence whose step, input and output weights depend on the token;
  - one mixer a layer, after an RMSNorm; the residual stream in float32
    (`residual_in_fp32`);
  - Falcon Mamba: step, input and output weights are normalised, by their root
    mean square alone.

Longer than most families for its scan, and for the initial step sizes that
training needs.

B batch, T position, C chunk of positions, D width, E inner width, N state
size, R rank of the step, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import convolutions, layers, scans, sharding

PREFIX = "backbone."
LAYERS = "backbone.layers"
IGNORED = ()
SHARDING = (
    *sharding.columns("in_proj", "dt_proj", "lm_head"),
    *sharding.rows("x_proj", "out_proj"),
    *sharding.tables("embeddings"),
    *sharding.features("A_log", rank=2),
    *sharding.features(r"conv1d\.weight", rank=3),
    *sharding.features(r"conv1d\.bias", "D"),
    *sharding.NORMS,
)
INERT = {
    "expand": "intermediate_size counts; Falcon Mamba's files hold 16",
}

# Positions whose states are in memory at once: memory is linear in this.
_CHUNK = 32

Config = transformers.MambaConfig | transformers.FalconMambaConfig


class Mixer(nnx.Module):
    """Convolution, selective scan, gate and projection."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.state_size = config.state_size
        self.rank = int(config.time_step_rank)
        bias = config.use_bias
        self.in_proj = layers.Linear(width, 2 * inner, use_bias=bias, rngs=rngs)
        self.conv1d = convolutions.CausalConv1D(
            inner, config.conv_kernel, bias=config.use_conv_bias, rngs=rngs
        )
        num_selected = self.rank + 2 * self.state_size
        self.x_proj = layers.Linear(
            inner, num_selected, use_bias=False, rngs=rngs
        )
        self.dt_proj = layers.Linear(
            self.rank, inner, bias_init=step_bias(config), rngs=rngs
        )
        rates = jnp.arange(1, self.state_size + 1, dtype=jnp.float32)
        rates = jnp.broadcast_to(rates, (inner, self.state_size))
        self.A_log = nnx.Param(jnp.log(rates))
        self.D = nnx.Param(jnp.ones(inner))
        self.out_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)
        # Mamba has none.
        self.selected_epsilon = getattr(config, "mixer_rms_eps", None)

    def __call__(self, x: jax.Array) -> jax.Array:
        u, gate = jnp.split(self.in_proj(x), 2, axis=-1)
        u = self.act(self.conv1d(u))
        selected = self.x_proj(u)
        step, b, c = jnp.split(
            selected, [self.rank, self.rank + self.state_size], axis=-1
        )
        if self.selected_epsilon is not None:
            step, b, c = (
                _normalise(x, self.selected_epsilon) for x in (step, b, c)
            )
        step = jax.nn.softplus(self.dt_proj(step).astype(jnp.float32))
        a = -jnp.exp(self.A_log[...].astype(jnp.float32))
        u32 = u.astype(jnp.float32)
        y = selective_scan(
            u32, step, a, b.astype(jnp.float32), c.astype(jnp.float32)
        )
        y = y + u32 * self.D[...].astype(jnp.float32)
        y = y * jax.nn.silu(gate.astype(jnp.float32))
        return self.out_proj(y.astype(x.dtype))


def selective_scan(
    u: jax.Array, step: jax.Array, a: jax.Array, b: jax.Array, c: jax.Array
) -> jax.Array:
    """Returns the recurrence's output, float32 [B, T, E].

    h_t = exp(step_t a) h_(t-1) + step_t u_t b_t, y_t = h_t . c_t, from h = 0.

    The states of one chunk of positions only are in memory, [B, C, N, E], and
    on CPUs, without a gradient, those of one position.

    Args:
      u: Input, [B, T, E].
      step: Step sizes, positive, [B, T, E].
      a: Rates, negative, [E, N].
      b: Input weights, [B, T, N].
      c: Output weights, [B, T, N].

    Source: Gu and Dao, arXiv 2312.00752, eq. 2 and algorithm 2.
    """
    # E last, as N is too short to fill a vector register.
    rates = a.T

    def element(arrays):
        step, inflow, b, _ = arrays
        decay = jnp.exp(step[..., None, :] * rates)
        return decay, b[..., :, None] * inflow[..., None, :]

    recurrence = scans.Recurrence(
        element=element,
        compose=lambda decay_1, decay_2: decay_1 * decay_2,
        advance=lambda state, decay, inflow: decay * state + inflow,
        # As a product: XLA's sum over an axis that is not the last takes six
        # times as long on CPUs as all the rest.
        output=lambda _, state, arrays: jnp.einsum(
            "...NE,...N->...E", state, arrays[-1], precision="highest"
        ),
    )
    state = jnp.zeros((u.shape[0], *rates.shape), jnp.float32)
    return scans.scan_recurrence(
        recurrence, state, (step, step * u, b, c), _CHUNK
    )


class Block(nnx.Module):
    """A mixer after an RMSNorm, added to its input."""

    def __init__(
        self, config: Config, mixer: type[nnx.Module], *, rngs: nnx.Rngs
    ):
        self.norm = _rms_norm(config, rngs)
        self.mixer = mixer(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = self.norm.scale[...].dtype
        return x + self.mixer(self.norm(x.astype(dtype))).astype(x.dtype)


class Backbone(nnx.Module):
    """Embedding, layers of a mixer each, and the last RMSNorm."""

    def __init__(
        self, config: Config, mixer: type[nnx.Module], *, rngs: nnx.Rngs
    ):
        self.embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, mixer, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm_f = _rms_norm(config, rngs)
        self.residual_in_fp32 = config.residual_in_fp32

    def __call__(self, tokens: jax.Array) -> jax.Array:
        embedded = self.embeddings(tokens)
        dtype = jnp.float32 if self.residual_in_fp32 else embedded.dtype
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x), None),
            embedded.astype(dtype),
            self.layers,
        )
        return self.norm_f(x).astype(embedded.dtype)


class CausalLM(layers.LanguageModel):
    """Mamba or Falcon Mamba with its head, from Hugging Face's config.

    Raises:
      ValueError: An activation is not ported.
    """

    mixer: type[nnx.Module] = Mixer

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = config
        self.backbone = Backbone(config, self.mixer, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.backbone(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.backbone.embeddings.attend(hidden)
        return self.lm_head(hidden)


def step_bias(config: Config):
    """Returns an initializer: softplus of the bias is log-uniform."""
    low, high = config.time_step_min, config.time_step_max
    floor = config.time_step_floor

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        draw = jax.random.uniform(
            key, shape, dtype, jnp.log(low), jnp.log(high)
        )
        step = jnp.maximum(jnp.exp(draw), floor)
        return step + jnp.log(-jnp.expm1(-step))

    return init


def _normalise(x: jax.Array, epsilon: float) -> jax.Array:
    """Returns x divided by its root mean square, in x's dtype."""
    x32 = x.astype(jnp.float32)
    square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
    return (x32 * jax.lax.rsqrt(square + epsilon)).astype(x.dtype)


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.layer_norm_epsilon, rngs=rngs
    )
