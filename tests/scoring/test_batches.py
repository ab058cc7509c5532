import doctest

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.scoring import batches

_LENGTHS = [256, 128, 64]


def _rows(lengths):
    """Returns rows of such lengths; no token is 0, so padding shows."""
    return [
        batches.Row(
            text,
            np.arange(1, length + 1, dtype=np.int32),
            np.arange(2, length + 2, dtype=np.int32),
            0,
        )
        for text, length in enumerate(lengths)
    ]


class BucketLengthsTest(parameterized.TestCase):
    def test_examples_of_the_docstrings(self):
        result = doctest.testmod(batches)
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 0)

    @parameterized.parameters(
        (1, [1]),
        (64, [64]),
        (127, [127]),
        (128, [128, 64]),
        (1024, [1024, 512, 256, 128, 64]),
    )
    def test_by_hand(self, context, expected):
        self.assertEqual(batches.bucket_lengths(context), expected)

    def test_are_few_whatever_the_context(self):
        for context in range(1, 5000):
            lengths = batches.bucket_lengths(context)
            self.assertEqual(lengths[0], context)
            self.assertLessEqual(len(lengths), 7)


class BatchesTest(parameterized.TestCase):
    @parameterized.parameters(1, 64, 300, 512, 8192)
    def test_invariants(self, tokens_per_batch):
        lengths = np.random.default_rng(0).integers(1, 257, 200)
        rows = _rows([1, 64, 65, 128, 129, 256, *lengths])
        made = list(batches.batches(rows, _LENGTHS, tokens_per_batch))
        with self.subTest("one shape a bucket"):
            shapes = {batch.inputs.shape for batch in made}
            self.assertEqual(
                shapes, {(max(1, tokens_per_batch // T), T) for T in _LENGTHS}
            )
        with self.subTest("the budget is kept"):
            for batch in made:
                if batch.inputs.shape[0] > 1:
                    self.assertLessEqual(batch.inputs.size, tokens_per_batch)
        with self.subTest("each row once"):
            texts = [row.text for batch in made for row in batch.rows]
            self.assertCountEqual(texts, range(len(rows)))
        with self.subTest("the shortest bucket that fits"):
            for batch in made:
                for row in batch.rows:
                    fits = [T for T in _LENGTHS if T >= len(row.inputs)]
                    self.assertEqual(batch.inputs.shape[1], min(fits))
        with self.subTest("only right padding"):
            for batch in made:
                self.assertLessEqual(len(batch.rows), len(batch.inputs))
                for i, row in enumerate(batch.rows):
                    for padded, values in (
                        (batch.inputs, row.inputs),
                        (batch.targets, row.targets),
                    ):
                        self.assertEqual(padded.dtype, np.int32)
                        np.testing.assert_array_equal(
                            padded[i, : len(values)], values
                        )
                        self.assertFalse(padded[i, len(values) :].any())
                self.assertFalse(batch.inputs[len(batch.rows) :].any())
        with self.subTest("the longest first"):
            order = [batch.inputs.shape[1] for batch in made]
            self.assertEqual(order, sorted(order, reverse=True))

    def test_no_rows(self):
        self.assertEqual(list(batches.batches([], _LENGTHS, 512)), [])


if __name__ == "__main__":
    absltest.main()
