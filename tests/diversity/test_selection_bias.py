import numpy as np
from absl.testing import absltest

from mmc_jax import diversity, frontier
from mmc_jax.diversity.selection_bias import numbers_of_texts
from tests.frontier import brute_force


class OptimismTest(absltest.TestCase):
    def test_falls_with_the_number_of_texts(self):
        """Equal models on independent texts: all gain is selection bias."""
        losses = np.random.default_rng(0).normal(10, 1, (8, 4000))
        costs = np.arange(1.0, 9.0)
        found = diversity.optimism(
            losses,
            costs,
            search=frontier.exhaustive,
            num_texts=[10, 100, 2000],
            num_samples=5,
        )
        with self.subTest("held out it is less"):
            self.assertTrue((found.gain_held_out < found.gain_in_sample).all())
        with self.subTest("the more texts, the less bias"):
            self.assertTrue((np.diff(found.share) < 0).all(), found.share)
            self.assertLess(found.share[-1], 0.05)
            self.assertGreater(found.share[0], 0.05)

    def test_is_cross_fitted(self):
        losses, costs = brute_force.pool(5, 60, 1)
        found = diversity.optimism(
            losses,
            costs,
            search=frontier.exhaustive,
            num_texts=[30],
            num_samples=1,
            seed=3,
        )
        texts = np.random.default_rng(3).choice(60, 60, replace=False)
        pool = frontier.cross_fitted(
            losses[:, texts],
            costs,
            search=frontier.exhaustive,
            num_splits=1,
            seed=3,
            budgets=found.budgets,
        )
        single = frontier.single_models(losses, costs)
        for b, budget in enumerate(found.budgets):
            reference = single.losses[single.costs <= budget].min()
            self.assertAlmostEqual(
                found.in_sample[0, b], reference - pool.in_sample[b], places=12
            )
            self.assertAlmostEqual(
                found.held_out[0, b], reference - pool.held_out[b], places=12
            )
        self.assertAlmostEqual(
            found.gain_held_out[0], found.held_out[0].mean(), places=14
        )
        self.assertAlmostEqual(
            found.share[0],
            1 - found.gain_held_out[0] / found.gain_in_sample[0],
            places=14,
        )

    def test_no_gain_has_no_share(self):
        losses = np.arange(3.0)[:, None] + np.ones((3, 40))
        found = diversity.optimism(losses, [1, 1, 1], num_texts=[20])
        self.assertEqual(found.gain_in_sample.tolist(), [0])
        self.assertTrue(np.isnan(found.share).all())

    def test_bad_arguments(self):
        losses, costs = brute_force.pool(3, 20, 2)
        for options, message in (
            ({"num_texts": [11]}, "num_texts has 11; of 20 texts 1 to 10"),
            ({"num_texts": [0]}, "num_texts has 0"),
            ({"num_samples": 0}, "num_samples is 0"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                diversity.optimism(losses, costs, **options)
        with self.assertRaisesRegex(ValueError, "1 text; at least 2"):
            diversity.optimism(losses[:, :1], costs)

    def test_numbers_of_texts(self):
        for total, expected in ((2, [1]), (20, [10]), (70, [8, 17, 35])):
            self.assertEqual(numbers_of_texts(total).tolist(), expected)


if __name__ == "__main__":
    absltest.main()
