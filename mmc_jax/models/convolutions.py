"""Causal convolutions of short width, each feature by itself.

B batch, T position, E features, W width of the convolution.
"""

import jax
import jax.numpy as jnp
from flax import nnx


class CausalConv1D(nnx.Module):
    """y_t = sum_(i < W) w_i x_(t - W + 1 + i), for each feature by itself.

    It sees position t and the W - 1 before it; before the first are zeros. So
    right padding never reaches the positions of a text. There is no activation.

    The weight is stored [E, 1, W], as PyTorch's `Conv1d` with a group for each
    feature has it.

    Args:
      num_features: Number of features before and after, E.
      width: Number of positions that a feature sees, its own included, W.
      bias: Whether each feature has a bias.
    """

    def __init__(
        self, num_features: int, width: int, *, bias: bool, rngs: nnx.Rngs
    ):
        init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        weight = init(rngs.params(), (width, num_features)).T
        self.weight = nnx.Param(weight[:, None, :])
        self.bias = nnx.Param(jnp.zeros(num_features)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the convolution of x: [B, T, E] -> [B, T, E]."""
        T, width = x.shape[1], self.weight.shape[-1]
        padded = jnp.pad(x, ((0, 0), (width - 1, 0), (0, 0)))
        taps = self.weight[...][:, 0, :]
        y = sum(padded[:, i : i + T] * taps[:, i] for i in range(width))
        return y if self.bias is None else y + self.bias[...]
