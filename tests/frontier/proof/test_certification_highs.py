"""The certified frontier against HiGHS, one budget at a time."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments.peers import p_median
from mmc_jax import frontier, synthetic
from mmc_jax.frontier.proof.integers import integer_pool
from mmc_jax.statistics.inputs import checked_inputs


class CertifiedTest(parameterized.TestCase):
    @parameterized.parameters(0.03, 0.10)
    def test_sampled_budgets(self, noise):
        drawn = synthetic.pool(71, 100, noise)
        certificate = frontier.certified(drawn.losses, drawn.costs).certificate
        np.testing.assert_array_equal(certificate.bounds, certificate.loss_sums)
        pool = integer_pool(checked_inputs(drawn.losses, drawn.costs, None))
        # Log-uniform, between the least and the largest cost of the frontier.
        rng = np.random.default_rng(0)
        low, high = np.log(certificate.costs[[0, -1]])
        for budget in np.exp(rng.uniform(low, high, 3)).astype(np.int64):
            with self.subTest(budget=int(budget)):
                k = np.searchsorted(certificate.costs, budget, side="right") - 1
                known = int(certificate.loss_sums[k])
                # Were the sum known too small, no subset would be left.
                found = p_median.solved(pool, int(budget), known)
                self.assertTrue(found.is_optimal)
                self.assertEqual(found.loss_sum, known)
                self.assertLessEqual(found.cost, budget)


if __name__ == "__main__":
    absltest.main()
