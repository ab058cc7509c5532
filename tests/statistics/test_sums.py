"""Sums with the same bits everywhere, against exact ones."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import statistics


class SumsTest(parameterized.TestCase):
    @parameterized.parameters((1, 1), (3, 7), (5, 4000))
    def test_equal_exact_sums(self, num_rows, num_texts):
        rng = np.random.default_rng(num_texts)
        rows = rng.lognormal(0, 1, (num_rows, num_texts))
        weights = rng.integers(0, 3, num_texts).astype(float)
        sums = statistics.weighted_sums(rows, weights)
        minima = statistics.pair_minima_sums(rows, weights)
        products = statistics.pair_products(rows, weights)
        for i, row in enumerate(rows):
            self._close(sums[i], row * weights)
            for j, other in enumerate(rows):
                self._close(minima[i, j], np.minimum(row, other) * weights)
                self._close(products[i, j], row * other * weights)

    def _close(self, found, terms):
        exact = math.fsum(terms)
        # Pairwise: the rounding grows with the logarithm of the terms.
        self.assertLessEqual(abs(found - exact), 2**-53 * 20 * abs(terms).sum())

    def test_blocks_change_nothing(self):
        rows = np.random.default_rng(0).lognormal(0, 1, (9, 300))
        weights = np.ones(300)
        functions = (
            statistics.weighted_sums,
            statistics.pair_minima_sums,
            statistics.pair_products,
        )
        whole = [function(rows, weights) for function in functions]
        with absltest.mock.patch(
            "mmc_jax.statistics.sums._NUMBERS_AT_ONCE", 600
        ):
            parts = [function(rows, weights) for function in functions]
        for one, other in zip(whole, parts, strict=True):
            self.assertEqual(one.tobytes(), other.tobytes())

    def test_a_pair_loses_no_more_than_either(self):
        rng = np.random.default_rng(1)
        better = rng.lognormal(0, 1, 1001)
        rows = np.stack([better, better + 1e-16, better * 2])
        sums = statistics.pair_minima_sums(rows, rng.random(1001))
        single = np.diagonal(sums)
        self.assertTrue((sums <= np.minimum(single[:, None], single)).all())
        self.assertEqual(sums[0, 2], single[0])


if __name__ == "__main__":
    absltest.main()
