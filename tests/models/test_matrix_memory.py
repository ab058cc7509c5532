"""xLSTM's recurrence in chunks against a plain loop, and its memory."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.models import matrix_memory
from tests import tolerances

_CHUNK, _EPSILON = matrix_memory.CHUNK, 1e-2
_mlstm = jax.jit(functools.partial(matrix_memory.mlstm, epsilon=_EPSILON))


def _arrays(length: int) -> list[np.ndarray]:
    """Returns queries, keys, values and the logarithms of both gates."""
    B, N, D, V = 2, 3, 5, 4
    rng = np.random.default_rng(length)
    # Of one sign in a head: amounts that cancel leave a divisor of roundings.
    query, key = np.abs(rng.normal(size=(2, B, length, N, D)))
    query[:, :, 0] *= -1.0
    value = rng.normal(size=(B, length, N, V))
    log_input = 6.0 * rng.normal(size=(B, length, N))
    # From shares that forget everything to those that forget nothing.
    log_forget = -np.exp(rng.uniform(-9.0, 5.0, size=log_input.shape))
    return [query, key, value, log_input, log_forget]


def _loop(query, key, value, log_input, log_forget) -> np.ndarray:
    """Returns the outputs, one position after the other, in float64."""
    B, length, N, V = value.shape
    memory = np.zeros((B, N, key.shape[-1], V))
    amount, largest = np.zeros(memory.shape[:3]), np.zeros((B, N))
    y = np.zeros(value.shape)
    for t in range(length):
        before = log_forget[:, t] + largest
        largest = np.maximum(before, log_input[:, t])
        kept = np.exp(before - largest)[..., None]
        taken = np.exp(log_input[:, t] - largest)[..., None] * key[:, t]
        memory = kept[..., None] * memory
        memory += taken[..., None] * value[:, t, :, None]
        amount = kept * amount + taken
        known = np.abs(np.sum(amount * query[:, t], axis=-1))
        known = np.maximum(known, np.exp(-largest)) + _EPSILON
        read = np.einsum("bnd,bndv->bnv", query[:, t], memory)
        y[:, t] = read / known[..., None]
    return y


class MatrixMemoryTest(parameterized.TestCase):
    @parameterized.parameters(1, _CHUNK - 1, _CHUNK + 1, 3 * _CHUNK)
    def test_equals_a_loop(self, length):
        arrays = _arrays(length)
        expected = _loop(*arrays)
        actual = _mlstm(*(jnp.asarray(x, jnp.float32) for x in arrays))
        self.assertEqual(actual.dtype, jnp.float32)
        atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)

    def test_memory_is_linear(self):
        largest = []
        for T in (1024, 2048):
            shapes = [(1, T, 3, 5), (1, T, 3, 5), (1, T, 3, 4)]
            shapes += 2 * [(1, T, 3)]
            traced = jax.make_jaxpr(
                functools.partial(matrix_memory.mlstm, epsilon=1e-6)
            )(*(jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes))
            found = re.findall(r"f32\[([\d,]+)\]", str(traced))
            sizes = [math.prod(map(int, x.split(","))) for x in found]
            largest.append(max(sizes))
        self.assertEqual(largest[1], 2 * largest[0])


if __name__ == "__main__":
    absltest.main()
