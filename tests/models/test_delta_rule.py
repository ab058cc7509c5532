"""The gated delta rule in chunks against plain recurrences, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.models import delta_rule
from tests import tolerances

_CHUNK = delta_rule.CHUNK
_LENGTHS = (1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 3 * _CHUNK)
# Texts, key heads, value heads a key head, features of keys and of values.
_SIZES = (2, 2, 3, 5, 4)
_rule = jax.jit(delta_rule.gated_delta_rule)


def _arrays(length: int, *, same_key: bool = False, most_rate: float = 1.0):
    """Returns queries, keys, values, logarithms of decays, and rates."""
    B, K, G, D, V = _SIZES
    rng = np.random.default_rng(length)
    query, key = rng.normal(size=(2, B, length, K, D))
    if same_key:
        key[:] = key[:, :1]
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    value = rng.normal(size=(B, length, K, G, V))
    # From decays that forget everything to those that forget nothing.
    log_decay = -np.exp(rng.uniform(-9.0, 5.0, size=(B, length, K, G)))
    rate = most_rate * rng.uniform(size=log_decay.shape) ** 0.1
    return query, key, value, log_decay, rate


def _loop(query, key, value, log_decay, rate) -> np.ndarray:
    """Returns the outputs, one position after the other, in float64."""
    B, length, K, G, V = value.shape
    state = np.zeros((B, K, G, key.shape[-1], V))
    y = np.zeros(value.shape)
    for t in range(length):
        state *= np.exp(log_decay[:, t])[..., None, None]
        known = np.einsum("bkd,bkgdv->bkgv", key[:, t], state)
        change = rate[:, t][..., None] * (value[:, t] - known)
        state += np.einsum("bkd,bkgv->bkgdv", key[:, t], change)
        y[:, t] = np.einsum("bkd,bkgdv->bkgv", query[:, t], state)
    return y


def _float32(arrays):
    return [jnp.asarray(x, jnp.float32) for x in arrays]


class GatedDeltaRuleTest(parameterized.TestCase):
    def assert_equal(self, arrays):
        expected = _loop(*arrays)
        actual = _rule(*_float32(arrays))
        self.assertEqual(actual.dtype, jnp.float32)
        atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)

    @parameterized.parameters(*_LENGTHS)
    def test_equals_a_loop(self, length):
        self.assert_equal(_arrays(length))

    @parameterized.parameters(1.0, 2.0)
    def test_one_key_repeated(self, most_rate):
        """The system has a full triangle; with rates of 2 it reflects."""
        arrays = _arrays(_LENGTHS[-1], same_key=True, most_rate=most_rate)
        arrays[3][:] = -1e-4
        self.assert_equal(arrays)

    def test_everything_is_forgotten(self):
        arrays = _arrays(_LENGTHS[-1])
        arrays[3][:] = -1e4
        query, key, value, _, rate = arrays
        scores = np.einsum("btkd,btkd->btk", query, key)[..., None]
        expected = (scores * rate)[..., None] * value
        np.testing.assert_allclose(
            _rule(*_float32(arrays)),
            expected,
            rtol=0,
            atol=tolerances.FLOAT32_KERNEL * np.max(np.abs(expected)),
        )

    def test_later_positions_change_nothing(self):
        arrays = _float32(_arrays(_LENGTHS[-1]))
        others = [x.at[:, 40:].add(1.0) for x in arrays[:3]] + arrays[3:]
        np.testing.assert_array_equal(
            _rule(*arrays)[:, :40], _rule(*others)[:, :40]
        )

    @parameterized.parameters(
        (delta_rule.gated_delta_rule, False),
        (delta_rule.channel_delta_rule, True),
    )
    def test_is_lowered_for_gpus(self, rule, by_feature):
        arrays = _channel_arrays if by_feature else _arrays
        traced = jax.jit(rule).trace(*_float32(arrays(_CHUNK + 1)))
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        self.assertIn("dot_general", text)
        # Nothing but products: no solver of a library.
        self.assertNotIn("triangular_solve", text)


_channel_rule = jax.jit(delta_rule.channel_delta_rule)


def _channel_arrays(length: int, *, same_key: bool = False):
    query, key, value, _, rate = _arrays(length, same_key=same_key)
    rng = np.random.default_rng(1)
    log_decay = -np.exp(rng.uniform(-9.0, 5.0, size=key.shape))
    return query, key, value[..., 0, :], log_decay, rate[..., 0]


def _channel_loop(query, key, value, log_decay, rate) -> np.ndarray:
    """Returns the outputs, one position after the other, in float64."""
    B, length, K, V = value.shape
    state, y = np.zeros((B, K, key.shape[-1], V)), np.zeros(value.shape)
    for t in range(length):
        state *= np.exp(log_decay[:, t])[..., None]
        known = np.einsum("bkd,bkdv->bkv", key[:, t], state)
        change = rate[:, t][..., None] * (value[:, t] - known)
        state += key[:, t][..., None] * change[..., None, :]
        y[:, t] = np.einsum("bkd,bkdv->bkv", query[:, t], state)
    return y


class ChannelDeltaRuleTest(parameterized.TestCase):
    def assert_equal(self, arrays):
        expected = _channel_loop(*arrays)
        actual = _channel_rule(*_float32(arrays))
        self.assertEqual(actual.dtype, jnp.float32)
        atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)

    @parameterized.parameters(*_LENGTHS)
    def test_equals_a_loop(self, length):
        self.assert_equal(_channel_arrays(length))

    def test_one_key_repeated(self):
        arrays = _channel_arrays(_LENGTHS[-1], same_key=True)
        arrays[3][:] = -1e-4
        self.assert_equal(arrays)

    def test_one_decay_for_all_features(self):
        """It is then the rule with a decay a head."""
        query, key, value, log_decay, rate = _float32(_channel_arrays(3 * 32))
        log_decay = log_decay[..., :1]
        by_head = _rule(
            query, key, value[..., None, :], log_decay, rate[..., None]
        )
        by_feature = _channel_rule(
            query, key, value, jnp.broadcast_to(log_decay, key.shape), rate
        )
        np.testing.assert_allclose(
            by_feature,
            by_head[..., 0, :],
            rtol=0,
            atol=tolerances.FLOAT32_KERNEL * np.max(np.abs(by_head)),
        )

    def test_scores(self):
        """Against the sums themselves, decays of any size in a chunk."""
        rng = np.random.default_rng(0)
        left, key = rng.normal(size=(2, 3, _CHUNK, 5))
        log_decay = -np.exp(rng.uniform(-9.0, 5.0, size=key.shape))
        expected = np.zeros((3, _CHUNK, _CHUNK))
        for t in range(_CHUNK):
            for s in range(t + 1):
                decay = np.exp(log_decay[:, s + 1 : t + 1].sum(axis=1))
                expected[:, t, s] = (left[:, t] * key[:, s] * decay).sum(
                    axis=-1
                )
        np.testing.assert_allclose(
            jax.jit(delta_rule.channel_scores)(
                *_float32((left, key, log_decay))
            ),
            expected,
            rtol=0,
            atol=tolerances.FLOAT32_KERNEL * np.max(np.abs(expected)),
        )


class SolveTest(parameterized.TestCase):
    @parameterized.parameters(1, 2, 3, 8, 31, 32)
    def test_equals_a_solver(self, size):
        rng = np.random.default_rng(size)
        matrix = rng.uniform(-1, 1, size=(3, 2, size, size))
        matrix[0] = 2.0  # Powers of it would reach 2^31 and more.
        right = rng.normal(size=(3, 2, size, 5))
        expected = np.linalg.solve(np.eye(size) + np.tril(matrix, -1), right)
        actual = jax.jit(delta_rule.solve)(*_float32((matrix, right)))
        for i in range(3):
            atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected[i]))
            np.testing.assert_allclose(
                actual[i], expected[i], rtol=0, atol=10 * atol
            )


class LongTextTest(parameterized.TestCase):
    @parameterized.parameters(
        (delta_rule.gated_delta_rule, _arrays),
        (delta_rule.channel_delta_rule, _channel_arrays),
    )
    def test_memory_is_linear(self, rule, arrays):
        def compiled(length):
            of_length = (
                jax.ShapeDtypeStruct(
                    (x.shape[0], length, *x.shape[2:]), jnp.float32
                )
                for x in arrays(1)
            )
            return jax.jit(rule).lower(*of_length).compile()

        short, long = (
            compiled(length).memory_analysis().temp_size_in_bytes
            for length in (2048, 8192)
        )
        self.assertLessEqual(long, tolerances.LINEAR_MEMORY * 4 * short)


if __name__ == "__main__":
    absltest.main()
