"""The fit against planted parameters, SciPy, and its errors."""

import math

import numpy as np
import scipy.optimize
from absl.testing import absltest, parameterized

from mmc_jax import law
from mmc_jax.law import batches, fitting, optima, optimizers
from tests import tolerances


def points(num_points, noise, seed=0):
    """Returns budgets and losses of A = 40, alpha = 0.25, L_inf = 1.5."""
    P = np.geomspace(1e6, 1e10, num_points)
    residuals = noise * np.random.default_rng(seed).normal(size=num_points)
    return P, law.power_law(P, 40.0, 0.25, 1.5) * np.exp(residuals)


def scipy_fit(P, L, delta=1e-3):
    """Returns A, alpha, L_inf and the objective of the best of 9 starts."""
    scale = np.exp(np.log(P).mean())

    def residuals(logs):
        A, alpha, L_inf = np.exp(logs)
        return np.log(A * (P / scale) ** -alpha + L_inf) - np.log(L)

    fits = [
        scipy.optimize.least_squares(
            residuals,
            np.log([L.mean() - floor, alpha, floor]),
            loss="huber",
            f_scale=delta,
            x_scale="jac",
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=2000,
        )
        for alpha in (0.1, 0.3, 1.0)
        for floor in L.min() * np.array([0.2, 0.6, 0.9])
    ]
    best = min(fits, key=lambda fit: fit.cost)
    A, alpha, L_inf = np.exp(best.x)
    return A * scale**alpha, alpha, L_inf, best.cost


class PlantedTest(parameterized.TestCase):
    @parameterized.parameters(4, 5, 12, 60)
    def test_without_noise(self, num_points):
        fit = law.fit(*points(num_points, 0.0))
        self.assertTrue(fit.converged)
        self.assertEqual(fit.num_points, num_points)
        np.testing.assert_allclose(
            (fit.A, fit.alpha, fit.L_inf),
            (40.0, 0.25, 1.5),
            rtol=tolerances.LAW_PLANTED,
        )
        self.assertAlmostEqual(fit.r_squared, 1.0)

    def test_small_noise(self):
        fit = law.fit(*points(60, 0.002))
        self.assertTrue(fit.converged)
        np.testing.assert_allclose(
            (fit.A_at_scale, fit.alpha, fit.L_inf),
            (0.4, 0.25, 1.5),
            rtol=tolerances.LAW_NOISE,
        )
        self.assertBetween(fit.r_squared, 0.99, 1.0)

    def test_an_outlier_moves_little(self):
        P, L = points(30, 0.0)
        L[29] *= 2
        fit = law.fit(P, L)
        np.testing.assert_allclose(
            (fit.alpha, fit.L_inf), (0.25, 1.5), rtol=tolerances.LAW_NOISE
        )

    def test_no_floor(self):
        P = np.geomspace(1e6, 1e10, 12)
        fit = law.fit(P, 40 * P**-0.25)
        self.assertTrue(fit.converged)
        self.assertAlmostEqual(fit.alpha, 0.25, places=6)
        self.assertBetween(fit.L_inf, 0, 1e-6)

    @parameterized.parameters(
        ("millions of parameters", 1e-6, 1.0),
        ("other losses", 1.0, 1e-9),
        ("tiny budgets", 1e-100, 1.0),
    )
    def test_units(self, unit, budget, loss):
        del unit
        P, L = points(12, 0.01)
        fit, other = law.fit(P, L), law.fit(budget * P, loss * L)
        np.testing.assert_allclose(
            other[:3],
            (fit.A * loss * budget**fit.alpha, fit.alpha, fit.L_inf * loss),
            rtol=tolerances.LAW_OPTIMUM,
        )
        self.assertAlmostEqual(other.objective, fit.objective)


