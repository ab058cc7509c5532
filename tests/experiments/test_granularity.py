import dataclasses
import json
import pathlib
import tempfile

from absl.testing import absltest

from mmc_jax import scores
from tests import test_segments
from tests.experiments import programs


class GranularityTest(absltest.TestCase):
    """Programs that need the scores of tokens."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.table = test_segments.table_of_tokens(
            {"a": "It is <b> 3.14\n", "b": "fooBar or not\n"}, share=2.0
        )
        texts = dataclasses.replace(self.table.texts, texts=None)
        self.table = dataclasses.replace(self.table, texts=texts)
        lines = [
            json.dumps({"id": "a", "text": "It is <b> 3.14\n"}),
            json.dumps({"id": "b", "text": "fooBar or not\n"}),
        ]
        (self.folder / "texts.jsonl").write_text("\n".join(lines))

    def _run(self, program, table, *arguments):
        scores.write(table, self.folder / "scores")
        return programs.run_here(
            program,
            f"--scores={self.folder}/scores",
            f"--out={self.folder}/out",
            *arguments,
        )

    def test_whose_words(self):
        table = dataclasses.replace(
            self.table,
            texts=dataclasses.replace(self.table.texts, sha256=("", "")),
        )
        done = self._run(
            "experiments.show_winners",
            table,
            f"--corpus={self.folder}/texts.jsonl",
            "--shown_text=a",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("named thing", done.stdout)
        page = (self.folder / "out" / "text.html").read_text()
        self.assertIn("&lt;b", page.replace("&lt;</span>", "&lt;b"))
        self.assertNotIn("<b>", page)

    def test_without_tokens(self):
        done = self._run(
            "experiments.measure_granularity",
            dataclasses.replace(self.table, tokens=None),
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("'m0': its tokens were not kept", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    absltest.main()
