"""Tables in whole numbers: their errors in exact arithmetic, on all scales."""

import fractions

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import oracle


def random_losses():
    rng = np.random.default_rng(0)
    # Texts of very different levels, of which only the spread is coded.
    losses = rng.lognormal(size=(6, 40)) + 50 * rng.random(40)
    losses[:, 5] = 3.25
    losses[2, 3] = np.inf
    return losses


# Name: losses that leave little room for rounding.
EXTREMES = {
    "one loss for all": [[3.7, 3.7], [3.7, 3.7]],
    "zeros": [[0.0, 0.0]],
    "a high level, close together": [[1e9, 1e9 + 1e-3], [1e9 + 1e-6, 1e9]],
    "one cell 1e12 times the others": [[1e12, 1.0], [1.25, 3.0]],
    "the largest numbers": [[1.7e308, 1e308], [0.0, 1.0]],
    "all 1e308": [[1e308, 1e308], [1e308, 1e308]],
    "below the least normal number": [[5e-324, 3e-310], [1e-312, 0.0]],
    "negative": [[-1e3, -2.5], [-1e-3, -7.25]],
}


def assert_nearest(test, losses, table):
    """Asserts that no code is off by more than half a unit, exactly."""
    half = fractions.Fraction(table.scale) / 2
    for i, x in np.ndindex(losses.shape):
        if np.isinf(losses[i, x]):
            test.assertEqual(table.values[i, x], 2**32 - 1)
            continue
        test.assertLess(table.values[i, x], 2**32 - 1)
        code = int(table.offsets[x]) + int(table.values[i, x])
        error = fractions.Fraction(float(losses[i, x])) - 2 * half * code
        test.assertLessEqual(abs(error), half)


class QuantisedTest(parameterized.TestCase):
    @parameterized.parameters("float32", "float64")
    def test_error_is_within_its_bound(self, dtype):
        losses = random_losses().astype(dtype)
        table = oracle.quantised(losses)
        self.assertEqual(table.values.dtype, np.uint32)
        assert_nearest(self, losses, table)
        with self.subTest("the scale is as fine as 32 bits allow"):
            finite = np.where(np.isinf(losses), -np.inf, losses)
            spread = (finite.max(axis=0) - losses.min(axis=0)).max()
            self.assertLessEqual(table.scale, spread / 2**31)

    @parameterized.named_parameters((k, v) for k, v in EXTREMES.items())
    def test_extremes(self, losses):
        losses = np.array(losses)
        table = oracle.quantised(losses)
        assert_nearest(self, losses, table)
        self.assertGreater(table.scale, 0)

    def test_whole_losses_are_exact(self):
        losses = np.random.default_rng(0).integers(-(2**20), 2**20, (5, 60))
        table = oracle.quantised(losses.astype(np.float64))
        got = table.scale * (table.offsets + table.values)
        np.testing.assert_array_equal(got, losses)

    def test_no_texts(self):
        table = oracle.quantised(np.ones((2, 0)))
        self.assertEqual(table.values.shape, (2, 0))

    def test_bad_input(self):
        losses = random_losses()
        nan, low, nowhere = losses.copy(), losses.copy(), losses.copy()
        nan[4, 3], low[0, 9], nowhere[:, 6] = np.nan, -np.inf, np.inf
        for message, bad in (
            (r"losses has shape \(40,\)", losses[0]),
            (r"losses has shape \(0, 40\)", losses[:0]),
            ("losses has dtype int64", np.ones((2, 2), np.int64)),
            (r"losses\[4, 3\] \(model 4, text 3\) is nan", nan),
            (r"losses\[0, 9\] \(model 0, text 9\) is -inf", low),
            (r"losses\[:, 6\] are all infinite", nowhere),
            ("differ by more than 1.8e.308", np.array([[1e308], [-1e308]])),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                oracle.quantised(bad)


if __name__ == "__main__":
    absltest.main()
