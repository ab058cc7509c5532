import contextlib
import io
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import tokenizers
from absl.testing import absltest
from tokenizers import normalizers, pre_tokenizers

from mmc_jax import pool, training
from mmc_jax.scoring import tokenizer_checks

_SEPARATOR = "<|endoftext|>"


class FoldersTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _write(self, name: str, **changes) -> pathlib.Path:
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        for attribute, value in changes.items():
            setattr(tokenizer, attribute, value)
        folder = self.folder / name
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        return folder


class CheckTest(FoldersTest):
    def test_what_is_lost_is_listed(self):
        whole = self._write("whole")
        lower = self._write("lower", normalizer=normalizers.Lowercase())
        found = list(tokenizer_checks.check([whole, lower, whole]))
        self.assertEqual(found[0], ([], None))
        self.assertIn("MixedCase ALLCAPS", found[1].lost_texts)
        self.assertNotIn("plain words", found[1].lost_texts)
        self.assertIsNone(found[1].error)
        self.assertEqual(found[2], found[0])

    def test_one_that_cannot_be_read_costs_no_other(self):
        empty = self.folder / "empty"
        empty.mkdir()
        found = list(tokenizer_checks.check([empty, self._write("whole")]))
        self.assertRegex(found[0].error, f"^{empty}: no tokenizer; ")
        self.assertEqual(found[1], ([], None))

    def test_one_that_grows_without_end_costs_no_other(self):
        # Each letter becomes a million letters, forty times over.
        bomb = self._write("bomb")
        file = bomb / "tokenizer.json"
        content = json.loads(file.read_text())
        grow = {
            "type": "Replace",
            "pattern": {"String": "a"},
            "content": 2**20 * "a",
        }
        content["normalizer"] = {"type": "Sequence", "normalizers": 40 * [grow]}
        file.write_text(json.dumps(content))
        found = list(
            tokenizer_checks.check([bomb, self._write("whole")], seconds=10)
        )
        self.assertRegex(found[0].error, "in 10 seconds|ended the process")
        self.assertEqual(found[1], ([], None))

    def test_a_pattern_that_never_comes_back_costs_no_other(self):
        slow = self._write(
            "slow",
            pre_tokenizer=pre_tokenizers.Split(
                tokenizers.Regex(r"(( ?[^x]+)+)+$|\Gx"), "isolated"
            ),
        )
        found = list(
            tokenizer_checks.check([slow, self._write("whole")], seconds=10)
        )
        self.assertIsNotNone(found[0].error or found[0].lost_texts)
        self.assertEqual(found[1], ([], None))

    def test_one_that_nobody_waits_for_ends(self):
        """Where a run is killed, what it tries must not go on for ever."""
        script = (
            "import collections\n"
            "from mmc_jax.scoring import tokenizer_checks as checks\n"
            "checks.SECONDS = 0.0\n"
            "checks._checked = lambda _: collections.deque(iter(int, 1), 0)\n"
            "checks._main()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "folder"], check=False
        )
        self.assertEqual(-done.returncode, signal.SIGXCPU)

    def test_no_process_without_checkpoints(self):
        with mock.patch.object(tokenizer_checks.subprocess, "Popen") as started:
            self.assertEqual(list(tokenizer_checks.check([])), [])
        started.assert_not_called()


class PoolTest(FoldersTest):
    def test_what_a_pool_s_tokenizers_lose(self):
        folders = {
            "fine": self._write("fine"),
            "lower": self._write("lower", normalizer=normalizers.Lowercase()),
            "empty": self.folder / "no tokenizer",
            "gone": self.folder / "gone",
        }
        folders["empty"].mkdir()
        for name in ("fine", "lower", "empty"):
            (folders[name] / "config.json").write_text("{}")
        models = [
            pool.Model(name, str(folder), None, "family")
            for name, folder in folders.items()
        ]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            refused = tokenizer_checks.refusals(models)
        self.assertEqual(list(refused), ["empty"])
        self.assertRegex(
            said.getvalue(), r"\Alower: .* not give back \d+ of .*\n\Z"
        )


if __name__ == "__main__":
    absltest.main()
