"""Co-failures and their interval against sums of binomials."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from tests import tolerances


class CoFailuresTest(parameterized.TestCase):
    @parameterized.parameters(0, 1, 7, 20)
    def test_against_sums_of_binomials(self, num_failures):
        # One model solves all texts but some, the other one text more.
        losses = np.zeros((2, 20))
        losses[0, :num_failures] = 1.0
        losses[1, : num_failures + 1] = 1.0
        found = frontier.co_failures(losses, 0.5)
        self.assertEqual(found.num_failures, num_failures)
        self.assertEqual(
            (found.num_texts, found.share), (20, num_failures / 20)
        )

        def at_most(k, p):
            return math.fsum(
                math.comb(20, i) * p**i * (1 - p) ** (20 - i)
                for i in range(k + 1)
            )

        # At each end the other side of the count has probability 2.5 percent.
        if num_failures:
            tail = 1 - at_most(num_failures - 1, found.low)
            np.testing.assert_allclose(
                tail, 0.025, rtol=tolerances.CLOPPER_PEARSON
            )
        else:
            self.assertEqual(found.low, 0.0)
        if num_failures < 20:
            np.testing.assert_allclose(
                at_most(num_failures, found.high),
                0.025,
                rtol=tolerances.CLOPPER_PEARSON,
            )
        else:
            self.assertEqual(found.high, 1.0)

    def test_a_loss_at_the_threshold_is_no_failure(self):
        self.assertEqual(frontier.co_failures([[0.5, 0.6]], 0.5).share, 0.5)

    def test_caps_every_subset(self):
        losses = np.random.default_rng(0).integers(0, 2, (4, 50)).astype(float)
        found = frontier.co_failures(losses, 0.5)
        line = frontier.exhaustive(losses, np.ones(4))
        self.assertGreaterEqual(line.losses.min(), found.share)

    @parameterized.parameters(
        ([[1.0]], float("nan"), 0.95, "fail_above is nan"),
        ([[1.0]], 0.5, 0.0, "level is 0"),
        (1.0, 0.5, 0.95, "losses has shape"),
        ([[float("inf")]], 0.5, 0.95, r"losses\[0, 0\]"),
    )
    def test_bad_arguments(self, losses, threshold, level, message):
        with self.assertRaisesRegex(ValueError, message):
            frontier.co_failures(losses, threshold, level)


if __name__ == "__main__":
    absltest.main()
