"""What a report says of other texts: the library's numbers, words, a figure."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier, report, studies
from tests import left_out
from tests.report.test_report import falling_table


def written(checks, **options):
    """Returns result.json, the arrays and the words of a study."""
    out = pathlib.Path(tempfile.mkdtemp())
    found = studies.study(falling_table(), checks=checks, **options)
    words = report.write_sections(out, report.study_sections(found), flags={})
    numbers = json.loads((out / "result.json").read_text())
    return numbers, np.load(out / "arrays.npz"), words, out


class GeneralisationTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_nothing_is_asked_for(self):
        numbers, arrays, words, out = written(studies.Checks())
        self.assertEqual(numbers, numbers | written(studies.Checks())[0])
        for key in ("held_out", "cross_fitted", "all_models", "co_failures"):
            self.assertNotIn(key, numbers)
        self.assertNotIn("held_out_losses", arrays)
        self.assertNotIn("other", words)
        self.assertFalse((out / "generalisation.png").exists())

    def test_all_of_it(self):
        checks = studies.Checks(
            held_out=0.25,
            num_splits=3,
            num_resamples=20,
            num_searches=4,
            fail_above=3.6,
            seed=2,
        )
        numbers, arrays, words, out = written(checks, method="exhaustive")
        table = falling_table()
        losses, costs = table.losses("text_length"), table.costs("num_params")
        order = np.random.default_rng(2).permutation(40)
        kept = np.isin(np.arange(40), order[:10])
        chose = losses[:, ~kept]
        line = frontier.exhaustive(chose, costs)
        with self.subTest("the search does not see the texts kept away"):
            self.assertEqual(numbers["num_texts"], 30)
            np.testing.assert_array_equal(arrays["frontier_masks"], line.masks)
            np.testing.assert_array_equal(
                arrays["frontier_losses"], line.losses
            )
        with self.subTest("its subsets on them"):
            found = frontier.held_out(line.masks, losses[:, kept], costs)
            self.assertEqual(
                numbers["held_out"],
                {"num_texts": 10, "share_non_dominated": found.share},
            )
            self.assertEqual(
                [point["held_out_loss"] for point in numbers["frontier"]],
                found.losses.tolist(),
            )
            self.assertIn("on 10 other texts", words)
        with self.subTest("halves"):
            halves = frontier.cross_fitted(
                chose,
                costs,
                search=frontier.exhaustive,
                num_splits=3,
                seed=2,
                budgets=line.costs,
            )
            for field in ("budget", "in_sample", "held_out", "optimism_std"):
                self.assertEqual(
                    [row[field] for row in numbers["cross_fitted"]["budgets"]],
                    getattr(
                        halves, "budgets" if field == "budget" else field
                    ).tolist(),
                )
            optimism = (halves.held_out - halves.in_sample).mean()
            self.assertIn(f"selection bias is {optimism:.4f}", words)
        with self.subTest("bands and the floor"):
            for search, number, prefix in (
                (None, 20, "loss"),
                (frontier.exhaustive, 4, "searched_loss"),
            ):
                band = frontier.bootstrap_band(
                    chose,
                    costs,
                    line.masks,
                    search=search,
                    num_resamples=number,
                    seed=2,
                )
                for end in ("low", "high"):
                    self.assertEqual(
                        [p[f"{prefix}_{end}"] for p in numbers["frontier"]],
                        getattr(band, end).tolist(),
                    )
                if search is None:
                    self.assertEqual(
                        numbers["all_models"],
                        {
                            "loss": band.all_models.value,
                            "low": band.all_models.low,
                            "high": band.all_models.high,
                            "level": 0.95,
                        },
                    )
            self.assertEqual(
                numbers["all_models"]["loss"], numbers["loss_of_all_models"]
            )
        with self.subTest("co-failures"):
            fails = frontier.co_failures(chose, 3.6)
            self.assertBetween(fails.num_failures, 1, 29)
            self.assertEqual(
                numbers["co_failures"]["num_failures"], fails.num_failures
            )
            self.assertEqual(numbers["co_failures"]["high"], fails.high)
            self.assertIn(f"on {fails.num_failures} of 30 texts", words)
        with self.subTest("the figure"):
            self.assertGreater(
                (out / "generalisation.png").stat().st_size, 20_000
            )

    def test_domains_stay_together(self):
        with left_out.figures():
            numbers, *_ = written(studies.Checks(held_out=0.5, by_domain=True))
        # Of two domains of 20 texts one is kept.
        self.assertEqual(numbers["num_texts"], 20)
        self.assertEqual(numbers["held_out"]["num_texts"], 20)

    @parameterized.parameters(
        (studies.Checks(held_out=1.0), "held_out is 1.0"),
        (studies.Checks(held_out=-0.1), "held_out is -0.1"),
        (studies.Checks(num_splits=-1), "num_splits is -1"),
    )
    def test_bad_checks(self, checks, message):
        with self.assertRaisesRegex(ValueError, message):
            written(checks)


if __name__ == "__main__":
    absltest.main()
