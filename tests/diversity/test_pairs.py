import dataclasses

import numpy as np
from absl.testing import absltest

from mmc_jax import diversity
from tests.diversity.test_findings import table_of
from tests.frontier import brute_force


class PairTestTest(absltest.TestCase):
    def test_by_hand(self):
        losses, _ = brute_force.pool(4, 50, 1)
        costs = [3.0, 5.0, 7.0, 10.0]
        # 8 = 3 + 5: log(8/7) < log(10/8).
        found = diversity.pair_test(losses, costs, (0, 1))
        self.assertEqual(found.nearest, 2)
        self.assertEqual((found.pair_cost, found.nearest_cost), (8, 7))
        pair = np.minimum(losses[0], losses[1])
        self.assertAlmostEqual(found.pair_loss, pair.mean(), places=14)
        self.assertAlmostEqual(
            found.against_nearest.estimate.value,
            losses[2].mean() - pair.mean(),
            places=12,
        )
        self.assertEqual(
            found.against_better, diversity.pair_bonus(losses[0], losses[1])
        )
        self.assertAlmostEqual(
            found.win_share, (losses[1] < losses[0]).mean(), places=14
        )

    def test_bad_arguments(self):
        losses, costs = brute_force.pool(3, 9, 2)
        with self.assertRaisesRegex(ValueError, "two different"):
            diversity.pair_test(losses, costs, (1, 1))
        with self.assertRaisesRegex(ValueError, "a third"):
            diversity.pair_test(losses[:2], costs[:2], (0, 1))
        with self.assertRaisesRegex(ValueError, r"costs\[0\] is 0"):
            diversity.pair_test(losses, [0, 1, 2], (1, 2))


class TokenEffectTest(absltest.TestCase):
    def _table(self, num_tokens=(2, 4)):
        nll = np.array([[6.0, 7.0, 9.0], [8.0, 6.0, 4.0]])
        return table_of(nll, num_tokens=num_tokens, num_chars=8)

    def test_by_hand(self):
        """Tokens twice as long: per token the first seems to lose more."""
        found = diversity.token_effect(
            self._table(), ("m0", "m1"), normalisation="nats_per_char"
        )
        self.assertEqual(found.chars_per_token, (4, 2))
        np.testing.assert_allclose(found.per_token, (22 / 6, 18 / 12))
        np.testing.assert_allclose(found.fair, (22 / 24, 18 / 24))
        np.testing.assert_allclose(
            found.differences_per_token, [2 - 3, 1.5 - 3.5, 1 - 4.5]
        )
        np.testing.assert_allclose(
            found.differences_fair, np.array([2, -1, -5]) / 8
        )
        self.assertAlmostEqual(found.share_turned, 1 / 3)
        self.assertAlmostEqual(
            found.advantage_fair.estimate.value, -4 / 24, places=14
        )

    def test_bad_arguments(self):
        table = self._table()
        for pair, options, message in (
            (("m0", "m0"), {}, "two different models"),
            (("m0", "m7"), {}, "no model 'm7'"),
            (("m0", "m1"), {"normalisation": "nats_per_token"}, "unfair one"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                diversity.token_effect(table, pair, **options)
        with self.assertRaisesRegex(ValueError, "share a tokenizer"):
            diversity.token_effect(self._table((3, 3)), ("m0", "m1"))
        unknown = dataclasses.replace(
            table, num_tokens=None, num_scored=None, chars_per_token=None
        )
        with self.assertRaisesRegex(ValueError, "num_tokens"):
            diversity.token_effect(unknown, ("m0", "m1"))


if __name__ == "__main__":
    absltest.main()
