"""The result folders of diversity: numbers of the library, figures, words."""

import dataclasses
import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import diversity, frontier, report, scores, studies
from mmc_jax.report.diversity import gain_numbers
from tests.diversity.test_findings import table_of
from tests.frontier import brute_force


def _table(num_models=6, families="aabbcc", costs=None, seed=0, **options):
    losses, given = brute_force.pool(num_models, 60, seed)
    table = table_of(losses, families=families[:num_models], **options)
    costs = given if costs is None else costs
    return dataclasses.replace(
        table,
        models=tuple(
            dataclasses.replace(model, costs={"num_params": float(cost)})
            for model, cost in zip(table.models, costs, strict=True)
        ),
    )


class _FolderTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.out = pathlib.Path(tempfile.mkdtemp())

    def _written(self, sections):
        return report.write_sections(self.out, sections, flags={"a": 1})

    def _numbers(self):
        return json.loads((self.out / "result.json").read_text())

    def _check_figures(self, *names):
        for name in names:
            png = (self.out / f"{name}.png").read_bytes()
            self.assertStartsWith(png, b"\x89PNG")
            self.assertIn("</svg>", (self.out / f"{name}.svg").read_text())


class DiversityTest(_FolderTest):
    def test_numbers_are_the_library_s(self):
        table = _table()
        losses, costs = table.losses("raw"), table.costs()
        words = self._written(
            report.diversity_sections(
                diversity.summary(table, normalisation="raw", num_resamples=20)
            )
        )
        numbers = self._numbers()
        self.assertEqual(numbers["flags"], {"a": 1})
        self.assertEqual(
            [model["shapley"] for model in numbers["models"]],
            diversity.shapley(losses).values.tolist(),
        )
        gains = diversity.pair_gains(losses)
        top = numbers["largest"]["pair_gains"][0]
        self.assertAlmostEqual(top["bonus"], gains.max(), places=12)
        i, j = (int(name[1:]) for name in top["pair"])
        self.assertEqual(gains[i, j], gains.max())
        at_cost = diversity.equal_cost_gains(losses, costs)
        top = numbers["largest"]["equal_cost_gains"][0]
        self.assertAlmostEqual(top["bonus"], np.nanmax(at_cost), places=12)
        self.assertEqual(
            numbers["means_over_pairs"]["pair_gains"]["within"],
            diversity.group_means(gains, "aabbcc").within,
        )
        with np.load(self.out / "arrays.npz") as arrays:
            np.testing.assert_array_equal(arrays["equal_cost_gains"], at_cost)
        self._check_figures(
            "pair_gains",
            "residual_correlations",
            "equal_cost_gains",
            "contributions",
        )
        self.assertIn(f"m{i}", words)

    def test_without_costs_and_families(self):
        losses, _ = brute_force.pool(4, 30, 1)
        words = self._written(
            report.diversity_sections(
                diversity.summary(
                    table_of(losses), normalisation="raw", num_resamples=5
                )
            )
        )
        self.assertIn("no cost 'num_params'", words)
        self.assertIn("models without a family: m0, m1, m2, m3", words)
        self.assertNotIn("equal_cost_gains", self._numbers()["largest"])
        self.assertFalse((self.out / "equal_cost_gains.png").exists())

    def test_one_model(self):
        with self.assertRaisesRegex(ValueError, "1 model has no diversity"):
            diversity.summary(table_of([[1.0, 2.0]]), normalisation="raw")

    def test_one_text_has_no_standard_error(self):
        found = diversity.summary(
            table_of([[3.0], [2.0]], families=["a", "b"]), normalisation="raw"
        )
        words = self._written(report.diversity_sections(found))
        self.assertIn("one text has no standard error", words)
        self.assertIn("no pair gains anything", words)
        self.assertNotIn("nan", words)
        self.assertIsNone(
            self._numbers()["models"][0]["shapley_standard_error"]
        )


class DiagnosisTest(_FolderTest):
    def test_findings(self):
        losses, _ = brute_force.pool(4, 30, 2)
        losses[1] = losses.min(axis=0) - 1
        losses[3] = losses[0]
        table = table_of(losses, families=["a", "b", "c", "d"])
        words = self._written(
            [
                report.diagnosis_section(
                    diversity.diagnosis(table, normalisation="raw"),
                    diversity.elimination(table.losses("raw")),
                    [model.name for model in table.models],
                    "nats",
                )
            ]
        )
        self.assertIn("winner: m1 is the best on every", words)
        self.assertIn("under the families a and d", words)
        findings = self._numbers()["findings"]
        self.assertEqual(
            [finding["about"] for finding in findings],
            [
                finding.about
                for finding in diversity.diagnosis(table, normalisation="raw")
            ],
        )
        self.assertEqual(self._numbers()["elimination"]["models"][-1], "m1")
        self._check_figures("elimination")


