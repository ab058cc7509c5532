"""The benchmark of large tables, on a tiny one."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from experiments.benchmarks import scale
from mmc_jax import scores


class BenchmarkScaleTest(absltest.TestCase):
    def test_runs_a_program_on_a_table_that_it_writes(self):
        out = pathlib.Path(tempfile.mkdtemp())
        scale.write(
            {"3x4-equal": scale.Case(3, 4, has_equal_costs=True)},
            str(out),
            programs=["measure_diversity"],
            flags={},
        )
        (run,) = json.loads((out / "result.json").read_text())["runs"]
        self.assertEqual(run["exit_code"], 0, run["last_words"])
        self.assertEqual(run["program"], "measure_diversity")
        self.assertGreater(run["peak_bytes"], 2**20)
        self.assertLessEqual(run["longest_silence"], run["seconds"])
        self.assertGreater(run["processor_seconds"], 0)
        table = scores.open(out / "3x4-equal" / "scores")
        self.assertEqual(table.nll_nats.shape, (3, 4))
        self.assertLen(set(table.costs("num_params").tolist()), 1)

    def test_a_failure_is_shown_with_its_last_words(self):
        run = scale.ran("trace_frontier", ["--scores=nowhere", "--out=out"])
        self.assertEqual(run.exit_code, 1)
        shown = scale.sentence("1x1", run)
        self.assertIn("failed (1)", shown)
        self.assertIn("nowhere: no such file or folder", shown)

    def test_a_certificate_is_written_before_it_is_checked(self):
        out = pathlib.Path("out")
        chosen = [
            [name for name, _ in scale.programs_of(["--csv=a"], out, wanted)]
            for wanted in (["trace_frontier"], ["check_certificate"])
        ]
        self.assertEqual(chosen[0], ["trace_frontier"])
        self.assertEqual(chosen[1], ["trace_frontier", "check_certificate"])


if __name__ == "__main__":
    absltest.main()
