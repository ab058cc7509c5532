"""B batch, T position, C chunk of positions, D width, V vocabulary."""

import functools
import re
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from jax.extend import core as jax_core

from mmc_jax import models
from mmc_jax.models import layers
from mmc_jax.scoring import likelihood
from tests import tolerances

_B, _T, _D, _V = 3, 37, 16, 1009


class _Counting(layers.LanguageModel):
    """Is almost sure that the token after v is v + 1; sees no context."""

    def __init__(self, vocab_size: int, certainty: float):
        self.config = types.SimpleNamespace(vocab_size=vocab_size)
        self.certainty = certainty

    def hidden_states(self, tokens):
        vocab_size = self.config.vocab_size
        return jax.nn.one_hot((tokens + 1) % vocab_size, vocab_size)

    def logits(self, hidden):
        return self.certainty * hidden


@functools.cache
def _model(dtype=jnp.float32):
    config = transformers.LlamaConfig(
        vocab_size=_V,
        hidden_size=_D,
        intermediate_size=24,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )

    model = nnx.eval_shape(lambda: models.build(config, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)  # Much faster than Flax's initializers.
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), dtype), model
    )


@jax.jit
def _logits(model, tokens):
    return model(tokens)


def _nll(*arguments):
    # A function of its own, so that nothing compiled is shared between chunks.
    return jax.jit(lambda *a: likelihood.token_nll(*a))(*arguments)


def _tokens():
    tokens = np.random.default_rng(0).integers(0, _V, (_B, _T + 1), np.int32)
    return tokens[:, :-1], tokens[:, 1:]


def _chunks_of(num_positions):
    return mock.patch.object(
        likelihood, "_LOGITS_PER_CHUNK", num_positions * _B * _V
    )


def _reference_nll(logits, targets):
    """Returns the nll by its definition, float64 [B, T]."""
    logits = np.asarray(logits.astype(jnp.float32)).astype(np.float64)
    largest = logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
    B, T = np.indices(targets.shape)
    return log_sum - logits[B, T, targets]


def _largest_in_jaxpr(jaxpr):
    """Returns the number of elements of the largest array in a jaxpr."""
    largest = 0
    for equation in jaxpr.eqns:
        for variable in (*equation.invars, *equation.outvars):
            largest = max(largest, np.prod(variable.aval.shape, dtype=int))
        for inner in jax_core.jaxprs_in_params(equation.params):
            largest = max(largest, _largest_in_jaxpr(inner))
    return largest


def _largest_in_program(text):
    """Returns the number of elements of the largest array in XLA's text."""
    shapes = re.findall(r"\b(?:bf16|f16|f32|f64)\[([\d,]+)\]", text)
    return max(np.prod([int(n) for n in s.split(",")]) for s in shapes)


class TokenNllTest(parameterized.TestCase):
    @parameterized.parameters(1, 7, 37, 1000)
    def test_equals_the_definition(self, chunk):
        # 7 does not divide T = 37.
        model = _model()
        inputs, targets = _tokens()
        with _chunks_of(chunk):
            nll = _nll(model, inputs, targets)
        self.assertEqual(nll.dtype, jnp.float32)
        np.testing.assert_allclose(
            nll,
            _reference_nll(_logits(model, inputs), targets),
            rtol=tolerances.LOG_SOFTMAX,
        )

    def test_of_one_position(self):
        model = _model()
        inputs, targets = (tokens[:, :1] for tokens in _tokens())
        np.testing.assert_allclose(
            _nll(model, inputs, targets),
            _reference_nll(_logits(model, inputs), targets),
            rtol=tolerances.LOG_SOFTMAX,
        )

    def test_bfloat16_parameters(self):
        model = _model(jnp.bfloat16)
        inputs, targets = _tokens()
        # Flax's norms mix dtypes.
        with jax.numpy_dtype_promotion("standard"), _chunks_of(7):
            logits = _logits(model, inputs)
            nll = _nll(model, inputs, targets)
        self.assertEqual(logits.dtype, jnp.bfloat16)
        self.assertEqual(nll.dtype, jnp.float32)
        np.testing.assert_allclose(
            nll, _reference_nll(logits, targets), rtol=tolerances.LOG_SOFTMAX
        )

    def test_huge_logits(self):
        # exp(1000) is infinite in float32.
        model = _Counting(7, certainty=1000.0)
        tokens = jnp.arange(6)[None] % 7
        np.testing.assert_array_equal(
            likelihood.token_nll(model, tokens, tokens), np.full((1, 6), 1000.0)
        )

    def test_uniform_logits_give_log_of_the_vocabulary(self):
        inputs, targets = _tokens()
        nll = likelihood.token_nll(_Counting(_V, 0.0), inputs, targets)
        np.testing.assert_allclose(
            nll, np.full((_B, _T), np.log(_V)), rtol=tolerances.LOG_SOFTMAX
        )

    def test_targets_are_not_shifted(self):
        model = _Counting(7, certainty=20.0)
        tokens = jnp.arange(30, dtype=jnp.int32)[None] % 7
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        right = np.log1p(6 * np.exp(-20.0))
        np.testing.assert_allclose(
            likelihood.token_nll(model, inputs, targets),
            np.full((1, 29), right),
            atol=20 * tolerances.LOG_SOFTMAX,
        )
        for shift in (-1, 1):
            shifted = jnp.roll(targets, shift, axis=1)[:, 1:-1]
            nll = likelihood.token_nll(model, inputs[:, 1:-1], shifted)
            self.assertGreater(nll.min(), 19.0)


class MemoryTest(parameterized.TestCase):
    def _largest(self, num_positions):
        with _chunks_of(num_positions):
            # A function of its own: nothing compiled is shared.
            function = jax.jit(lambda *a: likelihood.token_nll(*a))
            arguments = (_model(), *_tokens())
            jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
            compiled = function.lower(*arguments).compile()
        return _largest_in_jaxpr(jaxpr), _largest_in_program(compiled.as_text())

    def test_logits_never_exist_as_a_whole(self):
        num_positions = 4
        chunk = _B * num_positions * _V
        self.assertLess(_V * _D, 2 * chunk)  # The table is not what is found.
        for largest in self._largest(num_positions):
            self.assertLess(largest, 2 * chunk)
        self.assertLess(2 * chunk, _B * _T * _V / 4)

    def test_one_chunk_would_be_seen(self):
        for largest in self._largest(_T):
            self.assertGreaterEqual(largest, _B * _T * _V)


if __name__ == "__main__":
    absltest.main()
