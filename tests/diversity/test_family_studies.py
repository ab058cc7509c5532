import numpy as np
from absl.testing import absltest

from mmc_jax import diversity, frontier, law
from mmc_jax.diversity.family_studies import line_name
from mmc_jax.statistics import Estimate
from tests import left_out
from tests.diversity.test_families import planted


def _pool(num_texts=400, seed=0):
    """Models of three sizes in two families that read unlike texts."""
    losses, _, families = planted(
        0.6, num_texts, families=2, of_family=3, seed=seed
    )
    costs = np.tile([1.0, 4.0, 16.0], 2) * np.repeat([1.0, 1.1], 3)
    losses -= 0.4 * np.log(costs)[:, None]
    return losses, costs, families


class FamilyStudyTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())
        cls.losses, cls.costs, cls.families = _pool()
        cls.found = diversity.family_study(
            cls.losses,
            cls.costs,
            cls.families,
            sizes=[2, 4, None],
            num_resamples=16,
            num_starts=4,
        )

    def test_lines(self):
        exact = frontier.exhaustive(self.losses, self.costs)
        np.testing.assert_array_equal(
            self.found.lines["pool"].masks, exact.masks
        )
        single = frontier.single_models(self.losses, self.costs)
        np.testing.assert_array_equal(
            self.found.lines["single models"].losses, single.losses
        )
        mixed = self.found.lines[line_name("mixed", 2)]
        self.assertTrue((mixed.masks.sum(axis=1) == 2).all())

    def test_laws_are_of_the_lines(self):
        for name, found in self.found.laws.items():
            line, fit = self.found.lines[name], found.fit
            # No other line has these points: the objective tells them apart.
            log_ratios = np.log(
                law.power_law(line.costs, *fit[:3]) / line.losses
            )
            size = np.abs(log_ratios)
            near = np.minimum(size, fit.delta)
            self.assertAlmostEqual(
                fit.objective, (near * (size - near / 2)).sum(), places=12
            )
            self.assertEqual(fit.num_points, len(line.costs))
            self.assertLen(found.resampled.alpha, 16)
        line = self.found.lines["single models"]
        self.assertEqual(
            self.found.laws["single models"].fit.L_inf,
            law.fit(line.costs, line.losses).L_inf,
        )
        self.assertIn("pool", self.found.laws)

    def test_a_size_that_no_family_has(self):
        reason = self.found.reasons[line_name("comparison", 4)]
        self.assertIn("no family has 4 models", reason)
        of_four = [c for c in self.found.claims if "of 4" in c.claim]
        self.assertLen(of_four, 4)
        for claim in of_four:
            self.assertTrue(np.isnan(claim.estimate.value))
            self.assertEqual(claim.verdict, "-")

    def test_conclusions(self):
        claims = {c.claim: c for c in self.found.claims}
        self.assertLen(claims, 1 + 3 * 4)
        gain = claims["all models together lose less than the best one"]
        self.assertAlmostEqual(
            gain.estimate.value,
            self.losses.mean(axis=1).min() - self.losses.min(axis=0).mean(),
            places=12,
        )
        self.assertEqual(gain.verdict, "yes")
        mixed = claims["mixed subsets of 2 lose less at the largest budget"]
        self.assertEqual(
            mixed.estimate.value,
            self.found.comparisons[2].held_out.value[-1],
        )
        self.assertEqual(mixed.verdict, "yes")
        faster = claims["pools of one family fall faster (alpha)"]
        alphas = [
            self.found.laws[line_name(kind, None)].fit.alpha
            for kind in ("same family", "mixed")
        ]
        self.assertEqual(faster.estimate.value, alphas[0] - alphas[1])
        (shared,) = (
            answer
            for answer in self.found.shared[None]
            if answer.shared == ("alpha",)
        )
        self.assertEqual(faster.p_value, shared.p_value)

    def test_nothing_to_compare(self):
        with self.assertRaisesRegex(ValueError, "all models are of the family"):
            diversity.family_study(
                self.losses, self.costs, ["a"] * 6, sizes=[None]
            )


class VerdictTest(absltest.TestCase):
    def test_verdicts(self):
        for low, high, p_value, expected in (
            (0.1, 0.2, None, "yes"),
            (-0.2, -0.1, None, "no"),
            (-0.1, 0.1, None, "open"),
            (0.1, 0.2, 0.01, "yes"),
            (0.1, 0.2, 0.3, "open"),
        ):
            estimate = Estimate((low + high) / 2, low, high)
            found = diversity.Claim("claim", estimate, "", p_value)
            self.assertEqual(found.verdict, expected)

    def test_agreement(self):
        def study(verdicts):
            estimates = {
                "yes": Estimate(0.0, 1.0, 2.0),
                "no": Estimate(0.0, -2.0, -1.0),
                "open": Estimate(0.0, -1.0, 1.0),
                "-": Estimate(np.nan),
            }
            claims = tuple(
                diversity.Claim(str(i), estimates[verdict])
                for i, verdict in enumerate(verdicts)
            )
            return diversity.FamilyStudy(9, {}, {}, {}, {}, {}, claims)

        first = study(["yes", "yes", "yes", "no", "-", "yes"])
        second = study(["yes", "no", "open", "no", "-", "-"])
        self.assertEqual(
            list(diversity.agreement({"a": first, "b": second}).values()),
            ["yes", "differs", "open", "no", "-", "open"],
        )


if __name__ == "__main__":
    absltest.main()
