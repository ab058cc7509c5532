"""The quickstart: the law of published models before anything is scored."""

import json
import pathlib
import tempfile
from unittest import mock

from absl import flags
from absl.testing import absltest, flagsaver

from mmc_jax import scoring
from tests.experiments.programs import imported

quickstart = imported("quickstart")


class _Stopped(Exception):
    """Scoring would begin here."""


class QuickstartTest(absltest.TestCase):
    def test_published_models_come_first(self):
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        out = pathlib.Path(tempfile.mkdtemp())
        there = []

        def score(pool, texts, folder):
            there.extend(file.name for file in out.rglob("*.png"))
            raise _Stopped

        with (
            mock.patch.object(scoring, "score", score),
            flagsaver.flagsaver(out=str(out), num_texts_per_domain=1),
            self.assertRaises(_Stopped),
        ):
            quickstart.main()
        with self.subTest("their picture is there before a text is scored"):
            self.assertEqual(there, ["laws.png"])
        with self.subTest("its numbers too"):
            found = json.loads((out / "published/result.json").read_text())
            self.assertEqual(found["num_models"], 14)
            self.assertLess(
                found["laws"]["pool"]["L_inf"],
                found["laws"]["single"]["L_inf"],
            )


if __name__ == "__main__":
    absltest.main()
