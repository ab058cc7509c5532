import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, law

_ROOT = pathlib.Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )


class TraceAndFitTest(absltest.TestCase):
    def test_from_a_csv_to_a_law(self):
        """A CSV that any user could have gives frontier, law and figures."""
        folder = pathlib.Path(tempfile.mkdtemp())
        rng = np.random.default_rng(1)
        size = np.arange(5)
        losses = np.exp(-0.4 * size) + 2 + rng.uniform(0, 1, (30, 5))
        rows = ["id,kind,m0,m1,m2,m3,m4"]
        for i, row in enumerate(losses):
            rows.append(f"t{i},{'ab'[i % 2]}," + ",".join(map(str, row)))
        (folder / "scores.csv").write_text("\n".join(rows))
        rows = ["model,family,num_params"]
        rows += [f"m{m},{'xy'[m % 2]},{7 * 5**m}" for m in range(5)]
        (folder / "models.csv").write_text("\n".join(rows))

        traced = _run(
            "experiments.trace_frontier",
            f"--csv={folder}/scores.csv",
            f"--models={folder}/models.csv",
            "--text_id=id",
            "--domain=kind",
            "--normalisation=raw",
            "--method=exhaustive",
            f"--out={folder}/f",
        )
        self.assertEqual(traced.returncode, 0, traced.stderr)
        expected = frontier.exhaustive(losses.T, 7 * 5**size)
        result = json.loads((folder / "f/result.json").read_text())
        self.assertEqual(
            [point["cost"] for point in result["frontier"]],
            expected.costs.tolist(),
        )
        self.assertEqual(result["flags"]["method"], "exhaustive")
        self.assertTrue((folder / "f/domains.png").exists())

        fitted = _run(
            "experiments.fit_law",
            f"--points={folder}/f",
            "--huber_delta=0.01",
            f"--out={folder}/law",
        )
        self.assertEqual(fitted.returncode, 0, fitted.stderr)
        result = json.loads((folder / "law/result.json").read_text())
        fit = law.fit(expected.costs, expected.losses, delta=0.01)
        self.assertAlmostEqual(result["laws"]["pool"]["L_inf"], fit.L_inf)

    def test_bad_input_is_one_line(self):
        failed = _run(
            "experiments.trace_frontier",
            "--scores=/nowhere",
            "--out=/nowhere/out",
        )
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, r"^error: /nowhere.*")
        self.assertNotIn("Traceback", failed.stderr)

    def test_stray_arguments(self):
        failed = _run("experiments.fit_law", "points.csv")
        self.assertNotEqual(failed.returncode, 0)


if __name__ == "__main__":
    absltest.main()
