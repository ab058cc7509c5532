"""The error of a search, against a look at every budget."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from tests import tolerances
from tests.frontier import brute_force


def best(line, budget):
    return min(
        loss
        for cost, loss in zip(line.costs, line.losses, strict=True)
        if cost <= budget
    )


class MissedTest(parameterized.TestCase):
    @parameterized.parameters(0, 1, 2)
    def test_against_all_budgets(self, seed):
        losses, costs = brute_force.pool(7, 20, seed)
        exact = frontier.exhaustive(losses, costs)
        for max_size in (1, 2, 7):
            found = frontier.exhaustive(losses, costs, max_size=max_size)
            error = frontier.search_error(found, exact)
            budgets = np.concatenate([found.costs, exact.costs])
            excess = max(best(found, b) / best(exact, b) - 1 for b in budgets)
            masks = {mask.tobytes() for mask in found.masks}
            np.testing.assert_allclose(
                1 + error.excess, 1 + excess, rtol=tolerances.MEAN_OF_LOSSES
            )
            self.assertEqual(error.num_points, len(exact.costs))
            self.assertEqual(
                error.num_missed,
                sum(mask.tobytes() not in masks for mask in exact.masks),
            )
            np.testing.assert_allclose(
                best(found, error.budget) / best(exact, error.budget),
                1 + error.excess,
                rtol=tolerances.MEAN_OF_LOSSES,
            )
        # The last were all subsets.
        self.assertEqual((error.num_missed, error.excess), (0, 0.0))

    def test_only_proven_points_count(self):
        masks = np.zeros((3, 1), bool)
        exact = frontier.Frontier(
            np.array([1.0, 2.0, 3.0]), np.array([4.0, 2.0, 1.0]), masks
        )
        found = frontier.Frontier(
            np.array([1.0, 2.0]), np.array([4.0, 3.0]), masks[:2]
        )
        self.assertEqual(frontier.search_error(found, exact)[:3], (3, 2, 2.0))
        proven = np.array([True, True, False])
        self.assertEqual(
            frontier.search_error(found, exact, proven), (2, 1, 0.5, 2.0)
        )

    def test_a_cheaper_subset_of_the_same_loss_is_another_point(self):
        masks = np.zeros((1, 1), bool)
        exact = frontier.Frontier(np.array([2.0]), np.array([1.0]), masks)
        found = frontier.Frontier(np.array([1.0]), np.array([1.0]), masks)
        self.assertEqual(frontier.search_error(found, exact)[:3], (1, 1, 0.0))

    @parameterized.parameters(
        ([2.0, 1.0], [True], "proven has shape"),
        ([2.0, 1.0], [False, False], "proven holds no point"),
        ([1.0, 0.0], None, r"exact.losses\[1\] is not above 0"),
        ([2.0, 1.0], None, r"budgets\[0\] is 1"),
    )
    def test_bad_arguments(self, losses, proven, message):
        exact = frontier.Frontier(
            np.array([1.0, 2.0]), np.array(losses), np.zeros((2, 1), bool)
        )
        found = frontier.Frontier(
            np.array([1.5]), np.array([2.0]), np.zeros((1, 1), bool)
        )
        with self.assertRaisesRegex(ValueError, message):
            frontier.search_error(found, exact, proven)


if __name__ == "__main__":
    absltest.main()
