"""Exact enumeration against plain Python over all subsets."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier, oracle
from mmc_jax.frontier import enumeration, unions
from tests import tolerances
from tests.frontier import brute_force
from tests.frontier.test_pareto import points_of

NUM_TEXTS = 6

# The function has the module's name in the package.


class ExhaustiveTest(parameterized.TestCase):
    @parameterized.product(
        num_models=[1, 2, 5, 9], seed=[0, 1, 2], weighted=[False, True]
    )
    def test_whole_numbers_with_ties_and_duplicates(
        self, num_models, seed, weighted
    ):
        losses, costs = brute_force.pool(
            num_models, NUM_TEXTS, seed, whole_numbers=True
        )
        weights = [0.0, 3.0, 1.0, 2.0, 1.0, 4.0] if weighted else None
        self.assertEqual(
            points_of(frontier.exhaustive(losses, costs, weights)),
            brute_force.frontier(losses, costs, weights),
        )

    @parameterized.parameters(5, 9)
    def test_real_numbers(self, num_models):
        losses, costs = brute_force.pool(num_models, NUM_TEXTS, seed=3)
        found = points_of(frontier.exhaustive(losses, costs))
        expected = brute_force.frontier(losses, costs)
        self.assertEqual([p[2] for p in found], [p[2] for p in expected])
        np.testing.assert_allclose(
            [p[:2] for p in found],
            [p[:2] for p in expected],
            rtol=tolerances.KERNEL_FLOAT64,
        )

    @parameterized.product(
        num_models=[1, 4, 7, 11],
        max_size=[1, 2, 3, 4, 6, 20],
        whole_numbers=[False, True],
    )
    def test_up_to_a_size(self, num_models, max_size, whole_numbers):
        losses, costs = brute_force.pool(
            num_models, NUM_TEXTS, 5, whole_numbers
        )
        weights = [0.0, 3.0, 1.0, 2.0, 1.0, 4.0]
        expected = brute_force.frontier(losses, costs, weights, max_size)
        # Tiles of 8, so that some hold nothing to join.
        with absltest.mock.patch.object(unions, "TILE_ROWS", 8):
            found = points_of(
                frontier.exhaustive(losses, costs, weights, max_size)
            )
        self.assertEqual([p[2] for p in found], [p[2] for p in expected])
        np.testing.assert_allclose(
            [p[:2] for p in found],
            [p[:2] for p in expected],
            rtol=tolerances.KERNEL_FLOAT64,
        )

    @parameterized.parameters(
        *((num_models, size) for num_models in (1, 5, 8)
          for size in range(1, num_models + 1))
    )  # fmt: skip
    def test_each_subset_is_evaluated_once(self, num_models, max_size):
        seen = []

        def remember(found, sums, costs, masks, others):
            for row, column in np.argwhere(np.isfinite(sums)):
                seen.append((masks[row] | others[column]).tobytes())
            return unions.frontier_with_unions(
                found, sums, costs, masks, others
            )

        with absltest.mock.patch.object(
            enumeration, "frontier_with_unions", remember
        ):
            frontier.exhaustive(
                np.ones((num_models, 2)), np.ones(num_models), None, max_size
            )
        subsets = brute_force.subsets(num_models, max_size)
        self.assertLen(seen, len(subsets))
        self.assertLen(set(seen), len(subsets))

    def test_costs_that_do_not_add_exactly(self):
        # 0.1 + 0.2 is more than 0.3; any order of addition must say so.
        costs = [0.1, 0.7, 0.2, 0.3, 0.1, 0.6]
        losses, _ = brute_force.pool(6, NUM_TEXTS, 1, whole_numbers=True)
        self.assertEqual(
            points_of(frontier.exhaustive(losses, costs)),
            brute_force.frontier(losses, costs),
        )

    def test_negative_losses_and_several_chunks_of_texts(self):
        losses, costs = brute_force.pool(6, 300, seed=3)
        losses = np.log(losses)
        with absltest.mock.patch.object(unions, "_CHUNK_TEXTS", 64):
            found = points_of(frontier.exhaustive(losses, costs))
        expected = brute_force.frontier(losses, costs)
        self.assertEqual([p[2] for p in found], [p[2] for p in expected])

    def test_what_all_models_lose_on_a_text_changes_nothing(self):
        losses, costs = brute_force.pool(8, 50, seed=3)
        weights = np.random.default_rng(0).random(50)
        hard = np.geomspace(1, 1e9, 50)
        expected = frontier.exhaustive(losses, costs, weights)
        found = frontier.exhaustive(losses + hard, costs, weights)
        np.testing.assert_array_equal(found.masks, expected.masks)

    def test_under_64_bit_mode(self):
        losses, costs = brute_force.pool(6, NUM_TEXTS, seed=3)
        expected = frontier.exhaustive(losses, costs)
        with jax.enable_x64(True):
            found = frontier.exhaustive(losses, costs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_tiles_smaller_than_a_half(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, seed=3)
        expected = frontier.exhaustive(losses, costs)
        with (
            absltest.mock.patch.object(unions, "TILE_ROWS", 4),
            absltest.mock.patch.object(unions, "_POINTS", 8),
            absltest.mock.patch.object(unions, "_SAMPLE", 4),
        ):
            found = frontier.exhaustive(losses, costs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_losses_are_exact(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, seed=3)
        found = frontier.exhaustive(losses, costs)
        np.testing.assert_array_equal(
            found.losses, oracle.exact_losses(losses, found.masks)
        )

    def test_invariants(self):
        losses, costs = brute_force.pool(5, NUM_TEXTS, seed=0)
        found = frontier.exhaustive(losses, costs)
        with self.subTest("least cost first, the loss strictly falling"):
            self.assertTrue((np.diff(found.costs) > 0).all())
            self.assertTrue((np.diff(found.losses) < 0).all())
        with self.subTest("begins with the cheapest model"):
            self.assertEqual(found.costs[0], costs.min())
        with self.subTest("ends with the loss of all models"):
            self.assertAlmostEqual(
                found.losses[-1], losses.min(axis=0).mean(), places=14
            )
        with self.subTest("the order of the models"):
            order = [3, 1, 4, 0, 2]
            other = frontier.exhaustive(losses[order], costs[order])
            np.testing.assert_array_equal(other.losses, found.losses)
            np.testing.assert_array_equal(other.costs, found.costs)
            np.testing.assert_array_equal(other.masks, found.masks[:, order])
        with self.subTest("64-bit mode is as before"):
            self.assertFalse(jax.config.jax_enable_x64)

    def test_too_many_subsets(self):
        for num_models, max_size, message in (
            (25, None, "25 models have 33,554,431 subsets of up to 25;"),
            (71, 6, "71 models have 157,270,254 subsets"),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                frontier.exhaustive(
                    np.ones((num_models, 2)),
                    np.ones(num_models),
                    max_size=max_size,
                )


if __name__ == "__main__":
    absltest.main()
