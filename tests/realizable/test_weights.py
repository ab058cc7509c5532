"""Fitted weights: certified, and the best there are."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import oracle, realizable
from tests import tolerances


def _loss(nll, weights, pi):
    mixture = np.exp(nll.min(axis=0) - nll).T @ pi
    shares = weights / weights.sum()
    return shares @ (nll.min(axis=0) - np.log(mixture))


class FittedWeightsTest(parameterized.TestCase):
    def test_gap_on_random_tables(self):
        rng = np.random.default_rng(0)
        for i in range(200):
            shape = rng.integers(1, 9), rng.integers(1, 30)
            nll = 10.0 ** rng.integers(-3, 4) * rng.lognormal(0, 1, shape)
            if i % 3 == 0:
                nll[-1] = nll[0]
            if i % 7 == 0:
                nll = np.ceil(nll)
            weights = rng.integers(0, 3, shape[1]) + (np.arange(shape[1]) == 0)
            found = realizable.fitted_weights(nll, weights)
            self.assertLess(found.gap, tolerances.DUALITY_GAP)
            self.assertAlmostEqual(found.weights.sum(), 1)
            self.assertGreaterEqual(found.weights.min(), 0)
            # The gap as its formula says, from the weights alone.
            probabilities = np.exp(nll.min(axis=0) - nll)
            ratios = probabilities / (found.weights @ probabilities)
            gap = (ratios @ (weights / weights.sum())).max() - 1
            self.assertLess(gap, tolerances.DUALITY_GAP)
            loss = _loss(nll, weights, found.weights)
            np.testing.assert_allclose(
                found.nll_nats,
                loss,
                rtol=tolerances.MIXTURE_FLOAT64,
                atol=tolerances.MIXTURE_FLOAT64,
            )
            for _ in range(5):
                other = rng.dirichlet(np.ones(shape[0]))
                self.assertLessEqual(
                    loss, _loss(nll, weights, other) + tolerances.DUALITY_GAP
                )

    def test_two_models_by_the_formula(self):
        # A model for each of two kinds of texts: weights are their shares.
        nll = np.array([[0.0, 0, 0, 800], [900, 900, 900, 0]])
        found = realizable.fitted_weights(nll)
        np.testing.assert_allclose(
            found.weights, [0.75, 0.25], atol=tolerances.DUALITY_GAP
        )

    def test_one_model_is_that_model(self):
        nll = np.array([[3.5, 4.25]])
        found = realizable.fitted_weights(nll)
        self.assertEqual(found.nll_nats, 3.875)
        self.assertEqual(found.weights.tolist(), [1])

    def test_no_worse_than_uniform_weights(self):
        nll = np.random.default_rng(1).lognormal(2, 1, (5, 50))
        uniform = oracle.exact_mixture_losses(nll, np.ones((1, 5), bool))
        found = realizable.fitted_weights(nll)
        self.assertLess(found.nll_nats, uniform[0])
        self.assertGreater(found.num_steps, 0)

    @parameterized.parameters(([1e308, 1e308],), ([5e-324, 5e-324],))
    def test_weights_at_the_ends_of_floats(self, weights):
        found = realizable.fitted_weights([[0.0, 9.0], [9.0, 0.0]], weights)
        np.testing.assert_allclose(found.weights, [0.5, 0.5])

    def test_a_weight_that_is_nothing_beside_another(self):
        found = realizable.fitted_weights(
            [[0.0, 1e6], [1e6, 0.0]], [1e300, 1e-300]
        )
        self.assertLess(found.gap, tolerances.DUALITY_GAP)
        self.assertGreater(found.weights[0], 0.999)

    def test_bad_input(self):
        with self.assertRaisesRegex(ValueError, "finite losses are needed"):
            realizable.fitted_weights([[1.0, np.inf]])


if __name__ == "__main__":
    absltest.main()
