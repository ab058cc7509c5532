"""The comparison of searches: its numbers are those of the searches."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from mmc_jax import frontier, report, synthetic
from mmc_jax.report import pruning


class PruningTest(absltest.TestCase):
    def test_a_pool(self):
        row = report.compared(8, 1000, 0.1, 0, 500)
        drawn = synthetic.pool(8, 1500, 0.1)
        losses, costs = drawn.losses[:, :1000], drawn.costs
        exact = frontier.exhaustive(losses, costs)
        self.assertEqual(row["num_points"], len(exact.costs))
        self.assertEqual(row["num_proven"], row["num_points"])
        for name, polish in (("pruned", False), ("polished", True)):
            found = frontier.pruned(losses, costs, polish=polish)
            self.assertEqual(row[name], frontier.missed(found, exact)._asdict())
        self.assertEqual(
            row["share_non_dominated_on_new_texts"],
            frontier.held_out(exact.masks, drawn.losses[:, 1000:], costs).share,
        )

    def test_writes_what_it_found_and_goes_on(self):
        out = pathlib.Path(tempfile.mkdtemp())
        asked = {
            "flags": {"seed": 3},
            "num_models": [3, 5],
            "num_texts": [10],
            "noises": [0.03, 0.1],
            "num_seeds": 2,
            "num_new_texts": 0,
        }
        words = report.write_pruning(out, **asked)
        content = json.loads((out / "result.json").read_text())
        self.assertLen(content["cases"], 8)
        table = (out / "table.md").read_text().splitlines()
        with self.subTest("a row for each kind of pool, of all its seeds"):
            self.assertLen(table, 2 + 4)
            cells = [cell.strip() for cell in table[2].split("|")]
            points = [row["num_points"] for row in content["cases"][:2]]
            self.assertEqual(
                cells[1:6], ["3", "10", "0.03", "2", str(sum(points))]
            )
        with self.subTest("the answer"):
            num_missed = sum(
                row["pruned"]["num_missed"] for row in content["cases"]
            )
            num_points = sum(row["num_points"] for row in content["cases"])
            self.assertIn(
                f"pruned: {num_missed:,} of {num_points:,} proven points", words
            )
        with (
            self.subTest("what is done is not done again"),
            absltest.mock.patch.object(
                pruning, "compared", side_effect=AssertionError
            ),
        ):
            self.assertEqual(report.write_pruning(out, **asked), words)


if __name__ == "__main__":
    absltest.main()
