import numpy as np
import scipy.stats
from absl.testing import absltest, parameterized

from mmc_jax import diversity
from tests import tolerances
from tests.frontier import brute_force


def _pair_gains(losses, weights):
    """All pairs one by one, in exact sums."""

    def loss(*subset):
        return brute_force.point(losses, [0] * len(losses), subset, weights)[1]

    models = range(len(losses))
    return [
        [min(loss(i), loss(j)) - loss(i, j) for j in models] for i in models
    ]


class PairGainsTest(parameterized.TestCase):
    @parameterized.product(
        shape=((1, 1), (2, 1), (3, 50), (9, 3000)), weighted=(False, True)
    )
    def test_against_brute_force(self, shape, weighted):
        losses, _ = brute_force.pool(*shape, seed=1)
        weights = np.arange(shape[1]) % 3 + 1.0 if weighted else None
        found = diversity.pair_gains(losses, weights)
        expected = _pair_gains(losses.tolist(), weights)
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=tolerances.MEAN_OF_LOSSES
        )
        with self.subTest("symmetric, not negative, zero diagonal"):
            np.testing.assert_array_equal(found, found.T)
            self.assertGreaterEqual(found.min(), 0)
            np.testing.assert_array_equal(np.diagonal(found), 0)

    def test_exactly_zero_where_one_wins_everywhere(self):
        losses = np.random.default_rng(0).lognormal(size=(2, 999))
        losses[1] = losses[0] + losses[1]
        np.testing.assert_array_equal(diversity.pair_gains(losses), 0)

    def test_per_cost(self):
        losses, costs = brute_force.pool(5, 40, seed=2)
        found = diversity.pair_gains_per_cost(losses, costs)
        gains = diversity.pair_gains(losses)
        for i in range(5):
            for j in range(5):
                self.assertEqual(
                    found[i, j], gains[i, j] / max(costs[i], costs[j])
                )
        with self.assertRaisesRegex(ValueError, r"costs\[1\] is 0"):
            diversity.pair_gains_per_cost(losses[:2], [1, 0])

    def test_at_equal_cost(self):
        losses, costs = brute_force.pool(6, 40, seed=3, whole_numbers=True)
        found = diversity.equal_cost_gains(losses, costs)
        single = losses.mean(axis=1)
        for i in range(6):
            for j in range(6):
                if i == j:
                    self.assertTrue(np.isnan(found[i, i]))
                    continue
                affordable = single[costs <= costs[i] + costs[j]]
                pair = np.minimum(losses[i], losses[j]).mean()
                self.assertAlmostEqual(
                    found[i, j], affordable.min() - pair, places=12
                )

    def test_bad_losses(self):
        with self.assertRaisesRegex(ValueError, r"losses\[0, 1\].* is nan"):
            diversity.pair_gains([[1.0, np.nan]])
        with self.assertRaisesRegex(ValueError, "weights are all 0"):
            diversity.pair_gains([[1.0, 2.0]], [0, 0])


class BonusTest(parameterized.TestCase):
    def test_is_the_pair_gain(self):
        losses, _ = brute_force.pool(2, 300, seed=4)
        found = diversity.pair_bonus(*losses)
        self.assertAlmostEqual(
            found.estimate.value, diversity.pair_gains(losses)[0, 1], places=12
        )
        self.assertLess(found.estimate.low, found.estimate.value)
        self.assertGreater(found.estimate.high, found.estimate.value)

    def test_zero_where_one_wins_everywhere(self):
        losses = np.random.default_rng(5).lognormal(size=200)
        found = diversity.pair_bonus(losses, losses + 1)
        for value in (*found.estimate[:3], found.standard_error):
            self.assertAlmostEqual(value, 0, places=12)

    def test_standard_error_of_a_mean(self):
        """Of one reference the bonus is a mean of differences."""
        rng = np.random.default_rng(6)
        reference, losses = rng.normal(size=(2, 2000))
        found = diversity.bonus(reference[None], losses, num_resamples=4000)
        expected = (reference - losses).std() / np.sqrt(2000)
        self.assertAlmostEqual(
            found.standard_error / expected,
            1,
            delta=tolerances.BOOTSTRAP_4000,
        )

    def test_interval_holds_the_truth_as_often_as_it_says(self):
        """On simulated pairs whose bonus is known."""
        rng = np.random.default_rng(7)
        holds = []
        for _ in range(200):
            # One model is a little better: min() has a derivative there.
            a, b = rng.normal(size=(2, 400))
            found = diversity.pair_bonus(a - 0.5, b, num_resamples=300)
            low, high = found.estimate[1:3]
            holds.append(low <= _normal_bonus(0.5) <= high)
        # A share of 0.95 of 200 has a standard error of 0.015.
        self.assertBetween(np.mean(holds), 0.9, 0.99)

    def test_clusters_are_drawn_whole(self):
        a, b = np.random.default_rng(8).normal(size=(2, 40))
        one_by_one = diversity.pair_bonus(a, b)
        clusters = [str(x // 25) for x in range(1000)]
        together = diversity.pair_bonus(
            np.repeat(a, 25), np.repeat(b, 25), clusters=clusters
        )
        self.assertAlmostEqual(
            together.estimate.low, one_by_one.estimate.low, delta=0.05
        )
        alone = diversity.pair_bonus(np.repeat(a, 25), np.repeat(b, 25))
        self.assertLess(
            alone.standard_error, together.standard_error / 3
        )  # 1/5 expected

    def test_weights_are_counts(self):
        a, b = np.random.default_rng(9).normal(size=(2, 30))
        counts = np.arange(30) % 3 + 1
        weighted = diversity.pair_bonus(a, b, weights=counts)
        repeated = diversity.pair_bonus(np.repeat(a, counts), b.repeat(counts))
        self.assertAlmostEqual(
            weighted.estimate.value, repeated.estimate.value, places=12
        )

    @parameterized.parameters(
        (np.zeros(3), np.zeros(4), {}, "of the same texts"),
        (np.zeros(1), np.zeros(1), {}, "at least 2 are needed"),
        (np.zeros(3), np.zeros(3), {"num_resamples": 0}, "num_resamples is 0"),
        (np.array([0, np.inf]), np.zeros(2), {}, r"losses\[0, 1\]"),
    )
    def test_bad_arguments(self, a, b, options, message):
        with self.assertRaisesRegex(ValueError, message):
            diversity.pair_bonus(a, b, **options)


def _normal_bonus(shift):
    """Clark 1961: the mean of the minimum of two independent normals."""
    spread = np.sqrt(2)
    t = shift / spread
    least = -shift * scipy.stats.norm.cdf(t) - spread * scipy.stats.norm.pdf(t)
    return -shift - least


if __name__ == "__main__":
    absltest.main()
