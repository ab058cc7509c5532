"""Mamba-2's layer (SSD), which several families share.

B batch, T and S position, G groups, M heads of a group, P head features, N
state size, E inner width, D width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from mmc_jax.models import convolutions, layers, scans, sharding

# Rules for the layer's parameters, and for RMSNorms beside it: their parameter
# is `scale`, that of the norm over split features is `weight`.
SHARDING = (
    *sharding.columns("in_proj"),
    *sharding.rows("out_proj"),
    *sharding.features(r"conv1d\.weight", rank=3),
    *sharding.features(
        r"conv1d\.bias", r"norm\.weight", "A_log", "D", "dt_bias"
    ),
    (r"norm\w*\.scale$", PartitionSpec()),
)

# Positions that are one matrix product: its memory is square in this. A
# config's own chunk size changes the order of sums alone.
CHUNK = 64
# exp of less is 0 in float32. Sums of so many such numbers of a chunk, in steps
# of 1 / _STEPS, are below 2^24 of them.
_LEAST, _STEPS = -110.0, 2048


class Sizes(NamedTuple):
    """The sizes of a layer of Mamba-2.

    Attributes:
      width: Number of features before and after, D.
      num_heads: Number of heads; each has one decay.
      head_dim: Number of features of a head, P.
      num_groups: Number of groups of heads, G; the heads of a group share the
        input and output weights.
      state_size: Number of states of a head's feature, N.
      conv_width: Number of positions that the convolution sees.
    """

    width: int
    num_heads: int
    head_dim: int
    num_groups: int
    state_size: int
    conv_width: int

    @property
    def inner(self) -> int:
        """Number of inner features, E."""
        return self.num_heads * self.head_dim


def check_groups(num_heads: int, num_groups: int, names: str) -> None:
    """Refuses groups that do not divide the heads.

    Args:
      num_heads: Number of heads of a layer.
      num_groups: Number of groups of heads.
      names: The config's names of both, with a blank between.
    """
    heads, groups = names.split()
    if num_groups < 1 or num_heads % num_groups:
        raise ValueError(
            f"{heads} {num_heads} is no multiple of {groups} {num_groups}"
        )


class GatedRMSNorm(nnx.Module):
    """The RMSNorm of each group of features, after a gate.

    Args:
      num_features: Number of features of all groups, E.
      num_groups: Number of groups, each with a mean of its own.
      epsilon: Number that is added to the mean of the squares.
    """

    def __init__(self, num_features: int, num_groups: int, epsilon: float):
        self.weight = nnx.Param(jnp.ones(num_features))
        self.num_groups = num_groups
        self.epsilon = epsilon

    def __call__(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Returns x, float32, in the gate's dtype: [B, T, E]."""
        x = x * jax.nn.silu(gate.astype(jnp.float32))
        return self.weight[...] * self.normalised(x).astype(gate.dtype)

    def normalised(self, x: jax.Array) -> jax.Array:
        """Returns x, divided by the root mean square of its group."""
        groups = x.reshape(*x.shape[:-1], self.num_groups, -1)
        square = jnp.mean(groups * groups, axis=-1, keepdims=True)
        return (groups * jax.lax.rsqrt(square + self.epsilon)).reshape(x.shape)


