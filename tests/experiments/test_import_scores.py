"""Scores that others made: into a folder, out of it, and beside one another."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from experiments.benchmarks import import_speed
from mmc_jax import exporters
from tests.experiments import programs

_SCORES = "text_id,a-7b,b-13b\n007,1.5,2\nx,0.25,3\n"
_WITH_ORDERS = "text_id,a-7b,b\x07,\x1b[2J\n007,1.5,2,hm\nx,0.25,3,ha\n"


class ImportScoresTest(absltest.TestCase):
    def test_there_and_back(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = folder / "s.csv"
        (folder / "t.csv").write_text(_SCORES.replace("1.5", "2.5"))
        out = f"--out={folder}/out"
        path.write_text(_WITH_ORDERS)
        done = programs.run(
            "experiments.import_scores",
            f"--input={path}",
            "--value=raw",
            f"--out={folder}/other",
        )
        # Names give no orders to a terminal.
        self.assertIn("columns ignored: \\x1b[2J", done.stderr)
        self.assertIn("b\\x07", done.stdout)
        path.write_text(_SCORES)
        done = programs.run("experiments.import_scores", f"--input={path}", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn("say what its numbers are by --value", done.stderr)
        done = programs.run(
            "experiments.import_scores",
            f"--input={path}",
            "--value=nll_nats",
            "--guess_families",
            out,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"a-7b +a \(guessed\) +-")
        self.assertIn("2 models, 2 texts: nll_nats", done.stdout)
        done = programs.run(
            "experiments.export_scores",
            f"--scores={folder}/out",
            f"--file={folder}/e.jsonl",
        )
        self.assertIn("--value=nll_nats", done.stdout, done.stderr)
        self.assertEqual(
            json.loads((folder / "e.jsonl").read_text().splitlines()[0]),
            {"text_id": "007", "a-7b": 1.5, "b-13b": 2.0},
        )
        done = programs.run(
            "experiments.compare_scores",
            f"--a={folder}/out",
            f"--b={folder}/t.csv",
            "--value=nll_nats",
            f"--out={folder}/compared",
        )
        self.assertRegex(
            done.stdout,
            r"a-7b +0.5 +0.5 +1  1 -> 1\n"
            r"b-13b +0 +0 +0  2 -> 2\n"
            r" +1  007 \(a-7b\)\n",
            done.stderr,
        )
        result = json.loads((folder / "compared/result.json").read_text())
        self.assertIn("worst_texts", json.dumps(result))

    def test_benchmark(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with (
            absltest.mock.patch.object(import_speed, "KINDS", ("csv.gz",)),
            absltest.mock.patch.object(exporters, "LAYOUTS", ("long",)),
        ):
            (found,) = import_speed.runs(3, 5, pathlib.Path(folder, "files"))
        name, num_bytes, run = found
        self.assertEqual(name, "csv.gz, long")
        self.assertEqual(run.exit_code, 0, run.last_words)
        self.assertGreater(num_bytes, 0)
        self.assertIn("3 models, 5 texts: nll_nats", " ".join(run.last_words))


if __name__ == "__main__":
    absltest.main()
