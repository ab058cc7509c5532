"""Forms, groups, other views of the points, and answers."""

import numpy as np
import scipy.optimize
import scipy.stats
from absl.testing import absltest, parameterized

from mmc_jax import law
from mmc_jax.law import points as points_
from tests import tolerances

P = np.geomspace(1e6, 1e10, 16)


def points(A=40.0, alpha=0.25, L_inf=1.5, noise=0.003, seed=0):
    residuals = np.random.default_rng(seed).normal(0, noise, len(P))
    return P, law.power_law(P, A, alpha, L_inf) * np.exp(residuals)


class PointsTest(absltest.TestCase):
    def test_log_spaced(self):
        costs = np.array([1.0, 2, 4, 8, 900, 950, 1000])
        losses = np.arange(7.0, 0, -1)
        found = points_.log_spaced(costs, losses, 4)
        # 1, 10, 100 and 1000: 8 is the nearest to 10, 8 or 900 to 100.
        np.testing.assert_array_equal(found[0], [1, 8, 900, 1000])
        np.testing.assert_array_equal(found[1], [7, 4, 3, 1])

    def test_interval_weights(self):
        weights = points_.interval_weights([1, 1.1, 1.2, 10, 100], 2)
        self.assertAlmostEqual(weights.mean(), 1.0)
        self.assertAlmostEqual(weights[:3].sum(), weights[3:].sum())

    def test_crowded_points_count_less(self):
        costs, losses = points(noise=0.0)
        # A crowd at the largest budget that says something else.
        costs = np.append(costs, np.geomspace(0.9e10, 1e10, 40))
        losses = np.append(losses, np.full(40, 1.7))
        laws, reasons = law.variants(costs, losses)
        self.assertEmpty(reasons)
        plain = laws["as they are"]
        for name in ("log-spaced budgets", "without the largest decade"):
            self.assertLess(
                abs(laws[name].alpha - 0.25), abs(plain.alpha - 0.25)
            )
        self.assertEqual(laws["without the largest decade"].num_points, 12)

    def test_why_a_variant_is_missing(self):
        costs, losses = points()
        _, reasons = law.variants(costs[-5:], losses[-5:])
        self.assertIn("at least 4", reasons["without the largest decade"])


class FormsTest(absltest.TestCase):
    def test_criteria_and_predictions(self):
        costs, losses = points()
        names = ["power_law", "logarithmic"]
        scores, reasons = law.compare_forms(costs, losses, forms=names)
        self.assertEmpty(reasons)
        with self.subTest("AICc and BIC of the straight line, by NumPy"):

            def residuals(parameters):
                line = parameters[0] - parameters[1] * np.log(costs)
                return np.log(np.maximum(line, 1e-9) / losses)

            best = scipy.optimize.least_squares(
                residuals, [3.0, 0.05], ftol=1e-15, xtol=1e-15, gtol=1e-15
            )
            n, k = len(costs), 3
            fitted = n * np.log(2 * best.cost / n)
            score = scores["logarithmic"]
            np.testing.assert_allclose(
                score.aicc,
                fitted + 2 * k + 2 * k * (k + 1) / (n - k - 1),
                rtol=tolerances.LAW_SQUARES,
            )
            np.testing.assert_allclose(
                score.bic,
                fitted + k * np.log(n),
                rtol=tolerances.LAW_SQUARES,
            )
        with self.subTest("the true form wins, and predicts"):
            right, wrong = scores["power_law"], scores["logarithmic"]
            self.assertLess(right.aicc, wrong.aicc - 10)
            self.assertLess(right.bic, wrong.bic - 10)
            for ours, theirs in zip(
                right.extrapolations, wrong.extrapolations, strict=True
            ):
                self.assertLess(ours.mean_error, 0.1 * theirs.mean_error)
        with self.subTest("an extrapolation is a fit of what is below"):
            half = scores["power_law"].extrapolations[2]
            self.assertEqual(half.share, 1 / 8)
            below = costs <= costs.max() / 8
            self.assertEqual(half.num_fitted, below.sum())
            self.assertEqual(half.num_predicted, (~below).sum())
            fit = law.fit(costs[below], losses[below], delta=law.LEAST_SQUARES)
            errors = law.loss(fit, costs) / losses - 1
            np.testing.assert_allclose(
                (half.mean_error, half.last_error),
                (np.abs(errors[~below]).mean(), errors[-1]),
                rtol=tolerances.LAW_SCIPY,
            )

    def test_why_a_form_is_missing(self):
        costs, losses = points()
        _, reasons = law.compare_forms(
            costs[::3], losses[::3], forms=["power_law", "broken_power_law"]
        )
        self.assertIn("6 points", reasons["broken_power_law"])
        with self.assertRaisesRegex(ValueError, "do not fall"):
            law.compare_forms(costs, losses[::-1], forms=["power_law"])