class OptimismTest(_FolderTest):
    def _words(self, found):
        return self._written(
            [
                report.optimism_section(
                    found, unit="nats", cost="price", num_samples=2
                )
            ]
        )

    def test_numbers_are_the_library_s(self):
        table = _table(4)
        found = diversity.optimism(
            table.losses("raw"),
            table.costs(),
            search=frontier.exhaustive,
            num_texts=[5, 30],
            num_samples=2,
        )
        words = self._words(found)
        self.assertEqual(
            self._numbers()["gain_held_out"], found.gain_held_out.tolist()
        )
        self.assertIn(f"{found.share[1]:.1%}", words)
        self._check_figures("optimism")

    def test_equal_losses(self):
        found = diversity.optimism(
            np.full((3, 20), 2.0), np.arange(1.0, 4.0), num_samples=2
        )
        words = self._words(found)
        self.assertIn("no gain", words)
        self.assertNotIn("nan", words)


class FirstExperimentsTest(_FolderTest):
    def test_token_effect(self):
        losses, _ = brute_force.pool(2, 40, 3)
        table = table_of(8 * losses, num_tokens=[2, 5], num_chars=10)
        effect = diversity.token_effect(table, ("m1", "m0"), num_resamples=50)
        words = self._written(
            [report.token_effect_section(effect, ("m1", "m0"), "text_length")]
        )
        numbers = self._numbers()
        self.assertEqual(numbers["share_turned"], effect.share_turned)
        self.assertEqual(
            numbers["advantage_fair"], gain_numbers(effect.advantage_fair)
        )
        self.assertIn("m1 leads by", words)
        self._check_figures("tokenization")

    def test_pair(self):
        table = _table(4, families="abca", costs=[3, 5, 7, 10])
        options = {"normalisation": "raw", "num_resamples": 50}
        found = diversity.mixed_pair_test(table, ("m0", "m1"), **options)
        self.assertEqual(
            found,
            diversity.pair_test(
                table.losses("raw"), table.costs(), (0, 1), num_resamples=50
            ),
        )
        words = self._written(
            [
                report.pair_test_section(
                    found,
                    ("m0", "m1"),
                    "m2",
                    normalisation="raw",
                    cost="num_params",
                )
            ]
        )
        numbers = self._numbers()
        self.assertEqual(found.nearest, 2)
        self.assertEqual(numbers["nearest"], "m2")
        self.assertEqual(
            numbers["against_nearest"], gain_numbers(found.against_nearest)
        )
        self.assertIn("nearest single model, m2", words)
        self._check_figures("pair")
        with self.assertRaisesRegex(ValueError, "both of the family 'a'"):
            diversity.mixed_pair_test(table, ("m0", "m3"), **options)

    def test_all_subsets(self):
        table = _table(5)
        words = self._written(
            report.all_subsets_sections(
                studies.every_subset(table, normalisation="raw")
            )
        )
        subsets = self._numbers()["subsets"]
        self.assertLen(subsets, 31)
        expected = brute_force.frontier(table.losses("raw"), table.costs())
        found = [
            tuple(int(name[1:]) for name in subset["models"])
            for subset in subsets
            if subset["on_frontier"]
        ]
        self.assertEqual(found, [subset for _, _, subset in expected])
        for subset in subsets:
            models = [int(name[1:]) for name in subset["models"]]
            self.assertAlmostEqual(
                subset["loss"],
                table.losses("raw")[models].min(axis=0).mean(),
                places=12,
            )
        self.assertIn(f"{len(expected)} of 31 subsets", words)
        self._check_figures("subsets")
        with self.assertRaisesRegex(ValueError, "11 models have 2,047"):
            studies.every_subset(_table(11, families="a" * 11))


class FamiliesTest(_FolderTest):
    def _tables(self) -> dict[str, scores.ScoreTable]:
        return {
            name: _table(costs=[1, 4, 1.1, 4.4, 1.3, 5.2], seed=seed)
            for name, seed in (("prose", 4), ("code", 5))
        }

    def test_parts(self):
        tables = self._tables()
        options = {"num_resamples": 20, "num_splits": 1}
        found = diversity.table_studies(
            tables, normalisation="raw", sizes=[2], **options
        )
        words = self._written(
            report.families_sections(
                found, tables, normalisation="raw", cost="num_params"
            )
        )
        numbers = self._numbers()
        for name, table in tables.items():
            expected = diversity.compare(
                table.losses("raw"),
                table.costs(),
                "aabbcc",
                size=2,
                **options,
            )
            compared = numbers["parts"][name]["comparisons"]["2"]
            self.assertEqual(
                compared["held_out"], expected.held_out.value.tolist()
            )
            self.assertEqual(compared["low"], expected.held_out.low.tolist())
            self.assertIn(f"{name}, 60 texts", words)
        self.assertEqual(
            numbers["families"],
            {"a": ["m0", "m1"], "b": ["m2", "m3"], "c": ["m4", "m5"]},
        )
        for claim, verdict in numbers["in_all_parts"].items():
            self.assertRegex(words, f"{claim[:20]}.* {verdict}")
        self._check_figures("frontiers", "differences", "conclusions")

    def test_models_without_a_family(self):
        tables = {"all": _table(3, families=["a", "", "b"])}
        with self.assertRaisesRegex(ValueError, "all: models without.*: m1;"):
            diversity.table_studies(tables, normalisation="raw")


if __name__ == "__main__":
    absltest.main()
