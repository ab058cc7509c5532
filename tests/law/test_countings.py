"""Laws under other ways to count parameters, and beyond their budgets."""

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, law, report, scores

_OPTIONS = dict(normalisation="raw", num_resamples=8, num_starts=8)


def table_of_law(num_models=8, num_texts=40):
    """Models whose losses follow a law of the parameters beside embeddings."""
    rng = np.random.default_rng(0)
    bare = np.geomspace(1e6, 1e9, num_models)
    means = 40 * bare[:, None] ** -0.25 + 1
    models = tuple(
        scores.ScoredModel(
            f"m{m}",
            costs={
                "num_params": size + 1e8,
                "num_active_params": size + 1e8,
                "num_non_embedding_params": size,
            },
        )
        for m, size in enumerate(bare)
    )
    count = np.ones(num_texts, np.int64)
    texts = corpus.Corpus(
        ids=tuple(f"t{x}" for x in range(num_texts)),
        domains=("",) * num_texts,
        num_bytes=count,
        num_chars=count,
        sha256=("",) * num_texts,
        texts=None,
    )
    noise = rng.lognormal(0, 0.01, (1, num_texts))
    return scores.ScoreTable(models, texts, means * noise)


class CountingsTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.table = table_of_law()
        cls.found, cls.reasons = law.laws_by_counting(cls.table, **_OPTIONS)

    def test_each_counting_has_its_law(self):
        self.assertSequenceEqual(list(self.found), law.COUNTINGS)
        bare = self.found["num_non_embedding_params"]
        self.assertAlmostEqual(
            bare.laws["single models"].fit.alpha, 0.25, places=2
        )
        whole = self.found["num_params"]
        # 10^8 more parameters each make the same losses fall more steeply.
        self.assertGreater(whole.laws["single models"].fit.alpha, 0.3)
        self.assertTrue(
            bare.laws["single models"].interval("L_inf").has_interval
        )
        self.assertIsNotNone(bare.floor_gap)

    def test_equal_numbers_are_fitted_once(self):
        active = self.found["num_active_params"]
        self.assertEqual(active.same_as, "num_params")
        self.assertIs(active.laws, self.found["num_params"].laws)

    def test_what_is_known_is_taken(self):
        known = {name: of.laws for name, of in self.found.items()}
        again, _ = law.laws_by_counting(self.table, known=known, **_OPTIONS)
        for name, of in again.items():
            self.assertEqual(of.laws, self.found[name].laws)

    def test_a_counting_that_a_model_lacks(self):
        table = self.table.select(models=["m0", "m1"])
        table.models[1].costs.pop("num_active_params")
        _, reasons = law.laws_by_counting(
            table, countings=["num_active_params"], **_OPTIONS
        )
        self.assertIn("1 of 2 models: m1", reasons["num_active_params"])

    def test_section(self):
        section = report.countings_section(self.found, {"price": "not known"})
        numbers = section.numbers["countings"]
        self.assertEqual(
            numbers["num_non_embedding_params"]["laws"]["pool"]["num_points"],
            self.found["num_non_embedding_params"].laws["pool"].fit.num_points,
        )
        words = "\n".join(section.sentences)
        self.assertIn("the same numbers as total parameters", words)
        self.assertIn("price: not known", words)


class ExtrapolationTest(absltest.TestCase):
    def test_error_of_a_law_and_of_a_constant(self):
        P = np.geomspace(1e6, 1e9, 8)
        L = 40 * P**-0.25 + 1.5
        L[-1] *= 1.1
        found, reasons = law.extrapolation_errors(
            P, L, shares=[0.5, 1e-3], num_starts=8
        )
        (error,) = found.values()
        self.assertEqual(error.law.num_predicted, 1)
        self.assertAlmostEqual(error.law.mean_error, 1 - 1 / 1.1, places=5)
        self.assertAlmostEqual(error.constant_error, abs(L[-2] / L[-1] - 1))
        self.assertIn("points", reasons[1e-3])
        section = report.extrapolation_section({"pool": (found, reasons)})
        errors = section.numbers["extrapolation"]["pool"]["errors"]
        self.assertLen(errors, 1)
        self.assertIn("1/1000", section.sentences[-1])

    def test_no_points_to_fit(self):
        found, reasons = law.extrapolation_errors([1, 2], [2.0, 1.0])
        self.assertEmpty(found)
        self.assertLen(reasons, len(law.SHARES))


if __name__ == "__main__":
    absltest.main()
