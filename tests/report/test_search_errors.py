"""The comparison of searches: its numbers are those of the searches."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from mmc_jax import frontier, report, synthetic
from mmc_jax.frontier.generalisation import synthetic_pools


def written(out, **asked):
    """Returns the sentences of the comparison."""
    rows = frontier.kept_search_errors(out / "cases.jsonl", **asked)
    return report.write_sections(
        out, [report.search_errors_section(rows)], flags={}
    )


class SearchErrorsTest(absltest.TestCase):
    def test_a_pool(self):
        row = frontier.search_errors(8, 1000, 0.1, 0, 500)
        drawn = synthetic.pool(8, 1500, 0.1)
        losses, costs = drawn.losses[:, :1000], drawn.costs
        exact = frontier.exhaustive(losses, costs)
        self.assertEqual(row["num_points"], len(exact.costs))
        self.assertEqual(row["num_proven"], row["num_points"])
        for name, polish in (("pruned", False), ("polished", True)):
            found = frontier.pruned(losses, costs, polish=polish)
            self.assertEqual(
                row[name], frontier.search_error(found, exact)._asdict()
            )
        self.assertEqual(
            row["share_non_dominated_on_new_texts"],
            frontier.held_out(exact.masks, drawn.losses[:, 1000:], costs).share,
        )

    def test_a_pool_that_is_too_large_for_all_subsets(self):
        row = frontier.search_errors(18, 40, 0.1, 0, 0)
        drawn = synthetic.pool(18, 40, 0.1)
        # 2^18 subsets can still be searched, to compare.
        exact = frontier.exhaustive(drawn.losses, drawn.costs)
        self.assertEqual(row["num_points"], len(exact.costs))
        self.assertEqual(row["num_proven"], len(exact.costs))
        found = frontier.pruned(drawn.losses, drawn.costs)
        self.assertEqual(
            row["pruned"], frontier.search_error(found, exact)._asdict()
        )

    def test_what_is_not_proven_does_not_count(self):
        out = pathlib.Path(tempfile.mkdtemp())
        asked = {
            "cases": [(18, 40, 0.1, 0)],
            "num_new_texts": 0,
            "time_limit": 0,
        }
        with self.subTest("some points are proven"):
            words = written(out, **asked)
            (row,) = json.loads((out / "result.json").read_text())["cases"]
            self.assertBetween(row["num_proven"], 1, row["num_points"] - 1)
            self.assertEqual(row["pruned"]["num_points"], row["num_proven"])
            self.assertIn("at the cost of none of them more than", words)
        drawn = synthetic.pool(18, 40, 0.1)
        root = frontier.certified(drawn.losses, drawn.costs, time_limit=0)
        with (
            self.subTest("none is"),
            absltest.mock.patch.object(
                synthetic_pools,
                "certified",
                return_value=root._replace(proven=root.proven & False),
            ),
            self.assertRaisesRegex(
                ValueError, "18 models on 40 texts no point is proven within 0"
            ),
        ):
            frontier.search_errors(18, 40, 0.1, 0, 0, time_limit=0)

    def test_writes_what_it_found_and_goes_on(self):
        out = pathlib.Path(tempfile.mkdtemp())
        asked = {
            "cases": [
                (num_models, 10, noise, seed)
                for num_models in (3, 5)
                for noise in (0.03, 0.1)
                for seed in (0, 1)
            ],
            "num_new_texts": 0,
        }
        words = written(out, **asked)
        content = json.loads((out / "result.json").read_text())
        self.assertLen(content["cases"], 8)
        table = report.search_error_table(content["cases"]).splitlines()
        with self.subTest("a row for each kind of pool, of all its seeds"):
            self.assertLen(table, 2 + 4)
            cells = [cell.strip() for cell in table[2].split("|")]
            points = [row["num_points"] for row in content["cases"][:2]]
            self.assertEqual(
                cells[1:6], ["3", "10", "0.03", "2", str(sum(points))]
            )
        with self.subTest("the answer"):
            self.assertIn("at no budget more than", words)
            num_missed = sum(
                row["pruned"]["num_missed"] for row in content["cases"]
            )
            num_points = sum(row["num_points"] for row in content["cases"])
            self.assertIn(
                f"pruned: {num_missed:,} of {num_points:,} proven points", words
            )
        with self.subTest("a sentence a pool"):
            self.assertStartsWith(
                report.pool_sentence(content["cases"][0]),
                "3 models, 10 texts, noise 0.03, seed 0: ",
            )
        with (
            self.subTest("what is done is not done again"),
            absltest.mock.patch.object(
                synthetic_pools, "search_errors", side_effect=AssertionError
            ),
        ):
            self.assertEqual(written(out, **asked), words)


if __name__ == "__main__":
    absltest.main()
