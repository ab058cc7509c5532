import itertools
import threading

from absl.testing import absltest

from mmc_jax.scoring import texts


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
