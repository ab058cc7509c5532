"""All that referees ask of one table, as sections of one result."""

import dataclasses
import json
from unittest import mock

from absl.testing import absltest

from mmc_jax import frontier, law, referee, report
from mmc_jax.report import result
from mmc_jax.report.page import document
from mmc_jax.report.sections import merged
from tests.law.test_countings import table_of_law


class RefereeTest(absltest.TestCase):
    def test_what_the_table_knows_has_a_section(self):
        table = table_of_law(num_models=5, num_texts=8)
        models = tuple(
            dataclasses.replace(
                model, costs={**model.costs, "num_training_tokens": 1e9}
            )
            for model in table.models
        )
        dates = ("2020",) * len(table.texts)
        table = dataclasses.replace(
            table,
            models=models,
            texts=dataclasses.replace(table.texts, dates=dates),
        )
        by_age = self.enterContext(
            mock.patch.object(law, "laws_by_age", return_value=None)
        )
        line = frontier.single_models(table.losses("raw"), table.costs())
        one = law.ResampledFit(
            law.fit(line.costs, line.losses, num_starts=8),
            law.fit_batch(line.costs, [line.losses] * 2, num_starts=8),
        )
        known = {"single models": one, "pool": one}
        found = referee.referee_study(
            table,
            {"single models": (line.costs, line.losses)},
            known=known,
            normalisation="raw",
            num_resamples=4,
            num_starts=8,
        )
        self.assertIs(found.countings["num_params"].laws["pool"], one)
        # The table's own dates count where no others are given.
        self.assertEqual(by_age.call_args.args[1], table.text_dates)
        self.assertIsNone(found.ages)
        self.assertIn("5 points", found.reasons["tokens"])
        numbers = merged(report.referee_sections(found)).numbers
        self.assertSameElements(
            numbers,
            [
                "answer",
                "extrapolation",
                "countings",
                "countings_not_known",
                "training_tokens",
            ],
        )
        items = report.referee_items(
            table, cost="num_params", normalisation="raw", flags={}
        )
        chapters = merged(report.referee_chapters(found, items)).numbers
        self.assertSameElements(
            chapters, ["answer", "sensitivity", "checklist"]
        )
        page = document.page_of(json.loads(json.dumps(result.plain(chapters))))
        for words in (
            "The answer",
            "Laws for referees",
            "The referee&#x27;s page",
            "On how many tokens was each trained?",
            "compare_systems --routers=all",
        ):
            self.assertIn(words, page.replace("'", "&#x27;"))
        alone = found._replace(
            countings={"num_params": found.countings["num_params"]}, reasons={}
        )
        numbers = merged(report.referee_sections(alone)).numbers
        self.assertSameElements(numbers, ["answer", "extrapolation"])


if __name__ == "__main__":
    absltest.main()
