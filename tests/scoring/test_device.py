"""B batch, T position."""

import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax import monitoring

from mmc_jax.models import layers, sharding
from mmc_jax.scoring import batching, device
from tests import tolerances

_VOCAB_SIZE = 13
_compiled = []


def setUpModule():
    def note(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            _compiled.append(event)

    monitoring.register_event_duration_secs_listener(note)


class _Hungry(layers.LanguageModel):
    """Gives the next token's logits by this one; B > most takes 280 TB."""

    def __init__(self, most_rows):
        self.config = types.SimpleNamespace(vocab_size=_VOCAB_SIZE)
        self.most_rows = most_rows
        self.table = jnp.asarray(
            np.random.default_rng(0).normal(size=(_VOCAB_SIZE, _VOCAB_SIZE)),
            jnp.float32,
        )

    def hidden_states(self, tokens):
        hidden = self.table[tokens]
        side = 4 if len(tokens) <= self.most_rows else 2**23
        ones = jnp.broadcast_to(hidden[0, 0, 0] * 0 + 1, (side, side))
        # Not to be had without the whole square.
        return hidden * jnp.cumsum(ones, axis=0)[0, tokens[0, 0]]

    def logits(self, hidden):
        return hidden


def _batches(lengths, tokens_per_batch, num_data=1):
    rng = np.random.default_rng(1)
    tokens = (rng.integers(1, _VOCAB_SIZE, n + 1) for n in lengths)
    rows = (
        batching.Row(i, t[:-1].astype(np.int32), t[1:].astype(np.int32), 0)
        for i, t in enumerate(tokens)
    )
    return batching.batches(rows, [16, 8], tokens_per_batch, num_data)


def _nll(scored):
    """Returns the nll of each row's tokens by the row's text."""
    return {
        row.text: values[: len(row.targets)]
        for batch, nll in scored
        for row, values in zip(batch.rows, nll, strict=False)
    }


class ScorerTest(parameterized.TestCase):
    def _scorer(self, most_rows, num_data=1):
        mesh = sharding.mesh(num_data, 1)
        network = jax.device_put(
            _Hungry(most_rows),
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()),
        )
        return device.Scorer(network, mesh), network

    def _assert_right(self, nll, network, lengths):
        self.assertLen(nll, len(lengths))
        log_probs = np.asarray(network.table, np.float64)
        log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
        for batch in _batches(lengths, 16):
            for row in batch.rows:
                np.testing.assert_allclose(
                    nll[row.text],
                    -log_probs[row.inputs, row.targets],
                    rtol=tolerances.LOG_SOFTMAX,
                )

    @parameterized.parameters((8, 1), (8, 4))
    def test_by_hand(self, most_rows, num_data):
        lengths = [3, 16, 8, 1, 9, 5, 5, 12, 7]
        scorer, network = self._scorer(most_rows, num_data)
        nll = _nll(scorer.scored(_batches(lengths, 16, num_data)))
        self._assert_right(nll, network, lengths)

    def test_batches_in_order(self):
        """Whatever is in flight, batches come out as they went in."""
        made = list(_batches([8] * 50, 16))
        scorer, _ = self._scorer(8)
        given = [batch for batch, _ in scorer.scored(made)]
        for batch, expected in zip(given, made, strict=True):
            self.assertIs(batch, expected)

    def test_stays_a_few_batches_behind(self):
        num_taken = 0

        def taken():
            nonlocal num_taken
            for batch in _batches([8] * 50, 16):
                num_taken += 1
                yield batch

        scorer, _ = self._scorer(8)
        for i, _ in enumerate(scorer.scored(taken())):
            self.assertBetween(num_taken, min(i + 2, 25), i + 4)

    def test_nothing_is_compiled_after_the_first_pass(self):
        lengths = [8, 16] * 6
        scorer, _ = self._scorer(8)
        list(scorer.scored(_batches(lengths, 16)))
        before = len(_compiled)
        list(scorer.scored(_batches(lengths * 3, 16)))
        self.assertLen(_compiled, before)
        with self.subTest("another shape is compiled, and counted"):
            list(scorer.scored(_batches(lengths, 32)))
            self.assertGreater(len(_compiled), before)

    @parameterized.parameters((4, 1), (2, 1), (1, 1), (4, 2))
    def test_halves_batches_that_do_not_fit(self, most_rows, num_data):
        """A real RESOURCE_EXHAUSTED, of batches of 16 rows and of 8."""
        lengths = [8] * 37 + [16] * 3 + [5] * 20
        scorer, network = self._scorer(most_rows, num_data)
        made = list(_batches(lengths, 128 // num_data, num_data))
        shapes, nll = [], {}
        for batch, values in scorer.scored(made):
            shapes.append(batch.inputs.shape)
            self.assertEqual(values.shape, batch.inputs.shape)
            nll |= _nll([(batch, values)])
        self._assert_right(nll, network, lengths)
        self.assertLessEqual(max(shapes)[0], most_rows)
        with self.subTest("the halved size is kept"):
            before = len(_compiled)
            again = list(scorer.scored(made))
            self.assertLen(_compiled, before)
            self.assertLen(again, len(shapes))

    def test_a_row_that_does_not_fit(self):
        scorer, _ = self._scorer(most_rows=0)
        with self.assertRaisesRegex(
            MemoryError,
            "bucket of 8 tokens: a batch of 1 rows on 1 devices does not fit "
            r"in memory: RESOURCE_EXHAUSTED: .* \d{15} bytes.*; use more dev",
        ):
            list(scorer.scored(_batches([8] * 4, 16)))

    def test_other_failures_are_not_memory(self):
        scorer, _ = self._scorer(8)
        error = jax.errors.JaxRuntimeError("INTERNAL: something else")

        def fails(*_):
            raise error

        scorer._programs.token_nll = fails
        with self.assertRaisesRegex(jax.errors.JaxRuntimeError, "something"):
            list(scorer.scored(_batches([8], 16)))


if __name__ == "__main__":
    absltest.main()
