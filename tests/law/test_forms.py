"""Every form: its formula by NumPy, and its planted parameters found again."""

import numpy as np
import scipy.optimize
from absl.testing import absltest, parameterized

from mmc_jax import law
from mmc_jax.law import refitting
from mmc_jax.law.forms import FORMS
from mmc_jax.law.starts import start_logs
from tests import tolerances

P = np.geomspace(1e6, 1e10, 16)

# By form: planted parameters, and the formula in the letters of its source.
CASES = {
    "power_law": (
        {"A": 40.0, "alpha": 0.25, "L_inf": 1.5},
        lambda A, alpha, L_inf: A / P**alpha + L_inf,
    ),
    "power_law_without_floor": (
        {"A": 40.0, "alpha": 0.25},
        lambda A, alpha: A / P**alpha,
    ),
    "exponential": (
        {"A": 2.0, "rate": 3e-9, "L_inf": 1.5},
        lambda A, rate, L_inf: L_inf + A / np.exp(rate * P),
    ),
    "logarithmic": (
        {"slope": 0.1, "P_0": 1e20},
        lambda slope, P_0: slope * np.log(P_0) - slope * np.log(P),
    ),
    "broken_power_law": (
        {
            "A": 40.0,
            "alpha": 0.2,
            "L_inf": 0.5,
            "beta": 0.6,
            "P_1": 1e8,
            "width": 0.3,
        },
        lambda A, alpha, L_inf, beta, P_1, width: (
            L_inf
            + A
            * P**-alpha
            * (1 + (P / P_1) ** (1 / width)) ** (-(beta - alpha) * width)
        ),
    ),
}


def chinchilla_like(noise, seed=0):
    """Returns N, D and losses of 240 runs of the refitted law."""
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(5e7), np.log(1.5e10), 240))
    flops = np.exp(rng.uniform(np.log(6e18), np.log(3e21), 240))
    D = flops / (6 * N)
    parameters = [477.83, 0.34731, 2143.4, 0.36717, 1.81722]
    exact = FORMS["two_variable"].function(N, D, *parameters)
    return N, D, exact * np.exp(noise * rng.laplace(size=240))


class FormsTest(parameterized.TestCase):
    def test_every_form_is_here(self):
        self.assertEqual({*CASES, "two_variable"}, set(FORMS))

    @parameterized.named_parameters((name, name) for name in CASES)
    def test_planted_parameters_are_found(self, name):
        parameters, formula = CASES[name]
        losses = formula(**parameters)
        found = law.fit_form(name, P, losses)
        with self.subTest("formula"):
            self.assertLess(law.objective(name, parameters, P, losses), 1e-24)
        with self.subTest("parameters, in the unit of the data"):
            self.assertTrue(found.converged)
            np.testing.assert_allclose(
                list(found.parameters.values()),
                list(parameters.values()),
                rtol=tolerances.LAW_PLANTED,
            )
        with self.subTest("the same law at the data's own scale"):
            np.testing.assert_allclose(
                law.form_loss(found, P), losses, rtol=tolerances.LAW_PLANTED
            )

    def test_starts(self):
        for name in CASES:
            form = FORMS[name]
            found = start_logs(
                form, (P / 1e8,), CASES[name][1](**CASES[name][0]), 7
            )
            self.assertEqual(found.shape, (7, len(form.parameters)))
            self.assertTrue(np.isfinite(found).all())
            self.assertLen(np.unique(found, axis=0), 7)

    def test_bad_input(self):
        with self.assertRaisesRegex(ValueError, "no form 'cubic'; there are"):
            law.fit_form("cubic", P, P)
        N, D, losses = chinchilla_like(0.0)
        with self.assertRaisesRegex(ValueError, r"D\[1\] is -1.0; .* above 0"):
            law.fit_form("two_variable", (N[:9], [1, -1, *D[2:9]]), losses[:9])
        with self.assertRaisesRegex(ValueError, "N has 1 distinct"):
            law.fit_form("two_variable", (np.ones(9), D[:9]), losses[:9])
        with self.assertRaisesRegex(ValueError, "1 budgets for the variables"):
            law.fit_form("two_variable", (N,), losses)


class TwoVariablesTest(absltest.TestCase):
    """The refit of Hoffmann et al., on points drawn from its parameters."""

    def test_recovers_the_parameters(self):
        N, D, losses = chinchilla_like(0.005)
        found = law.fit_form("two_variable", (N, D), losses)
        self.assertTrue(found.converged)
        self.assertGreater(
            np.mean(found.start_objectives <= found.objective * (1 + 1e-9)), 0.9
        )
        np.testing.assert_allclose(
            [found.parameters[name] for name in ("alpha", "beta", "E")],
            [0.34731, 0.36717, 1.81722],
            rtol=tolerances.LAW_TWO_VARIABLES,
        )
        with self.subTest("no worse than the parameters it was drawn from"):
            drawn = {
                "A": 477.83,
                "alpha": 0.34731,
                "B": 2143.4,
                "beta": 0.36717,
                "E": 1.81722,
            }
            self.assertLess(
                found.objective,
                law.objective("two_variable", drawn, (N, D), losses),
            )
        with self.subTest("the mean with default tolerances stops short"):
            parameters, objective = refitting.fit_of_mean(N, D, losses, 8)
            self.assertGreater(objective, 1.01 * found.objective)
            self.assertAlmostEqual(
                objective,
                law.objective("two_variable", parameters, (N, D), losses),
            )
            away = abs(parameters["alpha"] - found.parameters["alpha"])
            self.assertGreater(away, 0.005)
        with self.subTest("the mean with ours does not"):
            mean = law.fit_form(
                "two_variable", (N, D), losses, np.full(240, 1 / 240)
            )
            np.testing.assert_allclose(
                list(mean.parameters.values()),
                list(found.parameters.values()),
                rtol=tolerances.LAW_OPTIMUM,
            )

    def test_scipy_agrees(self):
        N, D, losses = chinchilla_like(0.005, seed=1)
        found = law.fit_form("two_variable", (N, D), losses, delta=0.02)
        n, d = N / found.scales["N"], D / found.scales["D"]

        def residuals(logs):
            A, alpha, B, beta, E = np.exp(logs)
            return np.log((A * n**-alpha + B * d**-beta + E) / losses)

        best = scipy.optimize.least_squares(
            residuals,
            np.log([0.3, 0.3, 0.3, 0.3, 1.5]),
            loss="huber",
            f_scale=0.02,
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
        )
        np.testing.assert_allclose(
            list(found.at_scale.values()),
            np.exp(best.x),
            rtol=tolerances.LAW_SCIPY,
        )


if __name__ == "__main__":
    absltest.main()
