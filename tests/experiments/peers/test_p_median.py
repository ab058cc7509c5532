"""HiGHS's program of one budget against all subsets."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from experiments.peers import p_median
from mmc_jax.frontier.proof.integers import integer_pool
from mmc_jax.statistics.inputs import checked_inputs


class PeerTest(parameterized.TestCase):
    @parameterized.parameters(*range(6))
    def test_equals_all_subsets(self, seed):
        rng = np.random.default_rng(seed)
        # Few values: ties, and models that are the same.
        losses = rng.integers(0, 5, (6, 8)).astype(float)
        costs = rng.integers(1, 5, 6).astype(float)
        pool = integer_pool(checked_inputs(losses, costs, None))
        masks = np.array(list(itertools.product([False, True], repeat=6)))[1:]
        sums = np.array(
            [pool.values[m].astype(int).min(axis=0).sum() for m in masks]
        )
        spent = masks @ pool.costs
        for budget in range(int(pool.costs.min()), int(pool.costs.sum()) + 1):
            least = sums[spent <= budget].min()
            for known in (None, int(least), int(least) + 3):
                found = p_median.solved(pool, budget, known)
                self.assertTrue(found.is_optimal)
                self.assertEqual(found.loss_sum, least)
                self.assertLessEqual(found.cost, budget)

    def test_a_budget_below_every_model(self):
        pool = integer_pool(
            checked_inputs(np.ones((2, 3)), np.array([2.0, 3.0]), None)
        )
        with self.assertRaisesRegex(ValueError, "budget is 1; the cheapest"):
            p_median.solved(pool, 1)


if __name__ == "__main__":
    absltest.main()
