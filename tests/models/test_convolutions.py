"""The causal convolution against its definition, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax.models import convolutions
from tests import tolerances


class CausalConv1DTest(parameterized.TestCase):
    @parameterized.product(length=(1, 2, 9), width=(1, 3, 4), bias=(0, 1))
    def test_equals_its_definition(self, length, width, bias):
        rng = np.random.default_rng(0)
        layer = convolutions.CausalConv1D(
            5, width, bias=bool(bias), rngs=nnx.Rngs(0)
        )
        self.assertEqual(layer.weight.shape, (5, 1, width))
        if bias:
            layer.bias[...] = jnp.asarray(rng.normal(size=5), jnp.float32)
        weight = np.asarray(layer.weight[...], np.float64)[:, 0]
        x = rng.normal(size=(2, length, 5))
        expected = np.zeros(x.shape)
        for t, i in np.ndindex(length, width):
            if t - width + 1 + i >= 0:
                expected[:, t] += weight[:, i] * x[:, t - width + 1 + i]
        if bias:
            expected += np.asarray(layer.bias[...])
        actual = jax.jit(lambda layer, x: layer(x))(layer, jnp.float32(x))
        atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


if __name__ == "__main__":
    absltest.main()
