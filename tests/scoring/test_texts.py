import itertools
import threading
import types

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import training
from mmc_jax.scoring import backends, batching, texts, tokenization, windows
from tests import tolerances
from tests.scoring import checkpoints


class KeptTokensTest(parameterized.TestCase):
    """What is kept of tokens, whatever model gives their scores."""

    @parameterized.product(prefix=(None, 0), context=(7, 300))
    def test_tokens_sum_to_texts(self, prefix, context):
        """Over any windows and batches, of scores of any size."""
        backend = backends.FastTokenizer(
            training.byte_tokenizer(checkpoints.SEPARATOR)
        )
        tokenizer = tokenization.Tokenizer(
            backend, tokenization.Prefix("bos", prefix)
        )
        under_way = texts.Texts(
            types.SimpleNamespace(
                tokenizer=tokenizer,
                encoded=lambda raw, ids, follower: tokenization.encode(
                    tokenizer, raw, ids, 300, follower
                ),
                windows=lambda n: windows.plan(
                    n, context, 4, has_prefix=prefix is not None
                ),
            ),
            keeps_tokens=True,
        )
        raw = (*tokenization.TRICKY_TEXTS, "x", "a </s> b\r\n" * 30)
        chunk = checkpoints.corpus_of(raw)
        rng = np.random.default_rng(0)
        rows = list(under_way.rows([chunk]))
        rng.shuffle(rows)
        for start in range(0, len(rows), 5):
            some = rows[start : start + 5]
            shape = len(some), max(len(row.targets) for row in some)
            nll = rng.lognormal(0, 4, shape).astype(np.float32)
            under_way.add(batching.Batch(some, nll, nll), nll)
        finished = under_way.take_finished()
        self.assertLen(finished, len(raw))
        for text in finished:
            scored = ~np.isnan(text.token_nll)
            self.assertEqual(scored.sum(), text.num_scored)
            self.assertEqual(scored.sum() + (prefix is None), text.num_tokens)
            np.testing.assert_allclose(
                text.token_nll[scored].sum(dtype=np.float64),
                text.nll_nats,
                rtol=tolerances.TOKEN_SUMS,
            )


class AheadTest(absltest.TestCase):
    def test_in_order(self):
        for num_items in (0, 1, 2, 7):
            with self.subTest(num_items=num_items):
                self.assertEqual(
                    list(texts.ahead(range(num_items), 2)),
                    list(range(num_items)),
                )

    def test_is_ahead_and_not_further(self):
        made, third = [], threading.Event()

        def items():
            for i in itertools.count():
                made.append(i)
                if i == 3:
                    third.set()
                yield i

        ahead = texts.ahead(items(), 3)
        self.assertEqual(next(ahead), 0)
        # Made by a thread, while nobody asks for more.
        self.assertTrue(third.wait(timeout=30))
        self.assertEqual(made, [0, 1, 2, 3])
        ahead.close()
        self.assertEqual(made, [0, 1, 2, 3])

    def test_errors_come_after_what_was_made_before(self):
        def items():
            yield 1
            yield 2
            raise ValueError("no more")

        taken = []
        with self.assertRaisesRegex(ValueError, "no more"):
            for item in texts.ahead(items(), 4):
                taken.append(item)
        self.assertEqual(taken, [1, 2])

    def test_closing_ends_the_thread(self):
        num_threads = threading.active_count()
        ahead = texts.ahead(itertools.count(), 2)
        next(ahead)
        self.assertGreater(threading.active_count(), num_threads)
        ahead.close()
        self.assertEqual(threading.active_count(), num_threads)


if __name__ == "__main__":
    absltest.main()
