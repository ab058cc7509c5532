"""Intervals of resampled numbers, and how they are written."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import statistics


class TextTest(parameterized.TestCase):
    @parameterized.parameters(
        ((0.0261, 0.0209, 0.0314), "0.0261 [0.0209, 0.0314]"),
        ((0.5,), "0.5"),
        ((0.5, math.nan, 1.0), "0.5"),
        ((math.nan, 0.1, 0.2), "not defined"),
        ((1.5, 1.0, math.inf), "1.5 [1, inf]"),
    )
    def test_text(self, fields, text):
        self.assertEqual(str(statistics.Estimate(*fields)), text)

    def test_one_of_an_array(self):
        found = statistics.Estimate(np.arange(3), np.arange(3) - 1, np.ones(3))
        self.assertEqual(found.at(2), (2.0, 1.0, 1.0, 0.95))
        self.assertTrue(found.has_interval)


class IntervalTest(parameterized.TestCase):
    @parameterized.parameters(0.5, 0.9, 0.95)
    def test_ends_are_quantiles(self, level):
        values = np.random.default_rng(0).normal(size=(101, 2, 3))
        found = statistics.estimate(np.zeros((2, 3)), values, level)
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], 0)
        np.testing.assert_array_equal(found.low, low)
        np.testing.assert_array_equal(found.high, high)
        self.assertEqual(
            statistics.estimate(0.0, values[:, 1, 2], level), found.at((1, 2))
        )

    def test_infinity_is_a_value(self):
        self.assertEqual(
            statistics.percentile_interval([1.0, 2.0, math.inf], 0.9),
            (1.0, math.inf),
        )

    def test_errors(self):
        for values, level, message in (
            ([], 0.95, "no values"),
            ([1.0, math.nan], 0.95, r"values\[1\] is NaN"),
            ([1.0], 1.0, "level is 1.0"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                statistics.percentile_interval(values, level)


if __name__ == "__main__":
    absltest.main()
