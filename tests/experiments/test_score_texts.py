"""`score_texts`, from its command line to its exit code."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

from mmc_jax import scores
from tests.scoring import checkpoints

_ROOT = pathlib.Path(__file__).parents[2]


class ScoreTextsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        lines = [json.dumps(dict(text=f"Text {i}.")) for i in range(9)]
        (self.folder / "texts.jsonl").write_text("\n".join(lines))

    def _run(self, *more):
        environment = dict(os.environ)
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        return subprocess.run(
            [
                *(sys.executable, "-m", "experiments.score_texts"),
                f"--corpus={self.folder}/texts.jsonl",
                f"--pool={self.folder}/pool.yaml",
                f"--out={self.folder}/scores",
                *more,
            ],
            capture_output=True,
            text=True,
            cwd=_ROOT,
            env={
                **environment,
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": "4",
                "MMC_CACHE_DIR": str(self.folder / "cache"),
            },
            check=False,
        )

    def test_a_model_that_fails(self):
        """The others are scored and shown; it is named, and why."""
        checkpoints.make(self.folder / "tiny", "llama")
        (self.folder / "broken").mkdir()
        (self.folder / "pool.yaml").write_text(
            "models:\n"
            "- {name: broken, checkpoint: broken, family: a}\n"
            "- {name: tiny, checkpoint: tiny, family: a}\n"
        )
        run = self._run("--mesh=2x2")
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertRegex(run.stdout, r"(?m)^tiny +\d+\.\d+ +100.0%$")
        self.assertRegex(
            run.stderr,
            "error: 1 of 2 models could not be scored: broken: "
            r"FileNotFoundError: .*no config\.json",
        )
        self.assertNotIn("Traceback", run.stderr)
        table = scores.open(self.folder / "scores")
        self.assertEqual(
            table.models[0].provenance["mesh"], {"data": 2, "model": 2}
        )
        with self.subTest("a compilation cache"):
            self.assertTrue((self.folder / "cache" / "xla").is_dir())


if __name__ == "__main__":
    absltest.main()
