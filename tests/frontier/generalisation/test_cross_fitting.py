"""Cross-fitted halves against a loop over splits and subsets."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier, synthetic
from tests import tolerances
from tests.frontier import brute_force


class CrossFittedTest(parameterized.TestCase):
    @parameterized.product(weighted=[False, True], clustered=[False, True])
    def test_against_a_loop(self, weighted, clustered):
        losses, costs = brute_force.pool(5, 13, 1)
        weights = np.arange(1.0, 14) if weighted else None
        clusters = [f"{x // 3}" for x in range(13)] if clustered else None
        budgets = [costs.min(), costs.sum() / 3, costs.sum()]
        # A frontier of a half begins at the cheapest model.
        found = frontier.cross_fitted(
            losses,
            costs,
            search=frontier.exhaustive,
            num_splits=4,
            seed=7,
            weights=weights,
            clusters=clusters,
            budgets=budgets,
        )
        rng = np.random.default_rng(7)
        cluster = np.arange(13) // 3 if clustered else np.arange(13)
        num_clusters = cluster.max() + 1
        expected = np.zeros((2, 4, 3))
        for split in range(4):
            order = rng.permutation(num_clusters)
            first = np.isin(cluster, order[: -(-num_clusters // 2)])
            for half, b in itertools.product((first, ~first), range(3)):
                w = np.ones(13) if weights is None else weights
                best = min(
                    (
                        brute_force.point(
                            losses[:, half], costs, subset, w[half]
                        )[::-1],
                        subset,
                    )
                    for subset in brute_force.subsets(5, 5)
                    if costs[list(subset)].sum() <= budgets[b]
                )
                expected[0, split, b] += best[0][0] / 2
                other = brute_force.point(
                    losses[:, ~half], costs, best[1], w[~half]
                )
                expected[1, split, b] += other[1] / 2
        for values, exact in (
            (found.in_sample_of_split, expected[0]),
            (found.held_out_of_split, expected[1]),
            (found.in_sample, expected[0].mean(axis=0)),
            (found.held_out, expected[1].mean(axis=0)),
            (found.in_sample_std, expected[0].std(axis=0)),
            (found.held_out_std, expected[1].std(axis=0)),
            (found.optimism_std, (expected[1] - expected[0]).std(axis=0)),
        ):
            np.testing.assert_allclose(
                values, exact, rtol=tolerances.MEAN_OF_LOSSES
            )
        self.assertEqual(found.share_of_split.shape, (4,))

    def test_selection_flatters_noise_and_only_noise(self):
        optimism = {}
        for noise in (0.0, 0.2):
            drawn = synthetic.pool(10, 60, noise)
            found = frontier.cross_fitted(
                drawn.losses,
                drawn.costs,
                search=frontier.pruned,
                num_splits=10,
            )
            optimism[noise] = (found.held_out - found.in_sample).mean()
        self.assertGreater(optimism[0.2], 5 * abs(optimism[0.0]))

    def test_a_subset_fixed_beforehand_has_no_optimism(self):
        losses, costs = brute_force.pool(4, 30, 3)

        def all_models(losses, costs, weights=None):
            masks = np.ones((1, 4), bool)
            return frontier.of_subsets(losses, costs, masks, weights)

        found = frontier.cross_fitted(
            losses, costs, search=all_models, num_splits=3
        )
        # Each half is in-sample once and held out once.
        np.testing.assert_allclose(
            found.in_sample, found.held_out, rtol=tolerances.MEAN_OF_LOSSES
        )

    def test_default_budgets_and_pairs(self):
        losses, costs = brute_force.pool(6, 30, 2)
        one, two = (
            frontier.cross_fitted(
                losses, costs, search=search, num_splits=2, seed=5
            )
            for search in (frontier.exhaustive, frontier.single_models)
        )
        self.assertEqual(one.budgets[0], costs.min())
        self.assertLessEqual(one.budgets[-1], costs.sum())
        self.assertTrue((np.diff(one.budgets) > 0).all())
        # The same splits: a single model is one subset of many.
        both = frontier.cross_fitted(
            losses,
            costs,
            search=frontier.exhaustive,
            num_splits=2,
            seed=5,
            budgets=two.budgets,
        )
        self.assertTrue(
            (both.in_sample_of_split <= two.in_sample_of_split).all()
        )

    def test_models_that_cost_nothing(self):
        losses, costs = brute_force.pool(4, 20, 0)
        found = frontier.cross_fitted(
            losses, costs * 0, search=frontier.exhaustive, num_splits=2
        )
        np.testing.assert_array_equal(found.budgets, 0)

    @parameterized.parameters(
        ({"num_splits": 0}, "num_splits is 0"),
        ({"budgets": [0.5, 3.0]}, r"budgets\[0\] is 0.5.* cheapest costs 1"),
        ({"clusters": ["a"] * 6}, "1 text or cluster"),
        ({"clusters": ["a"]}, "1 clusters for 6 texts"),
        ({"weights": [1.0]}, "weights has shape"),
    )
    def test_bad_arguments(self, arguments, message):
        losses = np.random.default_rng(0).random((3, 6))
        with self.assertRaisesRegex(ValueError, message):
            frontier.cross_fitted(
                losses, [1, 2, 3], search=frontier.exhaustive, **arguments
            )


if __name__ == "__main__":
    absltest.main()
