"""Bounds of knapsacks against every set of models, in Python's integers."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.frontier.proof import knapsack


def best(profits, costs, budget, forced=None, present=True):
    """Returns the most that a set within the budget gains; -1 for no set."""
    sets = itertools.product([0, 1], repeat=len(profits))
    return max(
        (
            sum(p * t for p, t in zip(profits, taken, strict=True))
            for taken in sets
            if sum(c * t for c, t in zip(costs, taken, strict=True)) <= budget
            and (forced is None or taken[forced] == present)
        ),
        default=-1,
    )


def case(seed):
    rng = np.random.default_rng(seed)
    size = 10 ** int(rng.integers(1, 12))
    costs = rng.integers(0, size, 7)
    profits = rng.integers(0, 2**45, (3, 7)) * rng.integers(0, 2, (3, 7))
    fits = rng.random((3, 7)) < 0.8
    budgets = rng.integers(0, 4 * size, (3, 5))
    return profits, costs, fits, budgets


class KnapsackTest(parameterized.TestCase):
    @parameterized.parameters(range(20))
    def test_fractional_is_above_and_not_by_more_than_a_part(self, seed):
        profits, costs, fits, budgets = case(seed)
        bound, price = knapsack.fractional(profits, costs, fits, budgets)
        for n, b in np.ndindex(budgets.shape):
            p, c = profits[n][fits[n]].tolist(), costs[fits[n]].tolist()
            most = best(p, c, int(budgets[n, b]))
            self.assertGreaterEqual(bound[n, b], most)
            self.assertLessEqual(bound[n, b], most + max(p, default=0) + 10)
            paid = sum(
                max(x - price[n, b] * y, 0) for x, y in zip(p, c, strict=True)
            )
            # The bound is the Lagrangian at the price.
            self.assertAlmostEqual(
                bound[n, b] / 2**45,
                (price[n, b] * budgets[n, b] + paid) / 2**45,
                places=9,
            )

    @parameterized.parameters(range(20))
    def test_whole_is_above_and_exact_for_small_costs(self, seed):
        profits, costs, _, budgets = case(seed)
        bound = knapsack.zero_one(profits[0], costs, budgets[0])
        for b, budget in enumerate(budgets[0].tolist()):
            most = best(profits[0].tolist(), costs.tolist(), budget)
            self.assertGreaterEqual(bound[b], most)
            if budgets.max() < 4096:
                self.assertEqual(bound[b], most)

    @parameterized.parameters(range(20))
    def test_what_is_decided_is_right(self, seed):
        profits, costs, fits, budgets = case(seed)
        bound, price = knapsack.fractional(profits, costs, fits, budgets)
        is_open = np.ones(budgets.shape, bool)
        gaps = bound // 4
        out, need = knapsack.decided(
            np.where(fits, profits, 0), costs, price, gaps, is_open
        )
        num_decided = 0
        for n, b in np.ndindex(budgets.shape):
            inside = np.flatnonzero(fits[n])
            p, c = profits[n][inside].tolist(), costs[inside].tolist()
            for place, model in enumerate(inside):
                for flag, present in ((out, True), (need, False)):
                    if flag[n, model]:
                        num_decided += 1
                        most = best(p, c, int(budgets[n, b]), place, present)
                        self.assertLessEqual(most, bound[n, b] - gaps[n, b])
        if seed == 0:
            self.assertGreater(num_decided, 0)

    def test_nothing_to_gain(self):
        none = np.zeros((1, 3), np.int64)
        bound, price = knapsack.fractional(
            none, np.array([1, 2, 3]), none == 0, np.array([[0, 2, 9]])
        )
        np.testing.assert_array_equal(bound, [[0, 0, 0]])
        np.testing.assert_array_equal(price, [[0, 0, 0]])


if __name__ == "__main__":
    absltest.main()
