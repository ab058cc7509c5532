"""The programs of diversity, from a CSV file to a result folder."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import importers, scores
from tests import left_out
from tests.experiments.programs import csv_files, run, run_here


def _files():
    """A CSV of 6 models in 2 families and 2 kinds, texts of 2 domains."""
    rng = np.random.default_rng(1)
    size = np.arange(6)
    losses = np.exp(-0.3 * size) + 2 + rng.uniform(0, 1, (40, 6))
    folder = csv_files(
        losses.T,
        7 * 3**size,
        kind=["base"] * 4 + ["instruct"] * 2,
        price=size + 1,
    )
    return folder, losses.T


class ProgramsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def setUp(self):
        super().setUp()
        self.folder, self.losses = _files()

    def _result(self, program, *arguments):
        done = run_here(
            f"experiments.{program}",
            f"--csv={self.folder}/scores.csv",
            f"--models={self.folder}/models.csv",
            "--text_id=id",
            "--domain=kind",
            "--normalisation=raw",
            f"--out={self.folder}/out",
            *arguments,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads((self.folder / "out/result.json").read_text())

    def test_measure_diversity_of_a_selection(self):
        numbers = self._result(
            "measure_diversity",
            "--only_kind=base",
            "--only_domains=a",
            "--cost=price",
            "--num_resamples=5",
        )
        self.assertEqual(
            [model["name"] for model in numbers["models"]],
            ["m0", "m1", "m2", "m3"],
        )
        self.assertAlmostEqual(
            numbers["loss_of_all_models"],
            self.losses[:4, ::2].min(axis=0).mean(),
            places=12,
        )
        self.assertEqual(numbers["cost"], "price")

    def test_diagnose_pool(self):
        numbers = self._result("diagnose_pool", "--redundant_share=0.2")
        self.assertEqual(numbers["findings"][0]["about"], "gain")

    def test_compare_systems(self):
        numbers = self._result(
            "compare_systems",
            "--value=nll_nats",
            "--sum_by_domain",
            "--by_length",
            "--method=exhaustive",
        )
        self.assertEqual(numbers["num_texts"], 2)
        sums = self.losses.reshape(6, 20, 2).sum(axis=1)
        self.assertAlmostEqual(
            numbers["systems"][0]["oracle_nats"], sums.min(axis=0).mean()
        )
        rows = [one["mean_rows"] for one in numbers["lengths"]]
        self.assertEqual(rows[0], 1)
        self.assertEqual(rows[-1], 20)

    def test_compare_systems_refuses(self):
        done = run(
            "experiments.compare_systems",
            f"--csv={self.folder}/scores.csv",
            f"--models={self.folder}/models.csv",
            "--text_id=id",
            f"--out={self.folder}/out",
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("--value=nll_nats if these are", done.stderr)
        done = run(
            "experiments.compare_systems",
            f"--csv={self.folder}/scores.csv",
            f"--models={self.folder}/models.csv",
            "--text_id=id",
            "--sum_by_domain",
            f"--out={self.folder}/out",
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("--domain names the column", done.stderr)

    def test_measure_optimism(self):
        numbers = self._result(
            "measure_optimism", "--num_texts=8", "--num_draws=2"
        )
        self.assertEqual(numbers["num_texts"], [8])
        self.assertLen(numbers["share"], 1)

    def test_compare_pair(self):
        numbers = self._result(
            "compare_pair", "--pair=m2,m3", "--num_resamples=5"
        )
        self.assertEqual(numbers["nearest"], "m4")

    def test_trace_subsets(self):
        numbers = self._result("trace_subsets", "--only_models=m5,m0,m2")
        self.assertLen(numbers["subsets"], 7)

    def test_compare_families_by_domain(self):
        numbers = self._result(
            "compare_families",
            "--each_domain",
            "--sizes=2",
            "--num_resamples=4",
            "--num_splits=1",
            "--group_by=kind",
            "--cost=price",
        )
        self.assertEqual(list(numbers["parts"]), ["all texts", "a", "b"])
        self.assertEqual(numbers["parts"]["b"]["num_texts"], 20)
        self.assertEqual(list(numbers["families"]), ["base", "instruct"])
        self.assertEqual(list(numbers["parts"]["a"]["comparisons"]), ["2"])

    def test_compare_families_on_another_corpus(self):
        table = importers.csv(
            self.folder / "scores.csv",
            self.folder / "models.csv",
            text_id="id",
            domain="kind",
        )
        other = self.folder / "other"
        scores.write(table.select(texts=np.arange(40) < 30), other)
        with left_out.figures():
            numbers = self._result(
                "compare_families",
                f"--more_scores={other}",
                "--only_models=m0,m1,m2,m3",
                "--sizes=2",
                "--num_resamples=4",
                "--num_splits=1",
            )
        parts = numbers["parts"]
        self.assertEqual(list(parts), ["all texts", "other"])
        self.assertEqual(parts["other"]["num_texts"], 30)
        self.assertAlmostEqual(
            parts["other"]["frontiers"]["single models"][-1]["loss"],
            self.losses[:4, :30].mean(axis=1).min(),
            places=12,
        )
        self.assertLen(numbers["in_all_parts"], 5)

    def test_bad_flags(self):
        for program, argument, message in (
            ("compare_pair", "--pair=m1", "--pair takes two names"),
            ("compare_families", "--sizes=1", "--sizes takes numbers above 1"),
        ):
            failed = run(
                f"experiments.{program}", "--scores=s", "--out=o", argument
            )
            self.assertNotEqual(failed.returncode, 0)
            self.assertIn(message, failed.stdout + failed.stderr)

    def test_validate_tokenization_needs_tokens(self):
        failed = run(
            "experiments.validate_tokenization",
            f"--csv={self.folder}/scores.csv",
            f"--models={self.folder}/models.csv",
            "--text_id=id",
            "--pair=m0,m1",
            f"--out={self.folder}/out",
        )
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, "error: nats_per_token needs num_tok")


if __name__ == "__main__":
    absltest.main()
