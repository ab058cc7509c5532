"""Runs at once into one folder: one scores; results come one after another."""

import concurrent.futures
import json
import pathlib
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest

from mmc_jax import scores
from mmc_jax.report import result
from tests.faults import jobs


class AtOnceTest(absltest.TestCase):
    def test_three_scorings_into_one_folder(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        jobs.score_inputs(folder)
        others_are_over = threading.Event()
        append = scores.ModelWriter.append

        def wait_and_append(*arguments, **named):
            # The first is at work until both others have been turned away.
            others_are_over.wait(60)
            return append(*arguments, **named)

        def score(_):
            try:
                jobs.score(folder, folder / "out")
            except BlockingIOError as error:
                refused.append(str(error))
                if len(refused) == 2:
                    others_are_over.set()

        refused = []
        with (
            mock.patch.object(scores.ModelWriter, "append", wait_and_append),
            concurrent.futures.ThreadPoolExecutor(3) as threads,
        ):
            list(threads.map(score, range(3)))
        self.assertLen(refused, 2)
        for said in refused:
            self.assertRegex(said, "another run is scoring into this folder")
        found = jobs.scores_found(folder / "out")
        jobs.score(folder, folder / "alone")
        self.assertEqual(found, jobs.scores_found(folder / "alone"))

    def test_three_results_into_one_folder(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

        def write(run):
            result.write_result(
                folder,
                {"run": run},
                flags={},
                arrays={"run": np.full(100, run)},
                files={"run.txt": lambda path: path.write_text(str(run))},
            )

        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            list(threads.map(write, range(12)))
        result.check_file(folder / "run.txt")
        said = json.loads((folder / "result.json").read_text())["run"]
        self.assertEqual((folder / "run.txt").read_text(), str(said))
        self.assertEqual(result.read_arrays(folder)["run"][0], said)


if __name__ == "__main__":
    absltest.main()