class ScipyTest(parameterized.TestCase):
    @parameterized.parameters((12, 0.01), (12, 0.0005), (40, 0.03), (60, 0.01))
    def test_the_same_optimum(self, num_points, noise):
        P, L = points(num_points, noise)
        fit = law.fit(P, L)
        A, alpha, L_inf, objective = scipy_fit(P, L)
        self.assertTrue(fit.converged)
        self.assertLessEqual(
            fit.objective, objective * (1 + tolerances.LAW_OBJECTIVE)
        )
        np.testing.assert_allclose(
            (fit.A, fit.alpha, fit.L_inf),
            (A, alpha, L_inf),
            rtol=tolerances.LAW_SCIPY,
        )

    @parameterized.parameters(False, True)
    def test_starts_on_some_of_the_points(self, in_a_batch):
        P, L = points(60, 0.01)
        weights = np.arange(60) % 3
        fit = law.fit(P, L, weights)
        of = batches if in_a_batch else fitting
        with (
            absltest.mock.patch.object(of, "MOST_POINTS", 16),
            # As many starts as ever: the same compiled program.
            absltest.mock.patch.object(fitting, "_NUM_KEPT", 64),
        ):
            if in_a_batch:
                found = law.fit_batch(P, L[None], weights)
                found = (found.A[0], found.alpha[0], found.L_inf[0])
            else:
                found = law.fit(P, L, weights)[:3]
        np.testing.assert_allclose(found, fit[:3], rtol=tolerances.LAW_OPTIMUM)

    def test_weights_are_repeats(self):
        P, L = points(12, 0.01)
        weights = np.array([1, 2, 0, 3, 1, 1, 2, 1, 0, 1, 4, 1])
        fit = law.fit(P, L, weights)
        self.assertEqual(fit.num_points, 10)
        repeated = law.fit(np.repeat(P, weights), np.repeat(L, weights))
        self.assertAlmostEqual(fit.objective, repeated.objective)
        self.assertAlmostEqual(fit.r_squared, repeated.r_squared)
        np.testing.assert_allclose(
            (fit.A, fit.alpha, fit.L_inf),
            repeated[:3],
            rtol=tolerances.LAW_OPTIMUM,
        )


class ResultTest(absltest.TestCase):
    def test_fields(self):
        P, L = points(12, 0.01)
        fit = law.fit(P, L, delta=0.01)
        with self.subTest("the objective is the sum of Huber losses"):
            residuals = np.abs(np.log(law.power_law(P, *fit[:3]) / L))
            huber = np.where(
                residuals <= 0.01,
                residuals**2 / 2,
                0.01 * (residuals - 0.01 / 2),
            )
            self.assertAlmostEqual(fit.objective, huber.sum(), places=14)
        with self.subTest("all starts"):
            self.assertEqual(fit.start_objectives.shape, (64,))
            self.assertEqual(fit.start_converged.shape, (64,))
            self.assertTrue(fit.start_converged.all())
            self.assertAlmostEqual(
                fit.objective, fit.start_objectives.min(), places=14
            )
        with self.subTest("a start ends where it would alone"):
            few = law.fit(P, L, delta=0.01, num_starts=3)
            np.testing.assert_allclose(
                few.start_parameters,
                fit.start_parameters[:3],
                rtol=tolerances.LAW_OPTIMUM,
            )
        with self.subTest("scale"):
            self.assertAlmostEqual(fit.scale / 1e8, 1.0)
            self.assertAlmostEqual(
                fit.A_at_scale, fit.A * fit.scale**-fit.alpha
            )
        with self.subTest("plain numbers, for JSON"):
            for name in law.Fit._fields[:11]:
                self.assertIn(type(getattr(fit, name)), (float, int, bool, str))

    def test_the_order_of_points(self):
        P, L = points(12, 0.01)
        np.testing.assert_allclose(
            law.fit(P[::-1], L[::-1])[:4],
            law.fit(P, L)[:4],
            rtol=tolerances.LAW_OPTIMUM,
        )

    def test_no_convergence_is_reported(self):
        P, L = points(12, 0.01)
        # Few starts, as the setting of Adam is compiled into its program.
        with (
            absltest.mock.patch.object(optimizers, "MAX_STEPS", 2),
            absltest.mock.patch.object(optimizers, "_ADAM_STEPS", 5),
        ):
            fit = law.fit(P, L, num_starts=3)
        self.assertFalse(fit.converged)
        self.assertFalse(fit.start_converged.any())
        self.assertTrue(math.isfinite(fit.objective))

    def test_adam_finishes_what_lbfgs_leaves(self):
        P, L = points(12, 0.01)
        with absltest.mock.patch.object(optimizers, "MAX_STEPS", 8):
            fit = law.fit(P, L, num_starts=2)
        self.assertEqual(fit.optimizer, "adam")
        np.testing.assert_allclose(
            fit.objective,
            law.fit(P, L).objective,
            rtol=tolerances.LAW_ADAM_OBJECTIVE,
        )

    def test_of_equal_optima_one_that_converged(self):
        best = optima.best_start(
            optimizers.Optima(
                np.zeros((3, 3)),
                np.array([1.0, 1.0 + 1e-12, 2.0]),
                np.array([1.0, 0.0, 0.0]),
            )
        )
        self.assertEqual(best, 1)

    def test_a_sum_and_a_mean_end_in_the_same_place(self):
        P, L = points(60, 0.01)
        fit, mean = law.fit(P, L), law.fit(P, L, np.full(60, 1 / 60))
        np.testing.assert_allclose(
            mean[:3], fit[:3], rtol=tolerances.LAW_OPTIMUM
        )
        self.assertAlmostEqual(mean.objective, fit.objective / 60, places=12)


