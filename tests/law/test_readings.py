import numpy as np
from absl.testing import absltest

from mmc_jax import law

_P, _L = np.array([1.0, 4, 16, 25]), np.array([6.0, 3.5, 2.25, 2.0])


class LawReadingsTest(absltest.TestCase):
    def test_one_law(self):
        fit = law.fit(_P, _L)
        budgets = np.geomspace(1, 1000, 7)
        losses = np.linspace(6, 0.5, 5)
        found = law.law_readings(law.ResampledFit(fit, None), budgets, losses)
        np.testing.assert_array_equal(found.loss.value, law.loss(fit, budgets))
        np.testing.assert_array_equal(
            found.budget.value, law.budget_for(fit, losses)
        )
        self.assertEqual(found.budget.value[-1], np.inf)
        self.assertFalse(found.loss.has_interval)

    def test_intervals_are_those_of_single_answers(self):
        fit = law.fit(_P, _L)
        resampled = law.fit_batch(_P, _L * np.array([[1.0], [1.1], [0.9]]))
        both = law.ResampledFit(fit, resampled)
        found = law.law_readings(both, [2.0, 9.0], [3.0])
        one = law.estimate_answer(lambda laws: law.loss(laws, 9.0), both)
        self.assertEqual(found.loss.at(1), one)
        self.assertLess(found.budget.low[0], found.budget.high[0])


if __name__ == "__main__":
    absltest.main()
