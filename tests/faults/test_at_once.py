"""Three scorings at once into one folder: one scores, and the others say so."""

import concurrent.futures
import pathlib
import tempfile
import threading
from unittest import mock

from absl.testing import absltest

from mmc_jax import scores
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


if __name__ == "__main__":
    absltest.main()
