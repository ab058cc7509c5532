"""Subsets on other texts against all pairs of points."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from tests import tolerances
from tests.frontier import brute_force


def subsets_of(masks):
    return [tuple(np.flatnonzero(mask)) for mask in masks]


def dominates(a, b):
    return a != b and a[0] <= b[0] and a[1] <= b[1]


class HeldOutTest(parameterized.TestCase):
    @parameterized.product(seed=[0, 1, 2], whole_numbers=[False, True])
    def test_against_all_pairs(self, seed, whole_numbers):
        losses, costs = brute_force.pool(6, 12, seed, whole_numbers)
        line = frontier.exhaustive(losses[:, :6], costs)
        rivals = np.random.default_rng(seed).random((9, 6)) < 0.5
        rivals[:, 0] |= ~rivals.any(axis=1)
        weights = np.arange(6.0)
        for others in (None, rivals):
            found = frontier.held_out(
                line.masks, losses[:, 6:], costs, weights, others
            )
            points = [
                brute_force.point(losses[:, 6:], costs, subset, weights)
                for subset in subsets_of(line.masks)
            ]
            np.testing.assert_allclose(
                np.stack([found.costs, found.losses], axis=1),
                points,
                rtol=tolerances.KERNEL_FLOAT64,
            )
            if whole_numbers:  # Exact: ties are ties.
                all_points = points + [
                    brute_force.point(losses[:, 6:], costs, subset, weights)
                    for subset in subsets_of([] if others is None else others)
                ]
                stays = [
                    not any(dominates(other, point) for other in all_points)
                    for point in points
                ]
                np.testing.assert_array_equal(found.stays, stays)
            self.assertEqual(found.share, found.stays.mean())

    def test_on_the_texts_that_chose_all_stay(self):
        losses, costs = brute_force.pool(7, 20, 0)
        line = frontier.exhaustive(losses, costs)
        found = frontier.held_out(line.masks, losses, costs)
        np.testing.assert_array_equal(found.losses, line.losses)
        self.assertEqual(found.share, 1.0)

    def test_equal_subsets_both_stay_and_a_rival_removes(self):
        losses = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 1.0]])
        masks = np.array([[True, False, False], [False, True, False]])
        self.assertEqual(frontier.held_out(masks, losses, [2, 2, 2]).share, 1)
        rival = [[False, False, True]]
        found = frontier.held_out(masks, losses, [2, 2, 2], rivals=rival)
        self.assertEqual(found.share, 0)

    @parameterized.parameters(
        ((0, 2), None, "masks has no subsets"),
        ((1, 3), None, "masks has shape"),
        ((1, 2), (1, 3), "rivals has shape"),
    )
    def test_bad_arguments(self, shape, shape_of_rivals, message):
        rivals = shape_of_rivals and np.ones(shape_of_rivals, bool)
        with self.assertRaisesRegex(ValueError, message):
            frontier.held_out(
                np.ones(shape, bool), np.ones((2, 2)), [1, 1], rivals=rivals
            )


if __name__ == "__main__":
    absltest.main()
