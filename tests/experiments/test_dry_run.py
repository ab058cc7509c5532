"""`score_texts --dry_run`, from its command line to what it prints."""

import json
import pathlib
import tempfile

import pytest
from absl.testing import absltest

from tests.experiments.programs import run
from tests.scoring import checkpoints

pytestmark = pytest.mark.full_optimisation


class DryRunTest(absltest.TestCase):
    def test_tells_and_scores_nothing(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        checkpoints.make(folder / "tiny", "gpt2")
        (folder / "broken").mkdir()
        (folder / "pool.yaml").write_text(
            "models:\n"
            "- {name: tiny, checkpoint: tiny, family: a}\n"
            "- {name: broken, checkpoint: broken, family: a}\n"
        )
        lines = [json.dumps(dict(text=f"Text {i}.")) for i in range(9)]
        (folder / "texts.jsonl").write_text("\n".join(lines))
        done = run(
            "experiments.score_texts",
            f"--corpus={folder}/texts.jsonl",
            f"--pool={folder}/pool.yaml",
            f"--out={folder}/out",
            "--dry_run",
        )
        # Of the second model there is no plan.
        self.assertEqual(done.returncode, 1, done.stderr)
        printed = done.stdout.splitlines()
        self.assertRegex(printed[1], r"^tiny .*%.* 0:00:\d\d$")
        self.assertRegex(printed[2], r"^  batches: 1 of \d+x64$")
        self.assertIn("9 of 9 texts", printed[3])
        self.assertIn("broken: ", printed[4])
        self.assertIn("no config.json", printed[4])
        self.assertFalse((folder / "out").exists())
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    absltest.main()
