"""Laws by the age of texts, and of parameters and training tokens."""

import dataclasses

import numpy as np
from absl.testing import absltest

from mmc_jax import law, report
from tests.law.test_countings import table_of_law

_OPTIONS = dict(normalisation="raw", num_resamples=8, num_starts=8)


def _released(table, dates):
    models = tuple(
        dataclasses.replace(
            model, provenance={"release_date": date} if date else {}
        )
        for model, date in zip(table.models, dates, strict=True)
    )
    return dataclasses.replace(table, models=models)


class AgesTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        table = table_of_law(num_models=4, num_texts=12)
        nll = table.nll_nats.copy()
        # The first model knows the texts of 2020.
        nll[0, :6] -= 1
        table = dataclasses.replace(table, nll_nats=nll)
        cls.table = _released(table, ["2020", "2021-06", "2021-06-30", ""])
        cls.dates = {
            f"t{x}": "2020-05-01" if x < 6 else f"2021-07-{x + 1:02d}"
            for x in range(11)
        }
        cls.found = law.laws_by_age(cls.table, cls.dates, **_OPTIONS)

    def test_after_is_sure(self):
        found = self.found
        self.assertEqual(found.num_dated, 11)
        self.assertEqual(found.num_undated, 1)
        self.assertEqual(found.undated_models, ("m3",))
        self.assertEqual(found.last_release.isoformat(), "2021-06-30")
        periods = {period.name: period for period in found.periods}
        after = periods[law.AFTER_ALL]
        self.assertEqual(after.num_texts, 5)
        self.assertEqual(after.first.isoformat(), "2021-07-07")
        nll = self.table.nll_nats[:, 6:11]
        self.assertAlmostEqual(after.best_loss, nll.mean(axis=1).min())
        self.assertAlmostEqual(after.all_models, nll.min(axis=0).mean())
        thirds = [n for n in periods if n.startswith("dates")]
        # Six texts of one day stay together.
        self.assertEqual(sum(periods[n].num_texts for n in thirds), 11)
        self.assertEqual(periods[thirds[0]].num_texts, 6)

    def test_a_model_that_has_seen_texts(self):
        first, second, third = self.found.models
        self.assertEqual((first.num_before, first.num_after), (6, 5))
        # It loses 1 less there, of which the mean of four models has a fourth.
        self.assertAlmostEqual(first.worse_after.value, 0.75, places=1)
        self.assertGreater(first.worse_after.low, 0)
        self.assertLess(second.worse_after.value, 0)
        # A month counts until its last day.
        self.assertEqual(second.release, third.release)

    def test_section(self):
        section = report.ages_section(self.found)
        numbers = section.numbers["ages"]
        self.assertEqual(numbers["periods"][1]["first"], "2021-07-07")
        words = "\n".join(section.sentences)
        self.assertIn("not known, may have seen all texts: m3", words)
        self.assertIn("a difference alone proves nothing", words)
        self.assertIn("no law", words)

    def test_no_text_has_a_date(self):
        with self.assertRaisesRegex(
            ValueError, "such as 'other'.*such as 't0'"
        ):
            law.laws_by_age(self.table, {"other": "2020"}, **_OPTIONS)

    def test_dates_that_are_none(self):
        with self.assertRaisesRegex(ValueError, "'soon' is no date"):
            law.laws_by_age(self.table, {"t0": "soon"}, **_OPTIONS)


class TokensLawTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        table = table_of_law(num_models=8, num_texts=12)
        N = table.costs("num_params")
        D = np.geomspace(1e9, 1e12, 8)[[3, 0, 6, 1, 7, 2, 5, 4]]
        means = 60 * N**-0.3 + 300 * D**-0.28 + 1.2
        models = tuple(
            dataclasses.replace(
                model, costs={**model.costs, "num_training_tokens": tokens}
            )
            for model, tokens in zip(table.models, D, strict=True)
        )
        noise = table.nll_nats[:1] / table.nll_nats[:1].mean()
        cls.table = dataclasses.replace(
            table, models=models, nll_nats=means[:, None] * noise
        )

    def test_planted_exponents(self):
        found = law.tokens_law(self.table, **_OPTIONS)
        self.assertAlmostEqual(found.fit.parameters["alpha"], 0.3, places=2)
        self.assertAlmostEqual(found.fit.parameters["beta"], 0.28, places=2)
        self.assertAlmostEqual(found.fit.parameters["E"], 1.2, places=2)
        self.assertGreater(found.fit.r_squared, found.of_parameters.r_squared)
        self.assertLess(found.aicc, found.aicc_of_parameters)
        self.assertTrue(found.intervals["E"].has_interval)
        section = report.tokens_section(found, cost="num_params")
        self.assertIn("training tokens add", section.sentences[3])
        numbers = section.numbers["training_tokens"]
        self.assertEqual(numbers["law"]["num_points"], 8)

    def test_equal_tokens_have_no_law(self):
        models = tuple(
            dataclasses.replace(
                model, costs={**model.costs, "num_training_tokens": 3e11}
            )
            for model in self.table.models
        )
        table = dataclasses.replace(self.table, models=models)
        with self.assertRaisesRegex(ValueError, "D has 1 distinct"):
            law.tokens_law(table, **_OPTIONS)

    def test_few_models_know_them(self):
        models = tuple(
            dataclasses.replace(model, costs={"num_params": 1.0})
            for model in self.table.models
        )
        table = dataclasses.replace(self.table, models=models)
        with self.assertRaisesRegex(ValueError, "num_training_tokens"):
            law.tokens_law(table, **_OPTIONS)


if __name__ == "__main__":
    absltest.main()
