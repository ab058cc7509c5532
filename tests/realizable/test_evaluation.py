"""What a router is worth: against sums by hand."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import realizable
from tests import tolerances


class EvaluationTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.losses = rng.uniform(1, 2, (3, 40))
        self.predicted = self.losses + rng.normal(0, 0.2, (3, 40))
        self.costs = np.array([1.0, 2.0, 5.0])

    def _evaluated(self, predicted=None, **options):
        return realizable.evaluated(
            self.losses,
            self.predicted if predicted is None else predicted,
            **{"best_single": 1, "num_resamples": 50, **options},
        )

    def test_numbers_by_hand(self):
        domains = ["a", "b"] * 20
        found = self._evaluated(domains=domains, costs=self.costs)
        chosen = self.predicted.argmin(axis=0)
        routed = self.losses[chosen, np.arange(40)].mean()
        single, best = self.losses[1].mean(), self.losses.min(axis=0).mean()
        by_domain = np.mean(
            [self.losses[:, d::2].mean(axis=1).min() for d in (0, 1)]
        )
        for value, expected in (
            (found.routed, routed),
            (found.best_single, single),
            (found.oracle, best),
            (found.domain_oracle, by_domain),
            (found.closed_gap, (single - routed) / (single - best)),
            (found.domain_closed_gap, (single - by_domain) / (single - best)),
            (found.agreement, np.mean(chosen == self.losses.argmin(axis=0))),
        ):
            np.testing.assert_allclose(
                value.value, expected, rtol=tolerances.MEAN_OF_LOSSES * 100
            )
            self.assertBetween(value.value, value.low, value.high)
        self.assertAlmostEqual(found.expected_cost, self.costs[chosen].mean())
        self.assertEqual(found.confusion.sum(), 40)
        self.assertEqual(
            found.confusion[2, 0],
            np.sum((chosen == 2) & (self.losses.argmin(axis=0) == 0)),
        )
        np.testing.assert_allclose(found.shares.sum(), 1)

    def test_right_and_single(self):
        right = self._evaluated(self.losses)
        self.assertEqual(right.closed_gap, (1.0, 1.0, 1.0, 0.95))
        self.assertEqual(right.agreement.value, 1)
        single = np.repeat([[2.0], [1.0], [2.0]], 40, axis=1)
        self.assertEqual(self._evaluated(single).closed_gap, (0, 0, 0, 0.95))

    def test_no_gap(self):
        """One model is the best everywhere: there is nothing to close."""
        self.losses[1] = 0
        found = self._evaluated()
        self.assertTrue(np.isnan(found.closed_gap.value))
        self.assertFalse(found.closed_gap.has_interval)

    def test_all_texts_count(self):
        """Also those on which every model is as good: they lose and gain 0."""
        self.losses[:, :20] = 1.0
        found = self._evaluated()
        self.assertLess(found.oracle.value, found.best_single.value)
        self.assertGreaterEqual(found.agreement.value, 0.5)

    def test_curve_of_single_models(self):
        """A router without features moves along the single models' hull."""
        means = np.array([1.8, 1.2, 1.0])
        self.losses = np.repeat(means[:, None], 40, axis=1)
        found = self._evaluated(self.losses, costs=self.costs)
        np.testing.assert_allclose(np.unique(found.curve_costs), [1, 2, 5])
        # Trapezoids over the costs 1 to 5.
        expected = ((1.8 + 1.2) / 2 * 1 + (1.2 + 1.0) / 2 * 3) / 4
        self.assertAlmostEqual(found.area, expected)

    def test_the_range_of_costs_divides(self):
        """Another zero of the costs does not change the area."""
        area = self._evaluated(costs=self.costs).area
        moved = self._evaluated(costs=self.costs + 100).area
        self.assertAlmostEqual(area, moved)

    def test_reading_is_paid(self):
        without, with_ = (
            self._evaluated(costs=self.costs, reading_cost=reading)
            for reading in (0.0, 0.5)
        )
        self.assertAlmostEqual(with_.expected_cost, without.expected_cost + 0.5)
        self.assertGreater(with_.area, without.area)
        # The cheapest model alone needs no router.
        self.assertEqual(with_.curve_costs[0], 1.0)

    def test_costs_of_queries(self):
        spent = self.costs[:, None] * np.linspace(0.5, 1.5, 40)
        found = self._evaluated(costs=self.costs, query_costs=spent)
        chosen = self.predicted.argmin(axis=0)
        self.assertAlmostEqual(
            found.expected_cost, spent[chosen, np.arange(40)].mean()
        )

    def test_equal_costs(self):
        found = self._evaluated(costs=np.ones(3))
        self.assertTrue(np.isnan(found.area))

    def test_clusters_widen(self):
        self.losses += np.repeat(np.random.default_rng(1).normal(size=4), 10)
        single, clustered = (
            self._evaluated(self.losses, clusters=clusters).routed
            for clusters in (None, np.repeat(list("abcd"), 10))
        )
        self.assertGreater(
            clustered.high - clustered.low, single.high - single.low
        )

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "other models or other texts"):
            self._evaluated(self.predicted[:2])
        self.predicted[0, 3] = np.nan
        with self.assertRaisesRegex(ValueError, r"losses\[0, 3\]"):
            self._evaluated()


if __name__ == "__main__":
    absltest.main()
