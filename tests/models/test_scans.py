"""Recurrences in chunks: against loops, and their memory for long texts."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from mmc_jax.models import scans, state_spaces
from mmc_jax.models.families import mamba, recurrent_gemma, rwkv
from tests import optimisation, tolerances
from tests.models import test_parity

_FAMILIES = ("falcon_mamba", "mamba", "mamba2", "recurrent_gemma", "rwkv")


def _lengths(chunk: int) -> tuple[int, ...]:
    return (1, chunk - 1, chunk, chunk + 1, 3 * chunk)


class ScanTest(parameterized.TestCase):
    def assert_equal(self, function, expected, *arrays):
        """The function of float32 arrays equals a float64 loop's result.

        As CPUs compute it, and as other devices do.
        """
        arrays = [jnp.asarray(x, jnp.float32) for x in arrays]
        atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
        for backend in ("cpu", "gpu"):
            with mock.patch.object(scans, "_backend", return_value=backend):
                actual = jax.jit(lambda *arrays: function(*arrays))(*arrays)
            self.assertEqual(actual.dtype, jnp.float32)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)

    def assert_gradients_agree(self, function, *arrays):
        """As CPUs compute the gradient, and as other devices do."""
        arrays = [jnp.asarray(x, jnp.float32) for x in arrays]
        weights = np.random.default_rng(0).normal(size=arrays[0].shape)

        def loss(*arrays):
            return jnp.sum(weights * function(*arrays))

        gradients = []
        for backend in ("cpu", "gpu"):
            with mock.patch.object(scans, "_backend", return_value=backend):
                gradient = jax.grad(loss, tuple(range(len(arrays))))
                gradients.append(jax.jit(gradient)(*arrays))
        for one, other in zip(*gradients, strict=True):
            atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(one))
            np.testing.assert_allclose(one, other, rtol=0, atol=atol)

    @parameterized.parameters(*_lengths(mamba._CHUNK))
    def test_selective_scan_equals_a_loop(self, length):
        num_texts, inner, state_size = 2, 5, 3
        rng = np.random.default_rng(length)
        u = rng.normal(size=(num_texts, length, inner))
        step = rng.uniform(0.001, 1.0, size=u.shape)
        a = -rng.uniform(0.1, 16.0, size=(inner, state_size))
        b = rng.normal(size=(num_texts, length, state_size))
        c = rng.normal(size=b.shape)
        h = np.zeros((num_texts, inner, state_size))
        expected = np.zeros(u.shape)
        for t in range(length):
            for e in range(inner):
                decay = np.exp(step[:, t, e, None] * a[e])
                inflow = (step[:, t, e] * u[:, t, e])[:, None] * b[:, t]
                h[:, e] = decay * h[:, e] + inflow
                expected[:, t, e] = np.sum(h[:, e] * c[:, t], axis=-1)
        self.assert_equal(mamba.selective_scan, expected, u, step, a, b, c)
        self.assert_gradients_agree(mamba.selective_scan, u, step, a, b, c)

    @parameterized.parameters(*_lengths(state_spaces.CHUNK))
    def test_ssd_equals_a_loop(self, length):
        B, G, M, P, N = 2, 3, 2, 5, 4
        rng = np.random.default_rng(length)
        u = rng.normal(size=(B, length, G, M, P))
        # From steps that forget everything to steps that forget nothing.
        step = np.exp(rng.uniform(-7.0, 1.0, size=(B, length, G, M)))
        a = -rng.uniform(0.1, 16.0, size=(G, M))
        b = rng.normal(size=(B, length, G, N))
        c = rng.normal(size=b.shape)
        h = np.zeros((B, G, M, N, P))
        expected = np.zeros(u.shape)
        for t in range(length):
            for g, m in np.ndindex(G, M):
                inflow = b[:, t, g, :, None] * u[:, t, g, m, None, :]
                dt = step[:, t, g, m, None, None]
                h[:, g, m] = np.exp(dt * a[g, m]) * h[:, g, m] + dt * inflow
                read = c[:, t, g, :, None] * h[:, g, m]
                expected[:, t, g, m] = np.sum(read, axis=1)
        self.assert_equal(state_spaces.ssd, expected, u, step, a, b, c)

    def test_lowers_for_cuda(self):
        """Products of chunks, and nothing that goes from position to position.

        What a CUDA device would run; there is none, so nothing runs.
        """
        length = 3 * state_spaces.CHUNK
        shapes = {
            state_spaces.ssd: (
                *((1, length, 2, 3, 4), (1, length, 2, 3), (2, 3)),
                *2 * ((1, length, 2, 5),),
            ),
            mamba.selective_scan: (
                *2 * ((1, length, 6),),
                (6, 5),
                *2 * ((1, length, 5),),
            ),
        }
        for function, of_function in shapes.items():
            arrays = [jax.ShapeDtypeStruct(x, jnp.float32) for x in of_function]
            with mock.patch.object(scans, "_backend", return_value="gpu"):
                traced = jax.jit(lambda *x, f=function: f(*x)).trace(*arrays)
            text = traced.lower(lowering_platforms=("cuda",)).as_text()
            with self.subTest(function.__name__):
                self.assertIn("dot_general", text)
                self.assertEqual(text.count("stablehlo.while"), 1)

    @parameterized.parameters(*_lengths(rwkv._CHUNK))
    def test_wkv_equals_its_definition(self, length):
        B, E = 2, 6
        rng = np.random.default_rng(length)
        decay = np.exp(rng.uniform(-5.0, 3.0, size=E))
        first = rng.normal(size=E)
        key = rng.normal(scale=3.0, size=(B, length, E))
        value = rng.normal(size=key.shape)
        expected = np.zeros(key.shape)
        for t in range(length):
            distance = t - 1 - np.arange(t + 1)[:, None]
            exponent = key[:, : t + 1] - distance * decay
            exponent[:, t] = key[:, t] + first
            weights = np.exp(exponent)
            weights /= weights.sum(axis=1, keepdims=True)
            expected[:, t] = np.sum(weights * value[:, : t + 1], axis=1)
        self.assert_equal(rwkv.wkv, expected, decay, first, key, value)

    def test_wkv_of_large_keys(self):
        """Only differences of keys count, however large the keys are."""
        rng = np.random.default_rng(0)
        # Eighths, whose sums with 1,024 are exact.
        decay, first = np.array([0.125, 2.0]), np.array([0.5, -1.0])
        key = np.round(8 * rng.normal(size=(1, 200, 2))) / 8
        value = rng.normal(size=key.shape)
        arrays = [jnp.asarray(x, jnp.float32) for x in (decay, first)]
        expected = rwkv.wkv(*arrays, jnp.float32(key), jnp.float32(value))
        for shift in (-1024.0, 1024.0):
            self.assert_equal(
                rwkv.wkv, expected, decay, first, key + shift, value
            )

    @parameterized.parameters(*_lengths(recurrent_gemma._CHUNK))
    def test_linear_recurrence_equals_a_loop(self, length):
        rng = np.random.default_rng(length)
        decay = rng.uniform(size=(2, length, 6)) ** 0.05
        inflow = rng.normal(size=decay.shape)
        h, expected = np.zeros((2, 6)), np.zeros(decay.shape)
        for t in range(length):
            h = expected[:, t] = decay[:, t] * h + inflow[:, t]
        self.assert_equal(
            recurrent_gemma.linear_recurrence, expected, decay, inflow
        )

    @parameterized.product(length=(1, 6, 7, 8, 21, 30), window=(1, 7, 40))
    def test_local_attention_equals_a_loop(self, length, window):
        B, N, K, H = 2, 6, 2, 5
        rng = np.random.default_rng(length)
        query = rng.normal(size=(B, length, N, H))
        key, value = rng.normal(size=(2, B, length, K, H))
        expected = np.zeros(query.shape)
        for t, n in np.ndindex(length, N):
            seen = slice(max(0, t - window + 1), t + 1)
            k, v = (x[:, seen, n // (N // K)] for x in (key, value))
            weights = np.exp(
                np.einsum("bh,bsh->bs", query[:, t, n], k) / H**0.5
            )
            weights /= weights.sum(axis=1, keepdims=True)
            expected[:, t, n] = np.einsum("bs,bsh->bh", weights, v)
        self.assert_equal(
            lambda *qkv: recurrent_gemma.local_attention(*qkv, window),
            expected,
            query,
            key,
            value,
        )


@pytest.mark.full_optimisation
class LongTextTest(parameterized.TestCase):
    @parameterized.parameters(*_FAMILIES)
    def test_memory_is_linear(self, model_type):
        model = test_parity._port(model_type, 0, True)
        tokens = test_parity.random_tokens(model_type, 1, 8192)

        def compiled(tokens):
            forward = jax.jit(lambda model, tokens: model(tokens))
            return forward.lower(model, tokens).compile(optimisation.MEASURED)

        short, long = compiled(tokens[:, :2048]), compiled(tokens)
        self.assertLessEqual(
            long.memory_analysis().temp_size_in_bytes,
            tolerances.LINEAR_MEMORY
            * 4
            * short.memory_analysis().temp_size_in_bytes,
        )
        logits = long(model, tokens)
        self.assertTrue(np.all(np.isfinite(logits)))
        self.assertLess(
            test_parity.error(logits[:, :2048], short(model, tokens[:, :2048])),
            tolerances.PARITY_LOGITS,
        )


if __name__ == "__main__":
    absltest.main()
