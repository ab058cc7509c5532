"""Profile likelihoods against SciPy, their coverage, and what they say."""

import numpy as np
import scipy.optimize
import scipy.stats
from absl.testing import absltest, parameterized

from mmc_jax import law
from mmc_jax.law import profiles
from tests import tolerances

NAMES = ("A", "alpha", "L_inf")


def points(num_points, noise, seed=0):
    P, L = law.planted_points(1, num_points, noise, seed)
    return P, L[0]


def squares(P, L, fixed=None):
    """Returns the least sum of squares, one parameter fixed or none."""
    p = P / np.exp(np.log(P).mean())
    free = [j for j in range(3) if fixed is None or NAMES[j] != fixed[0]]

    def residuals(logs):
        parameters = np.zeros(3)
        parameters[free] = np.exp(logs)
        if fixed is not None:
            parameters[NAMES.index(fixed[0])] = fixed[1]
        return np.log(law.power_law(p, *parameters) / L)

    fits = [
        scipy.optimize.least_squares(
            residuals,
            np.log(np.array([0.3, alpha, 0.7 * L.min()])[free]),
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
        )
        for alpha in (0.2, 0.5)
    ]
    return min(2 * fit.cost for fit in fits)


class ProfileTest(parameterized.TestCase):
    @parameterized.product(parameter=("alpha", "L_inf"), num_points=(6, 12))
    def test_ends_are_where_scipy_finds_them(self, parameter, num_points):
        P, L = points(num_points, 0.003)
        found = law.profile(P, L, parameter=parameter)
        self.assertTrue(found.identified)
        least = squares(P, L)
        quantile = scipy.stats.f.ppf(0.95, 1, num_points - 3)

        def above(value):
            deviance = squares(P, L, (parameter, value)) / least - 1
            return (num_points - 3) * deviance - quantile

        for end, outside in (
            (found.low, 0.5 * found.low),
            (found.high, 1.5 * found.high),
        ):
            root = scipy.optimize.brentq(
                above, *sorted([found.estimate, outside])
            )
            np.testing.assert_allclose(end, root, rtol=tolerances.LAW_PROFILE)

    def test_without_noise(self):
        found = law.profile(*points(5, 0.0))
        self.assertLess(found.high - found.low, 1e-5)
        self.assertBetween(2.21, found.low, found.high)

    def test_coverage(self):
        """A small version of experiments/simulate_coverage.py."""
        row = law.coverage(128, 12, 0.01, seed=1)
        # 0.95 by 128 sets has a standard error of 0.019.
        self.assertBetween(row.alpha_coverage, 0.9, 0.99)
        self.assertBetween(row.L_inf_coverage, 0.9, 0.99)
        with self.subTest("a deviance says whether the interval holds a value"):
            P, L = law.planted_points(128, 12, 0.01, seed=1)
            heights = profiles.deviances(P, L, parameter="L_inf", value=2.21)
            for height, losses in list(zip(heights, L, strict=True))[:6]:
                found = law.profile(P, losses)
                self.assertEqual(
                    found.low <= 2.21 <= found.high,
                    height <= profiles.threshold(12),
                )


class StatementTest(absltest.TestCase):
    def test_identified(self):
        P, L = points(12, 0.003)
        found = law.profile(P, L)
        self.assertRegex(
            law.statement(found, L.min()),
            r"floor L_inf is 2\.\d+, between 2\.\d+ and 2\.\d+ \(95 percent\)",
        )

    def test_no_floor_in_sight(self):
        P, L = points(6, 0.03, seed=2)
        found = law.profile(P, L)
        self.assertFalse(found.identified)
        self.assertEqual(found.low, 0)
        self.assertIn(
            "do not identify the floor L_inf: they exclude no value from 0",
            law.statement(found, L.min()),
        )

    def test_a_step(self):
        # Two levels: any exponent that is steep enough.
        P = np.geomspace(1, 1e4, 5)
        L = np.array([3.0, 2.01, 2.0, 1.99, 2.0])
        found = law.profile(P, L, parameter="alpha")
        self.assertEqual(found.high, np.inf)
        self.assertIn("may be a step", law.statement(found, L.min()))

    def test_bad_input(self):
        P, L = points(6, 0.003)
        with self.assertRaisesRegex(ValueError, "no profile of 'A'"):
            law.profile(P, L, parameter="A")
        with self.assertRaisesRegex(ValueError, "level is 95"):
            law.profile(P, L, level=95)
        with self.assertRaisesRegex(ValueError, "do not fall"):
            law.profile(P, L[::-1])
        with self.assertRaisesRegex(ValueError, "3 points"):
            law.profile(P[:3], L[:3])


if __name__ == "__main__":
    absltest.main()