class BatchTest(parameterized.TestCase):
    @parameterized.parameters((4, 0.0), (4, 0.01), (12, 0.05), (300, 0.05))
    def test_is_fit(self, num_points, noise):
        P, L = points(num_points, noise, seed=3)
        fit = law.fit(P, L)
        laws = law.fit_batch(P, [L])
        self.assertTrue(fit.converged and laws.converged[0] and laws.falls[0])
        np.testing.assert_allclose(
            (laws.A_at_scale[0], laws.alpha[0], laws.L_inf[0]),
            (fit.A_at_scale, fit.alpha, fit.L_inf),
            rtol=tolerances.LAW_OPTIMUM,
        )
        # Four standard errors of least squares, to which Huber's are near.
        errors = least_squares_errors(P, noise)
        np.testing.assert_array_less(
            np.abs(np.array([laws.alpha[0] - 0.25, laws.L_inf[0] - 1.5])),
            4 * errors + 1e-7,
        )

    def test_sets_of_different_points(self):
        P, L = points(12, 0.01)
        costs = np.stack([P, 3 * P])
        weights = np.ones((2, 12))
        weights[1, 10:] = 0
        laws = law.fit_batch(costs, [L, 2 * L], weights)
        for row in range(2):
            used = weights[row] > 0
            fit = law.fit(costs[row][used], (row + 1) * L[used])
            np.testing.assert_allclose(
                (laws.A[row], laws.alpha[row], laws.L_inf[row]),
                fit[:3],
                rtol=tolerances.LAW_OPTIMUM,
            )

    def test_a_rising_set_says_so(self):
        P, L = points(12, 0.01)
        laws = law.fit_batch(P, [L, L[::-1]])
        np.testing.assert_array_equal(laws.falls, [True, False])

    def test_bad_sets_are_named(self):
        P, L = points(6, 0.01)
        with self.assertRaisesRegex(ValueError, "set 1: losses are all equal"):
            law.fit_batch(P, [L, np.full(6, 2.0)])
        with self.assertRaisesRegex(ValueError, r"\[R, X\] is needed"):
            law.fit_batch(P, L)


def least_squares_errors(P, noise):
    """Returns standard errors of alpha and L_inf by the linearised law."""
    p = P / np.exp(np.log(P).mean())
    A = 40 * (P / p)[0] ** -0.25
    L = A * p**-0.25 + 1.5
    slopes = np.stack([p**-0.25, -A * p**-0.25 * np.log(p), np.ones(len(p))])
    slopes /= L
    errors = noise * np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T)))
    return errors[1:]


class ErrorsTest(absltest.TestCase):
    def test_bad_input(self):
        P, L = points(6, 0.01)

        def changed(array, number):
            array = array.copy()
            array[2] = number
            return array

        for message, arguments in (
            ("3 points .* at least 4", (P[:3], L[:3])),
            ("3 points", (P, L, [1, 1, 1, 0, 0, 0])),
            ("0 points", ([], [])),
            (r"losses are all equal \(2.0\)", (P, np.full(6, 2.0))),
            (r"1 distinct budget\(s\)", (np.full(6, 2.0), L)),
            (r"2 distinct budget\(s\)", ([1, 1, 1, 2, 2, 2], L)),
            (r"costs \(5,\), losses \(6,\)", (P[:5], L)),
            (r"weights \(5,\)", (P, L, np.ones(5))),
            (r"costs\[2\] is nan", (changed(P, np.nan), L)),
            (r"costs\[2\] is inf", (changed(P, np.inf), L)),
            (r"costs\[2\] is 0.0; .* above 0", (changed(P, 0), L)),
            (r"costs\[2\] is -1.0", (changed(P, -1), L)),
            (r"losses\[2\] is nan", (P, changed(L, np.nan))),
            (r"losses\[2\] is inf", (P, changed(L, np.inf))),
            (r"losses\[2\] is 0.0", (P, changed(L, 0))),
            (r"losses\[2\] is -1.0", (P, changed(L, -1))),
            (r"weights\[2\] is -1.0; .* not below 0",
             (P, L, changed(np.ones(6), -1))),
            (r"weights\[2\] is nan", (P, L, changed(np.ones(6), np.nan))),
            ("do not fall", (P, L[::-1])),
        ):  # fmt: skip
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                law.fit(*arguments)

    def test_bad_options(self):
        with self.assertRaisesRegex(ValueError, "delta is 0"):
            law.fit(*points(6, 0.01), delta=0)
        with self.assertRaisesRegex(ValueError, "num_starts is 0"):
            law.fit(*points(6, 0.01), num_starts=0)


if __name__ == "__main__":
    absltest.main()