class Mamba2Mixer(nnx.Module):
    """Projection, convolution, recurrence, gated norm and projection back.

    Args:
      sizes: Sizes of the layer.
      norm: What is done to the recurrence's output, float32, and to the gate.
      hidden_act: Hugging Face's name of the activation after the convolution.
      step_limits: Least and largest step.
      conv_bias: Whether the convolution has a bias.
      in_bias: Whether the first projection has a bias.
      out_bias: Whether the last projection has a bias.
      step_bias: Initializer of the steps' bias.

    Source: Dao and Gu, arXiv 2405.21060, section 7.
    """

    def __init__(
        self,
        sizes: Sizes,
        norm: nnx.Module,
        *,
        hidden_act: str,
        step_limits: tuple[float, float],
        conv_bias: bool,
        in_bias: bool,
        out_bias: bool,
        step_bias: nnx.Initializer = nnx.initializers.ones,
        rngs: nnx.Rngs,
    ):
        num_heads, inner = sizes.num_heads, sizes.inner
        self.sizes = sizes
        num_convolved = inner + 2 * sizes.num_groups * sizes.state_size
        self.in_proj = layers.Linear(
            sizes.width,
            inner + num_convolved + num_heads,
            use_bias=in_bias,
            rngs=rngs,
        )
        self.conv1d = convolutions.CausalConv1D(
            num_convolved, sizes.conv_width, bias=conv_bias, rngs=rngs
        )
        self.dt_bias = nnx.Param(step_bias(rngs.params(), (num_heads,)))
        self.A_log = nnx.Param(jnp.log(jnp.arange(1.0, num_heads + 1)))
        self.D = nnx.Param(jnp.ones(num_heads))
        self.norm = norm
        self.out_proj = layers.Linear(
            inner, sizes.width, use_bias=out_bias, rngs=rngs
        )
        self.act = layers.activation(hidden_act)
        self.step_limits = tuple(float(limit) for limit in step_limits)

    def project(self, x: jax.Array) -> jax.Array:
        """Returns gate, input, weights and step of each position."""
        return self.in_proj(x)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""
        B, T, _ = x.shape
        _, num_heads, P, G, N, _ = self.sizes
        E, M = num_heads * P, num_heads // G
        gate, u, step = jnp.split(
            self.project(x), [E, 2 * (E + G * N)], axis=-1
        )
        u = self.act(self.conv1d(u)).astype(jnp.float32)
        u, b, c = jnp.split(u, [E, E + G * N], axis=-1)
        step = jax.nn.softplus((step + self.dt_bias[...]).astype(jnp.float32))
        step = jnp.clip(step, *self.step_limits).reshape(B, T, G, M)
        a = -jnp.exp(self.A_log[...].astype(jnp.float32)).reshape(G, M)
        u = u.reshape(B, T, G, M, P)
        b, c = b.reshape(B, T, G, N), c.reshape(B, T, G, N)
        y = ssd(u, step, a, b, c)
        y = y + u * self.D[...].astype(jnp.float32).reshape(G, M, 1)
        return self.out_proj(self.norm(y.reshape(B, T, E), gate))


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
        high, low = _sums(rates)  # From before the chunk to t.
        before = jnp.exp(high + low)[..., None]
        after = (high[:, -1:] - high) + (low[:, -1:] - low)
        after = jnp.exp(after)[..., None]
        decay = _decay(jnp.moveaxis(high, 1, -1), jnp.moveaxis(low, 1, -1))
        scores = jnp.einsum("BTGN,BSGN->BGTS", c, b)
        scores = scores[:, :, None] * decay
        y = jnp.einsum("BGMTS,BSGMP->BTGMP", scores, u)
        y += jnp.einsum("BTGN,BGNMP->BTGMP", c, state) * before
        inflow = jnp.einsum("BSGN,BSGMP->BGNMP", b, after * u)
        return before[:, -1][:, :, None] * state + inflow, y

    B, _, G, M, P = u.shape
    # Heads of a group side by side: one product for all of them.
    state = jnp.zeros((B, G, b.shape[-1], M, P), jnp.float32)
    arrays = (u * step[..., None], step * a, b, c)
    return scans.scan_chunks(scan_chunk, state, arrays, CHUNK)


def _sums(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns sums along axis 1 as two terms: [B, T, G, M] each.

    Their differences are as exact as sums from s to t would be, and those of
    one rounded sum are not (errors of 5e-6 in place of 8e-8). The first term
    sums multiples of 1 / _STEPS, without rounding as long as they stay below
    2^24 of them; the second sums what is left of each number, which is small.
    """
    B, T, G, M = x.shape
    x = jnp.maximum(x, _LEAST)
    high = jnp.round(x * _STEPS) / _STEPS
    terms = jnp.concatenate([high, x - high], axis=-1)
    past = jnp.arange(T)[:, None] >= jnp.arange(T)
    sums = jnp.einsum(
        "TS,BSF->BTF",
        past.astype(x.dtype),
        terms.reshape(B, T, -1),
        precision="highest",
    )
    high, low = jnp.split(sums.reshape(B, T, G, 2 * M), 2, axis=-1)
    return high, low


def _decay(high: jax.Array, low: jax.Array) -> jax.Array:
    """Returns exp(sum_(s < r <= t)) of two terms [..., T]: [..., T, S].

    It is 0 where s > t. The exponent is masked as well: there it may overflow,
    and gradients would be NaN.
    """
    T = high.shape[-1]
    past = jnp.arange(T)[:, None] >= jnp.arange(T)
    since = high[..., None] - high[..., None, :]
    since += low[..., None] - low[..., None, :]
    return jnp.where(past, jnp.exp(jnp.where(past, since, 0.0)), 0.0)