class GroupsTest(absltest.TestCase):
    def test_what_is_shared(self):
        groups = {
            "single": points(A=40.0, L_inf=2.2),
            "pool": points(A=40.0, L_inf=1.3, seed=1),
        }
        exponent, floor = law.compare_groups(
            groups, questions=[["alpha"], ["L_inf"]]
        )
        self.assertGreater(exponent.p_value, 0.05)
        self.assertLess(floor.p_value, 1e-6)
        with self.subTest("by SciPy"):
            p = P / np.exp(np.log(P).mean())

            def residuals(logs):
                A_1, A_2, alpha, floor_1, floor_2 = np.exp(logs)
                first = law.power_law(p, A_1, alpha, floor_1)
                second = law.power_law(p, A_2, alpha, floor_2)
                losses = np.append(groups["single"][1], groups["pool"][1])
                return np.log(np.append(first, second) / losses)

            best = scipy.optimize.least_squares(
                residuals,
                np.log([0.4, 0.4, 0.25, 2.2, 1.3]),
                ftol=1e-15,
                xtol=1e-15,
                gtol=1e-15,
            )
            own = sum(
                2 * law.fit(*group, delta=law.LEAST_SQUARES).objective
                for group in groups.values()
            )
            F = (2 * best.cost - own) / (own / 26)
            self.assertAlmostEqual(exponent.F, F, places=5)
            self.assertAlmostEqual(
                exponent.p_value, scipy.stats.f.sf(F, 1, 26), places=6
            )
            self.assertAlmostEqual(
                exponent.laws["pool"]["alpha"], np.exp(best.x[2]), places=6
            )

    def test_chance_parts_few(self):
        """Of 20 pairs that share all, about one has p below 0.05."""
        num_apart = 0
        for seed in range(20):
            groups = {
                "a": points(seed=2 * seed),
                "b": points(seed=2 * seed + 1),
            }
            (answer,) = law.compare_groups(groups, questions=[["L_inf"]])
            num_apart += answer.p_value < 0.05
        self.assertLess(num_apart, 5)

    def test_bad_input(self):
        with self.assertRaisesRegex(ValueError, r"1 group\(s\)"):
            law.compare_groups({"a": points()})
        costs, losses = points()
        with self.assertRaisesRegex(ValueError, "group 'b': losses do not"):
            law.compare_groups({"a": points(), "b": (costs, losses[::-1])})
        with self.assertRaisesRegex(ValueError, "no parameter 'E'"):
            law.compare_groups(
                {"a": points(), "b": points()}, questions=[["E"]]
            )


class AnswersTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.single = law.fit(*points(A=40.0, L_inf=2.21, noise=0.0))
        self.pool = law.fit(*points(A=40.0, L_inf=1.25, noise=0.0))

    def test_budget_and_loss_are_inverse(self):
        np.testing.assert_allclose(
            law.budget_for(self.single, law.loss(self.single, P)),
            P,
            rtol=tolerances.LAW_PLANTED,
        )
        self.assertEqual(law.budget_for(self.single, 2.0), np.inf)

    def test_single_against_pool(self):
        with self.subTest("the paper's 43 percent"):
            self.assertAlmostEqual(
                law.floor_gap_percent(self.single, self.pool),
                43.4389,
                places=3,
            )
        with self.subTest("times fewer parameters at equal loss"):
            ratio = law.budget_ratio(self.single, self.pool, 2.61)
            self.assertAlmostEqual(ratio, (0.4 / 1.36) ** -4, delta=0.01)
        with self.subTest("a loss that only the pool can reach"):
            self.assertEqual(
                law.budget_ratio(self.single, self.pool, 2.0), np.inf
            )
        with self.subTest("one that neither can"):
            self.assertTrue(
                np.isnan(law.budget_ratio(self.single, self.pool, 1.0))
            )

    def test_of_many_laws(self):
        _, one = points(noise=0.01)
        _, two = points(noise=0.01, seed=1)
        laws = law.fit_batch(P, [one, two])
        for i, losses in enumerate((one, two)):
            fit = law.fit(P, losses)
            self.assertAlmostEqual(
                law.loss(laws, 1e11)[i], law.loss(fit, 1e11), places=5
            )
            self.assertAlmostEqual(
                law.budget_for(laws, 2.0)[i] / law.budget_for(fit, 2.0),
                1.0,
                places=4,
            )
        np.testing.assert_array_equal(law.usable(laws), [True, True])

    def test_with_intervals(self):
        P, L = points()
        rng = np.random.default_rng(0)
        noisy = [L * np.exp(rng.normal(0, 0.002, len(L))) for _ in range(9)]
        found = law.ResampledFit(law.fit(P, L), law.fit_batch(P, noisy))
        answer = law.estimate_answer(lambda f: f.alpha, found)
        self.assertEqual(answer.value, found.fit.alpha)
        low, high = np.quantile(found.resampled.alpha, [0.025, 0.975])
        self.assertAlmostEqual(answer.low, low)
        self.assertAlmostEqual(answer.high, high)
        with self.subTest("most resamples have no law"):
            falls = np.arange(9) < 4
            few = found._replace(
                resampled=found.resampled._replace(falls=falls)
            )
            answer = law.estimate_answer(lambda f: f.alpha, few)
            self.assertFalse(answer.has_interval)
        with self.subTest("an answer that is not defined"):
            answer = law.estimate_answer(
                lambda a, b: law.budget_ratio(a, b, 0.1), found, found
            )
            self.assertEqual(str(answer), "not defined")


if __name__ == "__main__":
    absltest.main()
