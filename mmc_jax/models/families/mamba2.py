"""Transformers are SSMs: Generalized Models Through State Space Duality (2024).

By Dao and Gu, arXiv 2405.21060 (Mamba-2). Special:
  - no attention and no positions: a causal convolution over inputs and weights
    together, then a linear recurrence with one decay a head (SSD), which is a
    matrix product inside a chunk;
  - input and output weights (B, C) are shared by a group of heads;
  - an RMSNorm over each group after the gate; the residual stream in float32.

Longer than most families for the recurrence as products of chunks.

B batch, T and S position in a chunk, G groups, M heads of a group, P head
features, N state size, E inner width, D width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import convolutions, layers, scans, sharding
from mmc_jax.models.families import mamba

PREFIX = "backbone."
LAYERS = "backbone.layers"
IGNORED = ()
SHARDING = (
    *sharding.columns("in_proj", "lm_head"),
    *sharding.rows("out_proj"),
    *sharding.tables("embeddings"),
    *sharding.features(r"conv1d\.weight", rank=3),
    *sharding.features(
        r"conv1d\.bias", r"mixer\.norm\.weight", "A_log", "D", "dt_bias"
    ),
    *sharding.replicated(r"layers\.norm", "norm_f"),
)
INERT = {
    "chunk_size": "it is the block of the scan, not what it computes",
    "time_step_rank": "transformers never uses it in Mamba-2",
}

# Positions that are one matrix product: its memory is square in this. The
# config's own chunk_size changes the order of sums alone.
_CHUNK = 64


class GatedRMSNorm(nnx.Module):
    """The RMSNorm of each group of features, after a gate."""

    def __init__(self, config: transformers.Mamba2Config):
        self.weight = nnx.Param(jnp.ones(_inner(config)))
        self.num_groups = config.n_groups
        self.epsilon = config.layer_norm_epsilon

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x, float32, in the gate's dtype: [B, T, E]."""
        x = x * jax.nn.silu(gate.astype(jnp.float32))
        groups = x.reshape(*x.shape[:-1], self.num_groups, -1)
        square = jnp.mean(groups * groups, axis=-1, keepdims=True)
        x = (groups * jax.lax.rsqrt(square + self.epsilon)).reshape(x.shape)
        return self.weight[...] * x.astype(gate.dtype)


