"""The filter against comparing all with all, and its rules for ties."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from mmc_jax.frontier import pareto
from mmc_jax.frontier.pareto import subset_costs
from tests import tolerances
from tests.frontier import brute_force


def points_of(found):
    """Returns [(cost, loss, subset)] of a Frontier."""
    return [
        (cost, loss, tuple(np.flatnonzero(mask)))
        for cost, loss, mask in zip(*found, strict=True)
    ]


class UndominatedTest(absltest.TestCase):
    def test_ties_stay_and_infinite_losses_go(self):
        costs = np.array([2.0, 1.0, 1.0, 2.0, 2.0, np.inf, np.inf, 0.0])
        losses = np.array([3.0, 5.0, 5.0, 3.0, 4.0, 1.0, 1.0, np.inf])
        found = pareto.undominated(costs, losses)
        self.assertEqual(found.tolist(), [1, 2, 0, 3, 5, 6])

    def test_nothing(self):
        self.assertEmpty(pareto.undominated(np.empty(0), np.empty(0)))


class NonDominatedTest(parameterized.TestCase):
    @parameterized.parameters(*range(10))
    def test_equals_comparing_all_with_all(self, seed):
        rng = np.random.default_rng(seed)
        num_points = [0, 1, 2, 30, 30, 30, 30, 30, 200, 200][seed]
        costs = rng.integers(0, 8, num_points)
        losses = rng.integers(0, 8, num_points)
        masks = rng.random((num_points, 6)) < 0.5
        expected = []
        for i in range(num_points):
            dominated = (
                (costs <= costs[i])
                & (losses <= losses[i])
                & ((costs < costs[i]) | (losses < losses[i]))
            ).any()
            if not dominated:
                models = tuple(np.flatnonzero(masks[i]))
                expected.append((costs[i], losses[i], len(models), models))
        expected = [
            (cost, loss, min(ties)[-1])
            for (cost, loss), ties in itertools.groupby(
                sorted(expected), key=lambda point: point[:2]
            )
        ]
        found = frontier.non_dominated(costs, losses, masks)
        with self.subTest("the points"):
            self.assertEqual(points_of(found), expected)
        with self.subTest("costs rise and losses fall, strictly"):
            self.assertTrue((np.diff(found.costs) > 0).all())
            self.assertTrue((np.diff(found.losses) < 0).all())
        with self.subTest("invariant to order"):
            order = rng.permutation(num_points)
            self.assertEqual(
                points_of(
                    frontier.non_dominated(
                        costs[order], losses[order], masks[order]
                    )
                ),
                expected,
            )
        with self.subTest("types"):
            self.assertEqual(
                [a.dtype for a in found], [np.float64, np.float64, bool]
            )

    def test_ties(self):
        for name, costs, losses, masks, expected in (
            ("equal loss at a higher cost", [2, 1], [5, 5], ["10", "01"], [1]),
            ("equal cost, the lower loss", [1, 1], [5, 4], ["10", "01"], [1]),
            ("both equal, fewest models", [1, 1], [5, 5], ["110", "001"], [1]),
            ("then the earliest", [1] * 3, [5] * 3, ["011", "110", "101"], [1]),
            ("infinite loss", [1, 2], [np.inf, 1], ["10", "01"], [1]),
            ("infinite loss alone", [1], [np.inf], ["10"], []),
        ):
            with self.subTest(name):
                masks = np.array([[c == "1" for c in mask] for mask in masks])
                found = frontier.non_dominated(costs, losses, masks)
                np.testing.assert_array_equal(found.masks, masks[expected])

    def test_bad_input(self):
        masks = np.ones((2, 3), bool)
        for message, arguments in (
            (r"losses\[1\] is NaN", ([1, 2], [1, np.nan], masks)),
            (r"costs\[0\] is NaN", ([np.nan, 2], [1, 2], masks)),
            (r"\(2,\), losses \(3,\)", ([1, 2], [1, 2, 3], masks)),
            (r"masks \(2, 3\)", ([1], [1], masks)),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                frontier.non_dominated(*arguments)


class CostsTest(absltest.TestCase):
    def test_whole_numbers_add_exactly(self):
        costs = np.array([2**53 - 8, 1, 2, 1, 4])
        masks = np.array([[True] * 5, [True, True, False, True, False]])
        np.testing.assert_array_equal(
            subset_costs(masks, costs.astype(float)), [2**53, 2**53 - 6]
        )

    def test_the_same_costs_have_the_same_sum(self):
        costs = np.array([0.1, 0.7, 0.3, 0.1])
        masks = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
        first, second = subset_costs(masks, costs)
        self.assertEqual(first, second)


class SingleModelsTest(absltest.TestCase):
    def test_equals_brute_force(self):
        losses, costs = brute_force.pool(8, 5, seed=1)
        found = points_of(frontier.single_models(losses, costs))
        expected = brute_force.frontier(losses, costs, max_size=1)
        self.assertEqual([p[2] for p in found], [p[2] for p in expected])
        np.testing.assert_allclose(
            [p[:2] for p in found],
            [p[:2] for p in expected],
            rtol=tolerances.KERNEL_FLOAT64,
        )


class OfSubsetsTest(absltest.TestCase):
    def test_the_same_subsets_on_other_texts(self):
        losses, costs = brute_force.pool(8, 5, seed=1)
        others, _ = brute_force.pool(8, 5, seed=2)
        chosen = frontier.pruned(losses, costs)
        found = points_of(frontier.of_subsets(others, costs, chosen.masks))
        subsets = {tuple(np.flatnonzero(mask)) for mask in chosen.masks}
        for cost, loss, subset in found:
            self.assertIn(subset, subsets)
            np.testing.assert_allclose(
                (cost, loss),
                brute_force.point(others, costs, subset),
                rtol=tolerances.KERNEL_FLOAT64,
            )

    def test_no_subsets(self):
        found = frontier.of_subsets(
            np.ones((3, 2)), np.ones(3), np.empty((0, 3), bool)
        )
        self.assertEqual(found.masks.shape, (0, 3))

    def test_bad_masks(self):
        with self.assertRaisesRegex(ValueError, "masks has dtype int"):
            frontier.of_subsets(
                np.ones((3, 2)), np.ones(3), np.eye(3, dtype=int)
            )
        with self.assertRaisesRegex(ValueError, "masks has shape"):
            frontier.of_subsets(np.ones((3, 2)), np.ones(3), np.eye(2) > 0)


class InputsTest(absltest.TestCase):
    def test_bad_input_of_every_search(self):
        losses, costs = np.ones((3, 4)), np.ones(3)
        nan, infinite = losses.copy(), losses.copy()
        nan[1, 2], infinite[2, 3] = np.nan, np.inf
        for message, arguments in (
            (r"losses has shape \(0, 4\)", (losses[:0], costs[:0])),
            (r"losses has shape \(3, 0\)", (losses[:, :0], costs)),
            (r"losses has shape \(4,\)", (losses[0], costs)),
            (r"losses\[1, 2\] \(model 1, text 2\) is nan", (nan, costs)),
            (r"losses\[2, 3\] .* is inf", (infinite, costs)),
            (r"costs has shape \(2,\); \[3\]", (losses, costs[:2])),
            (r"costs has shape \(0,\)", (losses, [])),
            (r"costs\[1\] is -1", (losses, [1, -1, 1])),
            (r"costs\[2\] is nan", (losses, [1, 1, np.nan])),
            (r"costs\[0\] is inf", (losses, [np.inf, 1, 1])),
            (r"weights has shape \(3,\); \[4\]", (losses, costs, [1, 1, 1])),
            (r"weights\[3\] is -2", (losses, costs, [1, 1, 1, -2])),
            (r"weights\[0\] is nan", (losses, costs, [np.nan, 1, 1, 1])),
            ("all 0", (losses, costs, np.zeros(4))),
        ):
            for search in (
                frontier.single_models,
                frontier.pruned,
                frontier.exhaustive,
            ):
                with (
                    self.subTest(message, search=search.__name__),
                    self.assertRaisesRegex(ValueError, message),
                ):
                    search(*arguments)


if __name__ == "__main__":
    absltest.main()
