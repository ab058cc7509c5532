import doctest
import itertools
import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.scoring import batching, windows

_LENGTHS = [256, 128, 64]


def _rows(lengths):
    """Yields rows of such lengths; no token is 0, so padding shows."""
    for text, length in enumerate(lengths):
        yield batching.Row(
            text,
            np.arange(1, length + 1, dtype=np.int32),
            np.arange(2, length + 2, dtype=np.int32),
            0,
        )


class BucketLengthsTest(parameterized.TestCase):
    def test_examples_of_the_docstrings(self):
        result = doctest.testmod(batching)
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 1)

    @parameterized.parameters(
        (1, [1]),
        (64, [64]),
        (65, [65, 64]),
        (127, [127, 112, 96, 80, 72, 64]),
        (128, [128, 112, 96, 80, 72, 64]),
        (260, [260, 256, 224, 192, 160, 144, 128, 112, 96, 80, 72, 64]),
    )
    def test_by_hand(self, context, expected):
        self.assertEqual(batching.bucket_lengths(context), expected)

    @parameterized.parameters(63, 64, 65, 300, 1024, 131072)
    def test_few_batches_have_few_buckets(self, context):
        few = batching.bucket_lengths(context, num_batches=99)
        self.assertContainsSubset(few, batching.bucket_lengths(context, 100))
        self.assertLessEqual(len(few), 2 + max(0.0, math.log2(context / 64)))
        self.assertEqual(few[0], context)
        for longer, shorter in itertools.pairwise(few):
            self.assertLessEqual(longer, 2 * shorter)

    def test_expected_batches(self):
        # 32,000 bytes are about 8,000 tokens.
        self.assertEqual(batching.expected_batches(32_000, 500, 2), 8)

    @parameterized.parameters(63, 64, 65, 300, 1000, 1024, 4096, 131072)
    def test_invariants(self, context):
        lengths = batching.bucket_lengths(context)
        self.assertEqual(lengths[0], context)
        self.assertEqual(lengths, sorted(set(lengths), reverse=True))
        most = 2 + 5 * max(0.0, math.log2(context / 64))
        self.assertLessEqual(len(lengths), most)
        for longer, shorter in itertools.pairwise(lengths):
            self.assertLessEqual(longer, 1.2 * shorter)
            self.assertEqual(shorter % 8, 0)


class LengthsOfRowsTest(parameterized.TestCase):
    @parameterized.parameters(0, 500, 3000, 10_000, 1e6)
    def test_no_other_lengths_cost_less(self, tokens_per_program):
        rng = np.random.default_rng(0)
        num_rows = {int(T): int(rng.integers(1, 50)) for T in (1, 70, 90, 200)}

        def cost(lengths):
            tokens = sum(
                num * min(T for T in lengths if T >= length)
                for length, num in num_rows.items()
            )
            return tokens + tokens_per_program * len(lengths)

        candidates = batching.bucket_lengths(300)
        least = min(
            cost(lengths)
            for num in range(1, 5)
            for lengths in itertools.combinations(candidates, num)
            if lengths[0] >= 200
        )
        found = batching.lengths_of_rows(num_rows, 300, tokens_per_program)
        self.assertContainsSubset(found, candidates)
        self.assertEqual(found, sorted(found, reverse=True))
        self.assertEqual(cost(found), least)

    def test_no_rows(self):
        self.assertEqual(batching.lengths_of_rows({}, 300, 10.0), [])


class BatchesTest(parameterized.TestCase):
    @parameterized.product(
        tokens_per_batch=(1, 64, 300, 512, 8192), num_data=(1, 3)
    )
    def test_invariants(self, tokens_per_batch, num_data):
        lengths = np.random.default_rng(0).integers(1, 257, 200)
        lengths = [1, 64, 65, 128, 129, 256, *lengths]
        made = list(
            batching.batches(
                _rows(lengths), _LENGTHS, tokens_per_batch, num_data
            )
        )
        with self.subTest("one shape a bucket"):
            shapes = {batch.inputs.shape for batch in made}
            self.assertEqual(
                shapes,
                {
                    (num_data * max(1, tokens_per_batch // T), T)
                    for T in _LENGTHS
                },
            )
        with self.subTest("the budget is kept"):
            for batch in made:
                if batch.inputs.shape[0] > num_data:
                    self.assertLessEqual(
                        batch.inputs.size, num_data * tokens_per_batch
                    )
        with self.subTest("each row once"):
            texts = [row.text for batch in made for row in batch.rows]
            self.assertCountEqual(texts, range(len(lengths)))
        with self.subTest("the shortest bucket that fits"):
            for batch in made:
                for row in batch.rows:
                    fits = [T for T in _LENGTHS if T >= len(row.inputs)]
                    self.assertEqual(batch.inputs.shape[1], min(fits))
        with self.subTest("only right padding"):
            for batch in made:
                self._check_padding(batch)
        with self.subTest("one batch a bucket is not full"):
            short = [
                batch.inputs.shape[1]
                for batch in made
                if len(batch.rows) < len(batch.inputs)
            ]
            self.assertEqual(len(short), len(set(short)))

    def _check_padding(self, batch):
        self.assertBetween(len(batch.rows), 1, len(batch.inputs))
        for i, row in enumerate(batch.rows):
            for padded, values in (
                (batch.inputs, row.inputs),
                (batch.targets, row.targets),
            ):
                self.assertEqual(padded.dtype, np.int32)
                np.testing.assert_array_equal(padded[i, : len(values)], values)
                self.assertFalse(padded[i, len(values) :].any())
        self.assertFalse(batch.inputs[len(batch.rows) :].any())

    def test_split(self):
        (batch,) = batching.batches(_rows([3, 60, 5, 64, 9]), [64], 8 * 64)
        pieces = list(batch.split(2))
        self.assertEqual(
            [[row.text for row in piece.rows] for piece in pieces],
            [[0, 1], [2, 3], [4]],
        )
        for piece in pieces:
            self.assertEqual(piece.inputs.shape, (2, 64))
            self._check_padding(piece)

    def test_no_rows(self):
        self.assertEqual(list(batching.batches([], _LENGTHS, 512)), [])

    @parameterized.parameters(1024, 2048, 4096)
    def test_padding_of_texts_of_lognormal_length(self, context):
        """Below a tenth, for lengths around 300 tokens and 10,000 texts."""
        lengths = np.random.default_rng(0).lognormal(math.log(300), 0.8, 10_000)
        plans = (
            windows.plan(
                int(length) + 1, context, context // 2, has_prefix=True
            )
            for length in lengths
        )
        rows = _rows(w.end - w.start for plan in plans for w in plan)
        num_tokens = num_slots = 0
        for batch in batching.batches(
            rows, batching.bucket_lengths(context), tokens_per_batch=8192
        ):
            num_tokens += sum(len(row.inputs) for row in batch.rows)
            num_slots += batch.inputs.size
        self.assertLess(1 - num_tokens / num_slots, 0.1)

    def test_few_rows_wait(self):
        """What is in memory does not grow with what is scored."""
        num_taken = 0

        def taken():
            nonlocal num_taken
            lengths = np.random.default_rng(0).integers(1, 257, 5000)
            for row in _rows(lengths):
                num_taken += 1
                yield row

        num_given = 0
        # Each bucket holds fewer than 512 // T rows: 2 + 4 + 8.
        for batch in batching.batches(taken(), _LENGTHS, 512):
            self.assertLess(num_taken - num_given, 2 + 4 + 8)
            num_given += len(batch.rows)


if __name__ == "__main__":
    absltest.main()
