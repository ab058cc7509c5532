"""Quantised tables: their errors in exact arithmetic, and the bounds."""

import fractions

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from mmc_jax import oracle
from tests.oracle import brute_force

pytestmark = pytest.mark.full_optimisation


def random_losses():
    rng = np.random.default_rng(0)
    # Texts of very different levels, of which only the spread is coded.
    losses = rng.lognormal(size=(6, 40)) + 50 * rng.random(40)
    losses[:, 5] = 3.25
    losses[2, 3] = np.inf
    return losses


def decoded(table, i, x):
    """Returns scale (o_x + q_ix), exactly."""
    code = int(table.offsets[x]) + int(table.values[i, x])
    return fractions.Fraction(table.scale) * code


class QuantisedTest(parameterized.TestCase):
    @parameterized.product(
        dtype=["uint8", "uint16", "uint32"],
        rounding=["nearest", "down"],
        losses_dtype=["float32", "float64"],
    )
    def test_error_is_within_its_bound(self, dtype, rounding, losses_dtype):
        losses = random_losses().astype(losses_dtype)
        table = oracle.quantised(losses, dtype, rounding)
        self.assertEqual(table.values.dtype, dtype)
        top = np.iinfo(dtype).max
        np.testing.assert_array_equal(table.values == top, np.isinf(losses))
        errors = [
            fractions.Fraction(float(losses[i, x])) - decoded(table, i, x)
            for i, x in np.ndindex(losses.shape)
            if np.isfinite(losses[i, x])
        ]
        half = fractions.Fraction(table.scale) / 2
        if rounding == "down":
            self.assertGreaterEqual(min(errors), 0)
            self.assertLess(max(errors), 2 * half)
            self.assertEqual(table.error_below, 0)
            self.assertEqual(table.error_above, table.scale)
        else:
            self.assertLessEqual(max(map(abs, errors)), half)
            self.assertEqual(table.error_below, table.error_above)
            self.assertEqual(table.error_above, table.scale / 2)
        with self.subTest("the scale is as fine as the codes allow"):
            finite = np.where(np.isinf(losses), -np.inf, losses)
            spread = (finite.max(axis=0) - losses.min(axis=0)).max()
            self.assertLessEqual(table.scale, spread / (top - 3) * 17 / 16)

    def test_one_loss_for_all(self):
        for level in (0.0, 3.7, -2e-5, 1e30):
            losses = np.full((2, 3), level)
            table = oracle.quantised(losses, "uint32", "down")
            error = fractions.Fraction(level) - decoded(table, 0, 0)
            self.assertBetween(error, 0, table.scale)
            np.testing.assert_array_equal(table.values, 0)

    def test_cut_losses(self):
        losses = random_losses()
        losses[0, :4] += 1e6
        losses[:, 7] += 1e6  # All of a text's: its least is kept.
        plain = oracle.quantised(losses, "uint8", "down")
        table = oracle.quantised(losses, "uint8", "down", largest=60.0)
        self.assertLess(table.scale, plain.scale / 1e3)
        self.assertEqual(table.error_above, np.inf)
        for i, x in np.ndindex(losses.shape):
            if np.isfinite(losses[i, x]):
                self.assertLessEqual(
                    decoded(table, i, x), fractions.Fraction(losses[i, x])
                )
        least = losses.min(axis=0)
        got = table.scale * (table.offsets + table.values.min(axis=0))
        np.testing.assert_allclose(got, least, rtol=0, atol=table.scale)

    def test_no_texts(self):
        table = oracle.quantised(np.ones((2, 0)))
        self.assertEqual(table.values.shape, (2, 0))

    def test_bad_input(self):
        losses = random_losses()
        nan, low, nowhere = losses.copy(), losses.copy(), losses.copy()
        nan[4, 3], low[0, 9], nowhere[:, 6] = np.nan, -np.inf, np.inf
        for message, arguments in (
            ("dtype is int16; one of uint8, uint16, uint32", (losses, "int16")),
            ("rounding is 'up'", (losses, "uint8", "up")),
            (r"losses has shape \(40,\)", (losses[0],)),
            (r"losses has shape \(0, 40\)", (losses[:0],)),
            ("losses has dtype int64", (np.ones((2, 2), np.int64),)),
            (r"losses\[4, 3\] \(model 4, text 3\) is nan", (nan,)),
            (r"losses\[0, 9\] \(model 0, text 9\) is -inf", (low,)),
            (r"losses\[:, 6\] are all infinite", (nowhere,)),
            (
                "cannot be told apart in uint32",
                (np.array([[1e9], [1e9 + 1e-3]]), "uint32"),
            ),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                oracle.quantised(*arguments)
        with self.assertRaisesRegex(ValueError, "largest is inf"):
            oracle.quantised(losses, largest=np.inf)


class LossBoundsTest(parameterized.TestCase):
    @parameterized.product(
        dtype=["uint8", "uint16", "uint32"],
        rounding=["nearest", "down"],
        weighted=[False, True],
    )
    def test_hold_for_oracle_losses(self, dtype, rounding, weighted):
        losses = random_losses()
        _, _, masks, weights = brute_force.random_case(20, 6, 40)
        masks[0] = [0, 0, 1, 0, 0, 0]  # Infinite on a text.
        weights = weights if weighted else None
        table = oracle.quantised(losses, dtype, rounding)
        with jax.enable_x64(True):
            sums = np.asarray(oracle.oracle_sums(table.values, masks, weights))
        bounds = oracle.loss_bounds(table, sums, weights)
        total = 40 if weights is None else int(weights.sum())
        exact = brute_force.oracle_sums(losses, masks, weights) / total
        finite = np.isfinite(exact)
        self.assertTrue((bounds.lower <= exact).all())
        self.assertTrue((exact <= bounds.upper)[finite].all())
        with self.subTest("no wider than the errors"):
            self.assertLess(
                (bounds.upper - bounds.lower).max(), table.scale * (1 + 1e-4)
            )
        with self.subTest("the better sum is the better bound"):
            order = np.argsort(sums)
            self.assertTrue((np.diff(bounds.lower[order]) >= 0).all())

    def test_allow_for_the_rounding_of_the_mean(self):
        # Exactly at the bound: two losses, both whole multiples of the scale.
        losses = np.array([[1e6, 3.0], [1e6 + 1, 3.0]])
        table = oracle.quantised(losses, "uint16", "down")
        bounds = oracle.loss_bounds(table, np.array([0]))
        exact = (fractions.Fraction(10**6) + 3) / 2
        self.assertLessEqual(fractions.Fraction(bounds.lower[0]), exact)
        self.assertGreaterEqual(fractions.Fraction(bounds.upper[0]), exact)

    def test_bad_input(self):
        table = oracle.quantised(random_losses())
        sums = np.array([3])
        for message, arguments in (
            ("sums has dtype float64", (table, sums / 2)),
            (r"weights has shape \(3,\); \(40,\)", (table, sums, [1, 2, 3])),
            ("whole counts", (table, sums, np.ones(40))),
            ("not negative", (table, sums, np.full(40, -1))),
            ("sum to 0", (table, sums, np.zeros(40, int))),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                oracle.loss_bounds(*arguments)


if __name__ == "__main__":
    absltest.main()
