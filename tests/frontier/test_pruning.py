"""Pareto pruning against exact enumeration: true points, never below it."""

import functools
import itertools

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from mmc_jax.frontier import lazy_levels, pruning, unions
from tests import tolerances
from tests.frontier import brute_force
from tests.frontier.test_pareto import points_of

NUM_TEXTS = 6

# The function has the module's name in the package.


class PrunedTest(parameterized.TestCase):
    @parameterized.product(
        num_models=[1, 2, 5, 9], seed=[0, 1, 2], whole_numbers=[False, True]
    )
    def test_against_exhaustive(self, num_models, seed, whole_numbers):
        losses, costs = brute_force.pool(
            num_models, NUM_TEXTS, seed, whole_numbers
        )
        found = frontier.pruned(losses, costs)
        exact = frontier.exhaustive(losses, costs)
        with self.subTest("every point is true"):
            for cost, loss, subset in points_of(found):
                np.testing.assert_allclose(
                    (cost, loss),
                    brute_force.point(losses, costs, subset),
                    rtol=tolerances.KERNEL_FLOAT64,
                )
        with self.subTest("never below the exact frontier"):
            place = np.searchsorted(exact.costs, found.costs, side="right") - 1
            self.assertTrue((found.losses >= exact.losses[place]).all())
        with self.subTest("the same floats for the same subsets"):
            points = {mask.tobytes(): i for i, mask in enumerate(exact.masks)}
            shared = [
                (i, points[mask.tobytes()])
                for i, mask in enumerate(found.masks)
                if mask.tobytes() in points
            ]
            self.assertNotEmpty(shared)
            for i, j in shared:
                self.assertEqual(found.losses[i], exact.losses[j])
                self.assertEqual(found.costs[i], exact.costs[j])
        with self.subTest("costs rise and losses fall, strictly"):
            self.assertTrue((np.diff(found.costs) > 0).all())
            self.assertTrue((np.diff(found.losses) < 0).all())
        with self.subTest("no worse than the single models"):
            singles = frontier.single_models(losses, costs)
            place = np.searchsorted(found.costs, singles.costs, "right") - 1
            self.assertTrue((found.losses[place] <= singles.losses).all())

    def test_few_minima_are_a_beam(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, 0)
        # Every subset of 3 that the beam tries is tried without it, too.
        search = functools.partial(frontier.pruned, max_size=3)
        exact = search(losses, costs)
        with (
            absltest.mock.patch.object(pruning, "QUICK_MINIMA", 1),
            absltest.mock.patch.object(pruning, "_LEAST_QUICK_WIDTH", 2),
        ):
            quick = pruning.quick(search)
            found = quick(losses, costs)
        self.assertEqual(quick.keywords, {"max_size": 3, "minima": 1})
        place = np.searchsorted(exact.costs, found.costs, side="right") - 1
        self.assertTrue((found.losses >= exact.losses[place]).all())
        self.assertIs(pruning.quick(frontier.exhaustive), frontier.exhaustive)

    def test_a_search_that_has_taken_all_its_minima_comes_to_its_end(self):
        losses = np.random.default_rng(0).random((9, 200))
        costs = np.arange(1.0, 10.0)
        with (
            absltest.mock.patch.object(pruning, "_NUM_FULL", 0),
            absltest.mock.patch.object(pruning, "_LAST_WIDTH", 1),
        ):
            narrow = frontier.pruned(losses, costs)
        wide = frontier.pruned(losses, costs)
        self.assertLess(len(narrow.costs), len(wide.costs))
        self.assertIn(9, narrow.masks.sum(axis=1))

    @parameterized.product(
        whole_numbers=[False, True],
        options=[
            {},
            {"width": 20},
            {"width": 5, "min_size": 3},
            {"groups": "aabcabcabcabcabcabcabcab", "max_size": 6},
        ],
    )
    def test_many_models_have_the_same_points(self, whole_numbers, options):
        losses, costs = brute_force.pool(24, 40, 1, whole_numbers)
        if not whole_numbers:
            # Beside one such loss others are told apart by a second unit.
            losses[:, 0] += np.arange(24) * 1e6
        expected = frontier.pruned(losses, costs, **options)
        for rows, most in ((1, 0), (2, 2**25)):
            with (
                absltest.mock.patch.object(pruning, "MANY_MODELS", 1),
                absltest.mock.patch.object(lazy_levels, "_BESIDE", rows),
                absltest.mock.patch.object(lazy_levels, "_SEGMENT", 4),
                absltest.mock.patch.object(lazy_levels, "_MOST_GAINS", most),
            ):
                found = frontier.pruned(losses, costs, **options)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)

    def test_many_models_are_joined_to_few_subsets_that_may_take_them(self):
        losses, costs = brute_force.pool(200, 30, 2)
        with (
            absltest.mock.patch.object(
                lazy_levels, "union_sums", wraps=unions.union_sums
            ) as summed,
        ):
            found = frontier.pruned(losses, costs, max_size=4, width=60)
        num_pairs = sum(
            len(call.args[1]) * len(call.args[2])
            for call in summed.call_args_list
        )
        with absltest.mock.patch.object(pruning, "MANY_MODELS", 1000):
            expected = frontier.pruned(losses, costs, max_size=4, width=60)
        self.assertLess(num_pairs, 4 * 60 * 200)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_how_far_levels_are_cut(self):
        quick = pruning.quick(frontier.pruned)
        self.assertEqual(pruning.cut_width(quick, 1018, 10_000), 192)
        self.assertEqual(pruning.cut_width(frontier.pruned, 1018, 10_000), 3375)
        # A narrow table has all: nothing is to be said.
        self.assertIsNone(pruning.cut_width(quick, 1088, 13))
        self.assertIsNone(pruning.cut_width(quick, 71, 10_000))
        self.assertIsNone(pruning.cut_width(frontier.exhaustive, 1018, 10_000))
        search = functools.partial(quick, width=7)
        self.assertEqual(pruning.cut_width(search, 5, 10), 7)

    @parameterized.parameters(1, 2)
    def test_exact_up_to_pairs(self, max_size):
        # More than 64 models: a subset takes two words where it is packed.
        losses, costs = brute_force.pool(67, NUM_TEXTS, 4, whole_numbers=True)
        weights = [1.0, 0.0, 2.0, 1.0, 1.0, 3.0]
        self.assertEqual(
            points_of(frontier.pruned(losses, costs, weights, max_size)),
            brute_force.frontier(losses, costs, weights, max_size),
        )

    def test_tiles_smaller_than_a_level(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, seed=3)
        expected = frontier.pruned(losses, costs)
        with absltest.mock.patch.object(unions, "TILE_ROWS", 4):
            found = frontier.pruned(losses, costs)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    @parameterized.product(
        seed=[0, 1, 2, 3], whole_numbers=[False, True], max_size=[None, 3]
    )
    def test_polish(self, seed, whole_numbers, max_size):
        losses, costs = brute_force.pool(9, 40, seed, whole_numbers)
        found = frontier.pruned(losses, costs, None, max_size, polish=True)
        plain = frontier.pruned(losses, costs, None, max_size)
        with self.subTest("never worse"):
            place = np.searchsorted(found.costs, plain.costs, "right") - 1
            self.assertTrue((found.losses[place] <= plain.losses).all())
        with self.subTest("sizes"):
            self.assertLessEqual(found.masks.sum(axis=1).max(), max_size or 9)
        with self.subTest("no exchange is better"):
            near = list(found.masks)
            for mask in found.masks:
                for i, j in itertools.product(range(9), repeat=2):
                    other = mask.copy()
                    # Where i is j: dropped if it is in, added if not.
                    other[i], other[j] = (
                        (not mask[i],) * 2 if i == j else (mask[j], mask[i])
                    )
                    if 0 < other.sum() <= (max_size or 9):
                        near.append(other)
            best = frontier.of_subsets(losses, costs, np.array(near))
            for a, b in zip(found, best, strict=True):
                np.testing.assert_array_equal(a, b)

    def test_polish_finds_what_pruning_misses(self):
        # Alone the first two are dominated, so that no pair holds both.
        rng = np.random.default_rng(0)
        num_better = 0
        for seed in range(20):
            losses, costs = brute_force.pool(8, 12, seed)
            losses[:2] += rng.choice([0.0, 2.0], (2, 12))
            plain = frontier.pruned(losses, costs)
            polished = frontier.pruned(losses, costs, polish=True)
            place = np.searchsorted(polished.costs, plain.costs, "right") - 1
            num_better += (polished.losses[place] < plain.losses).any()
        self.assertGreater(num_better, 0)

    def test_the_order_of_the_models_changes_nothing(self):
        losses, costs = brute_force.pool(9, 40, seed=3)
        order = np.random.default_rng(0).permutation(9)
        for polish in (False, True):
            found = frontier.pruned(losses, costs, polish=polish)
            other = frontier.pruned(losses[order], costs[order], polish=polish)
            np.testing.assert_array_equal(other.losses, found.losses)
            np.testing.assert_array_equal(other.costs, found.costs)
            np.testing.assert_array_equal(other.masks, found.masks[:, order])

    def test_no_base_is_evaluated_twice(self):
        losses, costs = brute_force.pool(9, 40, seed=3)
        seen = []

        def remember(chunks, masks, others):
            seen.extend(mask.tobytes() for mask in masks)
            return unions.union_sums(chunks, masks, others)

        frontier.pruned(losses, costs)
        with absltest.mock.patch.object(pruning, "union_sums", remember):
            frontier.pruned(losses, costs)
            num_pruned = len(seen)
            self.assertLen(set(seen), num_pruned)
            seen.clear()
            frontier.pruned(losses, costs, polish=True)
        polish = seen[num_pruned:]
        self.assertNotEmpty(polish)
        self.assertLen(set(polish), len(polish))

    def test_a_model_that_wins_every_text_ends_the_search(self):
        losses = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        found = frontier.pruned(losses, [4, 2, 1])
        np.testing.assert_array_equal(found.losses, [3.0, 2.0, 1.0])
        self.assertTrue((found.masks.sum(axis=1) == 1).all())

    def test_bad_max_size(self):
        with self.assertRaisesRegex(ValueError, "max_size is 0"):
            frontier.pruned(np.ones((2, 2)), np.ones(2), max_size=0)


if __name__ == "__main__":
    absltest.main()
