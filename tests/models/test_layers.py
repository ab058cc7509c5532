"""What parity does not cover: rotary scalings, attention, scans, ..."""

import contextlib
import functools
import math
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from jax._src.cudnn import fused_attention_stablehlo
from transformers import activations, modeling_rope_utils

from mmc_jax import models
from mmc_jax.models import layers, rotary
from tests import tolerances
from tests.models import test_parity

# LLaMA 3.2's own numbers.
_LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500000.0,
    factor=32.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)


_YARN = dict(
    rope_type="yarn",
    rope_theta=10000.0,
    factor=8.0,
    original_max_position_embeddings=4096,
)
_LONGROPE = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    short_factor=[1.0 + i / 32 for i in range(32)],
    long_factor=[2.0 + i for i in range(32)],
    original_max_position_embeddings=4096,
)


def _assert_close(actual, expected):
    """Asserts a float32 kernel's result, within the one tolerance."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    atol = tolerances.FLOAT32_KERNEL * np.max(np.abs(expected))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


class StackTest(parameterized.TestCase):
    @parameterized.parameters("qwen3_moe", "zamba2")
    def test_of_shapes_only(self, model_type):
        """A stack in a stack, or shared blocks, as with values of their own."""
        config = test_parity.make_config(model_type)
        first, second = (
            nnx.eval_shape(lambda rngs=rngs: models.build(config, rngs=rngs(0)))
            for rngs in (nnx.Rngs, layers.ShapesOnly)
        )
        self.assertEqual(jax.tree.structure(first), jax.tree.structure(second))
        self.assertEqual(*map(jax.tree.leaves, (first, second)))

    def test_values_are_flax_s(self):
        for ours, theirs in (
            (layers.Linear, nnx.Linear),
            (layers.Embed, nnx.Embed),
        ):
            first, second = (
                jax.tree.leaves(nnx.state(layer(3, 4, rngs=nnx.Rngs(0))))
                for layer in (ours, theirs)
            )
            jax.tree.map(np.testing.assert_array_equal, first, second)


class RotaryTest(parameterized.TestCase):
    @parameterized.parameters(
        dict(rope_type="linear", rope_theta=10000.0, factor=2.5),
        dict(rope_type="dynamic", rope_theta=10000.0, factor=2.5),
        _LLAMA3,
        _YARN,
        _YARN | dict(mscale=0.7, mscale_all_dim=1.1, truncate=False),
        _YARN | dict(beta_fast=20, beta_slow=2, attention_factor=1.3),
        _LONGROPE,
        _LONGROPE | dict(factor=4.0),
    )
    def test_scalings(self, **rope_parameters):
        config = transformers.LlamaConfig(
            hidden_size=256,
            num_attention_heads=4,
            max_position_embeddings=131072,
            rope_parameters=dict(rope_parameters),
        )
        kind = rope_parameters["rope_type"]
        expected, scale = modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](config)
        actual = rotary.rotary_positions(rope_parameters, 64, 131072)
        self.assertEqual(actual.frequencies.dtype, jnp.float32)
        # Frequencies span many powers of ten: each is compared by itself.
        _assert_close(actual.frequencies / expected.numpy(), np.ones(32))
        self.assertAlmostEqual(actual.scale, scale)

    def test_llama3_leaves_short_waves_and_scales_long_ones(self):
        plain = dict(rope_type="default", rope_theta=500000.0)
        ratio = (
            rotary.rotary_positions(_LLAMA3, 64, 8192).frequencies
            / rotary.rotary_positions(plain, 64, 8192).frequencies
        )
        self.assertEqual(ratio[0], 1.0)
        self.assertEqual(ratio[-1], 1 / 32)
        self.assertTrue(np.all(np.diff(ratio) <= 0))

    def test_partial_rotary_factor(self):
        parameters = dict(
            rope_type="default", rope_theta=100.0, partial_rotary_factor=0.25
        )
        some = rotary.rotary_positions(parameters, 16, 8, partial=True)
        _assert_close(some.frequencies, [1.0, 0.1])
        with self.assertRaisesRegex(ValueError, "partial_rotary_factor=0.25"):
            rotary.rotary_positions(parameters, 16, 8)

    @parameterized.parameters(
        (dict(rope_type="dynamic", rope_theta=1e4, factor=2.0), 20),
        (_LONGROPE | dict(original_max_position_embeddings=12), 12),
    )
    def test_refuses_texts_that_would_change_the_angles(self, parameters, most):
        positions = rotary.rotary_positions(parameters, 64, 20)
        rotary.rotate(jnp.ones((1, most, 1, 64)), positions)
        with self.assertRaisesRegex(ValueError, f"{most + 1} positions"):
            rotary.rotate(jnp.ones((1, most + 1, 1, 64)), positions)

    def test_layouts(self):
        """Both layouts are one rotation, of features in another order."""
        positions = rotary.rotary_positions(
            dict(rope_type="default", rope_theta=100.0), 6, 8
        )
        x = jax.random.normal(jax.random.key(0), (2, 5, 3, 8))
        order = np.array([0, 2, 4, 1, 3, 5, 6, 7])
        interleaved = rotary.rotate_interleaved(x, positions)
        half_split = rotary.rotate(x[..., order], positions)
        _assert_close(interleaved[..., order], half_split)
        angles = np.arange(5)[:, None] * np.asarray(positions.frequencies)
        heads = np.asarray(x)
        as_complex = heads[..., 0:6:2] + 1j * heads[..., 1:6:2]
        expected = as_complex * np.exp(1j * angles)[:, None]
        _assert_close(interleaved[..., 0:6:2], expected.real)
        _assert_close(interleaved[..., 1:6:2], expected.imag)

    def test_unknown_type(self):
        with self.assertRaisesRegex(ValueError, "'moon' is not ported"):
            rotary.rotary_positions(
                dict(rope_type="moon", rope_theta=1e4), 8, 8
            )

    def test_parameter_that_the_type_does_not_read(self):
        """As in transformers it changes nothing; loading warns of it."""
        plain = dict(rope_type="default", rope_theta=1e4)
        self.assertEqual(rotary.unread(plain | dict(mscale=2.0)), {"mscale": 2})
        np.testing.assert_array_equal(
            rotary.rotary_positions(plain | dict(mscale=2.0), 8, 8).frequencies,
            rotary.rotary_positions(plain, 8, 8).frequencies,
        )

    def test_missing_parameter(self):
        with self.assertRaisesRegex(ValueError, "'linear' needs 'factor'"):
            rotary.rotary_positions(
                dict(rope_type="linear", rope_theta=1e4), 8, 8
            )

    def test_longrope_of_another_length(self):
        with self.assertRaisesRegex(ValueError, "short_factor has 32 numbers"):
            rotary.rotary_positions(_LONGROPE, 32, 8)


def _attention(query, key, value, scale, window, sinks=None):
    """Returns causal attention by its definition, float64 [B, T, N, H]."""
    B, T, N, _ = query.shape
    group = N // key.shape[2]
    attended = np.zeros((B, T, N, value.shape[-1]))
    for b, t, n in np.ndindex(B, T, N):
        seen = slice(0 if window is None else max(0, t - window + 1), t + 1)
        keys = key[b, seen, n // group].astype(np.float64)
        scores = scale * keys @ query[b, t, n]
        sink = -np.inf if sinks is None else sinks[n]
        largest = max(scores.max(), sink)
        weights = np.exp(scores - largest)
        values = value[b, seen, n // group].astype(np.float64)
        total = weights.sum() + np.exp(sink - largest)
        attended[b, t, n] = weights @ values / total
    return attended


def _query_key_value(T, dtype=jnp.float32, H=8):
    keys = jax.random.split(jax.random.key(1), 3)
    shapes = (2, T, 6, H), (2, T, 2, H), (2, T, 2, H)
    return [
        jax.random.normal(*key_and_shape, dtype)
        for key_and_shape in zip(keys, shapes, strict=True)
    ]


def _largest_array(function, *arguments):
    """Returns the numbers in the largest float32 array of a traced function."""
    traced = jax.make_jaxpr(function)(*arguments)
    shapes = re.findall(r"f32\[([\d,]+)\]", str(traced))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


class AttentionTest(parameterized.TestCase):
    @parameterized.parameters(None, 1, 3, 20)
    def test_three_ways_are_one(self, window):
        q, k, v = _query_key_value(9)
        expected = layers.causal_attention(q, k, v, scale=0.3, window=window)
        scores = 0.3 * layers.attention_scores(q, k)
        mask = layers.causal_mask(9, window)
        _assert_close(layers.attend(scores, v, mask), expected)
        if window is not None:
            by_array = layers.causal_attention(
                q, k, v, scale=0.3, window=jnp.array(window)
            )
            _assert_close(by_array, expected)

    # Blocks are of 4 queries or more, and four at most.
    @parameterized.product(length=(1, 4, 13, 45), window=(None, 1, 9))
    def test_blocks_equal_the_definition(self, length, window):
        """With sinks where a text has 13 tokens; with longer keys at 45."""
        q, k, v = _query_key_value(length)
        sinks = jnp.linspace(-2.0, 3.0, 6) if length == 13 else None
        v = v[..., :5] if length == 45 else v
        with mock.patch.object(layers, "_BLOCK", 4):
            actual = jax.jit(
                functools.partial(
                    layers.causal_attention,
                    scale=0.7,
                    window=window,
                    sinks=sinks,
                )
            )(q, k, v)
        expected = _attention(*map(np.asarray, (q, k, v)), 0.7, window, sinks)
        _assert_close(actual, expected)

    def test_huge_scores(self):
        # exp(1000) is infinite in float32.
        q, k, v = _query_key_value(5)
        for sink in (None, -3000.0, 3000.0):
            sinks = None if sink is None else np.full(6, sink, np.float32)
            actual = layers.blockwise_attention(
                q, k, v, scale=1000.0, sinks=sinks
            )
            expected = _attention(
                *map(np.asarray, (q, k, v)), 1000.0, None, sinks
            )
            _assert_close(actual, expected)

    def test_scores_of_one_block_only(self):
        T = layers._MAX_BLOCKS * layers._BLOCK
        largest = _largest_array(
            functools.partial(layers.blockwise_attention, scale=1.0),
            *_query_key_value(T),
        )
        self.assertEqual(largest, 2 * 6 * layers._BLOCK * T)

    # Those with sinks, or with keys of another size than the values.
    @parameterized.parameters("deepseek_v3", "gpt_oss", "kimi_linear")
    def test_models_of_long_texts(self, model_type):
        T = 2048
        config = test_parity.make_config(model_type, max_position_embeddings=T)
        largest = _largest_array(
            lambda model, tokens: model(tokens),
            models.abstract(config),
            jax.ShapeDtypeStruct((1, T), np.int32),
        )
        scores = config.num_attention_heads * T * T
        self.assertEqual(largest, scores // layers._MAX_BLOCKS)


@contextlib.contextmanager
def _cuda(capability):
    """Traces as if a CUDA device of that capability were there."""
    asked = dict(
        check_cudnn_version=lambda: 91000,
        check_compute_capability=lambda least: capability >= float(least),
    )
    with (
        mock.patch.object(layers, "_cuda_capability", lambda: capability),
        mock.patch.multiple(fused_attention_stablehlo, **asked),
    ):
        yield


class FlashAttentionTest(parameterized.TestCase):
    """What a CUDA device would run; there is none, so nothing runs."""

    def _lowered(self, capability, window=None, **kwargs):
        q, k, v = _query_key_value(64, **kwargs)
        traced = jax.jit(
            functools.partial(layers.causal_attention, scale=0.3, window=window)
        )
        with _cuda(capability):
            traced = traced.trace(q, k, v)
            return traced.lower(lowering_platforms=("cuda",)).as_text()

    @parameterized.parameters(
        dict(capability=8.0),
        dict(capability=9.0, window=20),
        dict(capability=9.0, H=256),
    )
    def test_bfloat16(self, capability, window=None, H=64):
        text = self._lowered(capability, window, H=H, dtype=jnp.bfloat16)
        self.assertIn("cudnn$fmhaSoftmax", text)
        self.assertNotIn("dot_general", text)
        self.assertIn("CAUSAL", text)
        if window is not None:
            self.assertRegex(text, rf"sliding_window_length\W+22: {window}\b")

    @parameterized.parameters(
        dict(dtype=jnp.float32),
        dict(capability=0.0),
        dict(capability=7.5),
        dict(capability=8.9, H=256),
        dict(H=260),
        dict(H=12),
        dict(by_layer=True),
    )
    def test_falls_back(
        self, capability=9.0, dtype=jnp.bfloat16, H=64, by_layer=False
    ):
        window = jnp.array(20) if by_layer else None
        text = self._lowered(capability, window, H=H, dtype=dtype)
        self.assertNotIn("cudnn", text)
        self.assertIn("dot_general", text)

    def test_other_platforms_fall_back(self):
        q, k, v = _query_key_value(5, jnp.bfloat16)
        with _cuda(9.0):
            actual = jax.jit(
                functools.partial(layers.causal_attention, scale=0.3)
            )(q, k, v)
        np.testing.assert_array_equal(
            actual, layers.blockwise_attention(q, k, v, scale=0.3)
        )


class ActivationTest(parameterized.TestCase):
    @parameterized.parameters(
        "gelu",
        "gelu_fast",
        "gelu_new",
        "gelu_pytorch_tanh",
        "relu",
        "silu",
        "swish",
    )
    def test_equals_transformers(self, name):
        x = np.linspace(-8, 8, 201, dtype=np.float32)
        expected = activations.ACT2FN[name](torch.tensor(x)).numpy()
        _assert_close(layers.activation(name)(jnp.asarray(x)), expected)

    def test_unknown(self):
        with self.assertRaisesRegex(ValueError, "'mish' is not ported.*silu"):
            layers.activation("mish")


class EmbedTest(absltest.TestCase):
    def test_id_beyond_the_table_is_nan(self):
        table = layers.Embed(3, 2, rngs=layers.ShapesOnly(0))
        rows = table(jnp.array([2, 3]))
        np.testing.assert_array_equal(np.isnan(rows), [[False] * 2, [True] * 2])


if __name__ == "__main__":
    absltest.main()