class Mixer(nnx.Module):
    """Convolution, recurrence, gate and projection."""

    def __init__(self, config: transformers.Mamba2Config, *, rngs: nnx.Rngs):
        width, inner, bias = config.hidden_size, _inner(config), config.use_bias
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.num_groups = config.n_groups
        num_weights = config.n_groups * config.state_size
        num_convolved = inner + 2 * num_weights
        self.ends = [inner, inner + num_convolved]
        self.weight_ends = [inner, inner + num_weights]
        self.in_proj = nnx.Linear(
            width,
            inner + num_convolved + self.num_heads,
            use_bias=bias,
            rngs=rngs,
        )
        self.conv1d = convolutions.CausalConv1D(
            num_convolved,
            config.conv_kernel,
            bias=config.use_conv_bias,
            rngs=rngs,
        )
        step_bias = mamba.step_bias(config)
        self.dt_bias = nnx.Param(step_bias(rngs.params(), (self.num_heads,)))
        self.A_log = nnx.Param(jnp.log(jnp.arange(1.0, self.num_heads + 1)))
        self.D = nnx.Param(jnp.ones(self.num_heads))
        self.norm = GatedRMSNorm(config)
        self.out_proj = nnx.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)
        self.step_limits = tuple(float(x) for x in config.time_step_limit)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, _ = x.shape
        gate, u, step = jnp.split(self.in_proj(x), self.ends, axis=-1)
        u = self.act(self.conv1d(u)).astype(jnp.float32)
        u, b, c = jnp.split(u, self.weight_ends, axis=-1)
        heads = (self.num_groups, self.num_heads // self.num_groups)
        step = jax.nn.softplus((step + self.dt_bias[...]).astype(jnp.float32))
        step = jnp.clip(step, *self.step_limits).reshape(B, T, *heads)
        a = -jnp.exp(self.A_log[...].astype(jnp.float32)).reshape(heads)
        u = u.reshape(B, T, *heads, self.head_dim)
        y = ssd(
            u,
            step,
            a,
            b.reshape(B, T, self.num_groups, -1),
            c.reshape(B, T, self.num_groups, -1),
        )
        y = y + u * self.D[...].astype(jnp.float32).reshape(*heads, 1)
        return self.out_proj(self.norm(y.reshape(B, T, -1), gate))


def ssd(
    u: jax.Array, step: jax.Array, a: jax.Array, b: jax.Array, c: jax.Array
) -> jax.Array:
    """Returns the recurrence's output, float32 [B, T, G, M, P].

    h_t = exp(step_t a) h_(t-1) + step_t b_t u_t^T, y_t = h_t^T c_t, from h = 0;
    so inside a chunk y_t = sum_(s <= t) exp(a sum_(s < r <= t) step_r)
    (c_t . b_s) step_s u_s, as a masked matrix product, and the state before
    the chunk adds what is left of it.

    Args:
      u: Input, [B, T, G, M, P].
      step: Step sizes, positive, [B, T, G, M].
      a: Rates, negative, [G, M].
      b: Input weights, [B, T, G, N].
      c: Output weights, [B, T, G, N].

    Source: Dao and Gu, arXiv 2405.21060, eq. 2 and section 6.
    """

    def scan_chunk(state, chunk):
        u, rates, b, c = chunk
        u, b, c = (jnp.moveaxis(x, 1, -2) for x in (u, b, c))
        rates = jnp.moveaxis(rates, 1, -1)  # [B, G, M, T]
        sums = _segment_sums(rates)
        decay = jnp.exp(sums)
        scores = jnp.einsum("BGTN,BGSN->BGTS", c, b)[:, :, None] * decay
        y = jnp.einsum("BGMTS,BGMSP->BGMTP", scores, u)
        # From before the chunk to t, and from s to its end.
        before = jnp.exp(sums[..., 0] + rates[..., :1])
        after = decay[..., -1, :]
        y += jnp.einsum("BGTN,BGMNP->BGMTP", c, state) * before[..., None]
        inflow = jnp.einsum("BGSN,BGMSP->BGMNP", b, after[..., None] * u)
        state = before[..., -1, None, None] * state + inflow
        return state, jnp.moveaxis(y, -2, 1)

    B, _, G, M, P = u.shape
    state = jnp.zeros((B, G, M, b.shape[-1], P), jnp.float32)
    arrays = (u * step[..., None], step * a, b, c)
    return scans.scan_chunks(scan_chunk, state, arrays, _CHUNK)


def _segment_sums(x: jax.Array) -> jax.Array:
    """Returns sum_(s < r <= t) x_r, [..., T, S] of [..., T]; -inf where s > t.

    Differences of one cumulative sum would lose the small sums to rounding.
    """
    T = x.shape[-1]
    distance = jnp.arange(T)[:, None] - jnp.arange(T)
    sums = jnp.cumsum(jnp.where(distance > 0, x[..., None], 0.0), axis=-2)
    return jnp.where(distance >= 0, sums, -jnp.inf)


class CausalLM(mamba.CausalLM):
    """Mamba-2 with its head, from Hugging Face's `Mamba2Config`.

    Raises:
      ValueError: An activation is not ported, or groups do not divide heads.
    """

    mixer = Mixer

    def __init__(self, config: transformers.Mamba2Config, *, rngs: nnx.Rngs):
        if config.num_heads % config.n_groups:
            raise ValueError(
                f"num_heads {config.num_heads} is no multiple of n_groups "
                f"{config.n_groups}"
            )
        super().__init__(config, rngs=rngs)


def _inner(config: transformers.Mamba2Config) -> int:
    return int(config.expand * config.hidden_size)
