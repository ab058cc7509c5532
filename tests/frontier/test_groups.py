"""Searches among subsets that mix groups of models, or have a size."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from mmc_jax.frontier import unions
from tests.frontier import brute_force
from tests.frontier.test_pareto import points_of

GROUPS = ("a", "b", "a", "c", "b", "a", "c", "a")


def _counts(groups, min_size):
    def counts(subset):
        num_groups = len({groups[i] for i in subset})
        return len(subset) >= min_size and num_groups >= 2

    return counts


class MixturesTest(parameterized.TestCase):
    @parameterized.product(
        num_models=[2, 5, 8], min_size=[1, 2, 3], max_size=[2, 3, 8]
    )
    def test_exhaustive(self, num_models, min_size, max_size):
        if min_size > min(max_size, num_models):
            self.skipTest("no such subsets")
        losses, costs = brute_force.pool(num_models, 6, 7, whole_numbers=True)
        groups = GROUPS[:num_models]
        # Tiles of 8, so that there are several.
        with mock.patch.object(unions, "TILE_ROWS", 8):
            found = frontier.exhaustive(
                losses,
                costs,
                max_size=max_size,
                min_size=min_size,
                groups=groups,
            )
        expected = brute_force.frontier(
            losses, costs, None, max_size, _counts(groups, min_size)
        )
        self.assertEqual(points_of(found), expected)

    @parameterized.product(
        min_size=[1, 2, 3], groups=[None, GROUPS], polish=[False, True]
    )
    def test_pruned(self, min_size, groups, polish):
        losses, costs = brute_force.pool(8, 30, 8)
        options = {"min_size": min_size, "groups": groups}
        found = frontier.pruned(losses, costs, polish=polish, **options)
        exact = frontier.exhaustive(losses, costs, **options)
        self.assertNotEmpty(found.costs)
        for mask in found.masks:
            self.assertGreaterEqual(mask.sum(), min_size)
            if groups is not None:
                chosen = {GROUPS[i] for i in np.flatnonzero(mask)}
                self.assertGreater(len(chosen), 1)
        with self.subTest("never below the exact frontier"):
            place = np.searchsorted(exact.costs, found.costs, side="right") - 1
            self.assertTrue((found.losses >= exact.losses[place]).all())
        with self.subTest("pairs are exact"):
            if min_size < 3:
                pairs = frontier.exhaustive(
                    losses, costs, max_size=2, **options
                )
                found = frontier.pruned(losses, costs, max_size=2, **options)
                np.testing.assert_array_equal(found.masks, pairs.masks)

    def test_one_group_alone_mixes_nothing(self):
        losses, costs = brute_force.pool(3, 5, 9)
        for search in (frontier.exhaustive, frontier.pruned):
            found = search(losses, costs, groups=["a"] * 3)
            self.assertEqual(found.masks.shape, (0, 3))

    def test_bad_arguments(self):
        losses, costs = brute_force.pool(3, 5, 9)
        for search in (frontier.exhaustive, frontier.pruned):
            with self.assertRaisesRegex(ValueError, "2 groups for 3 models"):
                search(losses, costs, groups=["a", "b"])
            for min_size in (0, 4):
                message = f"min_size is {min_size}; 1 to 3 is needed"
                with self.assertRaisesRegex(ValueError, message):
                    search(losses, costs, min_size=min_size)


if __name__ == "__main__":
    absltest.main()
