"""B batch, T position, D width, V vocabulary."""

import functools
import re
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from jax.extend import core as jax_core
from jax.sharding import NamedSharding, PartitionSpec

from mmc_jax import models
from mmc_jax.models import layers, sharding
from mmc_jax.scoring import likelihood
from tests import optimisation, tolerances

# V is 16 x 63: chunks are of 16 parts, and most do not divide it.
_B, _T, _D, _V = 3, 37, 16, 1008


class _Counting(layers.LanguageModel):
    """Is almost sure that the token after v is v + 1; sees no context."""

    def __init__(self, vocab_size: int, certainty: float):
        self.config = types.SimpleNamespace(vocab_size=vocab_size)
        self.lm_head = nnx.Linear(
            vocab_size, vocab_size, use_bias=False, rngs=nnx.Rngs(0)
        )
        self.lm_head.kernel[...] = certainty * jnp.eye(vocab_size)

    def hidden_states(self, tokens):
        vocab_size = self.config.vocab_size
        return jax.nn.one_hot((tokens + 1) % vocab_size, vocab_size)

    def logits(self, hidden):
        return self.lm_head(hidden)


class _Bigram(layers.LanguageModel):
    """A tied table and nothing between."""

    def __init__(self, vocab_size: int, width: int):
        self.config = types.SimpleNamespace(vocab_size=vocab_size)
        self.embed_tokens = layers.Embed(vocab_size, width, rngs=nnx.Rngs(0))

    def hidden_states(self, tokens):
        return self.embed_tokens(tokens)

    def logits(self, hidden):
        return self.embed_tokens.attend(hidden)


@functools.cache
def _model(dtype=jnp.float32, tied=True, vocab_size=_V):
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=_D,
        intermediate_size=24,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
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


def _chunks_of(num_columns):
    return mock.patch.object(likelihood, "_COLUMNS", (num_columns, num_columns))


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
    # 1 and 100 columns become 16 and 96 in 16 parts; 63 x 16 is all.
    @parameterized.product(columns=(1, 100, 63 * 16), tied=(True, False))
    def test_equals_the_definition(self, columns, tied):
        model = _model(tied=tied)
        inputs, targets = _tokens()
        with _chunks_of(columns):
            nll = _nll(model, inputs, targets)
        self.assertEqual(nll.dtype, jnp.float32)
        np.testing.assert_allclose(
            nll,
            _reference_nll(_logits(model, inputs), targets),
            rtol=tolerances.LOG_SOFTMAX,
        )

    def test_odd_vocabulary(self):
        model = _model(vocab_size=1009)
        inputs, targets = _tokens()
        with _chunks_of(100):
            nll = _nll(model, inputs, targets)
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
        with jax.numpy_dtype_promotion("standard"), _chunks_of(100):
            logits = _logits(model, inputs)
            nll = _nll(model, inputs, targets)
        self.assertEqual(logits.dtype, jnp.bfloat16)
        self.assertEqual(nll.dtype, jnp.float32)
        np.testing.assert_allclose(
            nll, _reference_nll(logits, targets), rtol=tolerances.LOG_SOFTMAX
        )

    def test_huge_logits(self):
        # exp(1000) is infinite in float32. A head of 7 x 7 is not transposed.
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


@pytest.mark.full_optimisation
class MemoryTest(parameterized.TestCase):
    def _largest(self, num_columns):
        with _chunks_of(num_columns):
            # A function of its own: nothing compiled is shared.
            function = jax.jit(lambda *a: likelihood.token_nll(*a))
            arguments = (_model(), *_tokens())
            jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
            lowered = function.lower(*arguments)
            compiled = lowered.compile(optimisation.MEASURED)
        return _largest_in_jaxpr(jaxpr), _largest_in_program(compiled.as_text())

    def test_logits_never_exist_as_a_whole(self):
        num_columns = 160
        chunk = _B * _T * num_columns
        self.assertLess(_V * _D, chunk)  # The table is not what is found.
        for largest in self._largest(num_columns):
            self.assertLess(largest, 2 * chunk)
        self.assertLess(2 * chunk, _B * _T * _V / 3)

    def test_one_chunk_would_be_seen(self):
        for largest in self._largest(_V):
            self.assertGreaterEqual(largest, _B * _T * _V)

    # (1, 1) is one device; on (2, 4) the vocabulary is in four parts.
    @parameterized.parameters((1, 1), (2, 4))
    def test_large_vocabulary(self, num_data, num_model):
        """V = 256,000, T = 2,048, B = 8: less than 1 GB beside the rest."""
        B, T, D, V = 8, 2048, 16, 256_000
        mesh = sharding.mesh(num_data, num_model)
        rows = NamedSharding(mesh, PartitionSpec("model", None))
        model = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=rows
            ),
            nnx.eval_shape(lambda: _Bigram(V, D)),
        )
        tokens = jax.ShapeDtypeStruct(
            (B, T),
            jnp.int32,
            sharding=NamedSharding(mesh, PartitionSpec("data")),
        )
        compiled = (
            jax.jit(lambda *a: likelihood.token_nll(*a))
            .lower(model, tokens, tokens)
            .compile(optimisation.MEASURED)
        )
        temporary = compiled.memory_analysis().temp_size_in_bytes
        activations = B * T * D * 4
        self.assertLess(temporary, 2**30 + activations)
        # No device sees the whole table, nor the logits of all.
        largest = _largest_in_program(compiled.as_text())
        self.assertLess(largest, B * T * V // 32)
        if num_model > 1:
            self.assertNotIn(f"f32[{V},{D}]", compiled.as_text())


if __name__ == "__main__":
    absltest.main()
