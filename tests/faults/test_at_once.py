"""Runs at once into one folder: one scores; results come one after another."""

import concurrent.futures
import json
import pathlib
import tempfile
import threading
import time
from unittest import mock

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, exporters, importers, report, scores
from mmc_jax.report import result
from mmc_jax.report.page import document
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

    def test_three_imports_into_one_folder(self):
        """Of tables that have the same models: one remains, and no mixture."""
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        texts = corpus.Corpus(
            ("t",), ("",), np.zeros(1, int), np.zeros(1, int), ("",), None
        )
        met = threading.Barrier(3)

        def write(value):
            table = scores.ScoreTable(
                [scores.ScoredModel(name) for name in "abcdefgh"],
                texts,
                np.full((8, 1), value),
                unit="raw",
            )
            met.wait(60)
            try:
                scores.write(table, path)
            except ValueError as error:
                refused.append(str(error))

        refused = []
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            list(threads.map(write, (1.0, 2.0, 3.0)))
        self.assertLen(refused, 2)
        for said in refused:
            self.assertIn("is there already, with other scores", said)
        self.assertLen(np.unique(scores.open(path).nll_nats), 1)

    def test_imports_into_a_folder_that_is_scored(self):
        path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        texts = corpus.Corpus(
            ("t",), ("",), np.zeros(1, int), np.zeros(1, int), ("",), None
        )
        table = scores.ScoreTable(
            [scores.ScoredModel("a")], texts, np.ones((1, 1)), unit="raw"
        )
        with (
            scores.locked(path, "scoring"),
            self.assertRaisesRegex(BlockingIOError, "another run is scoring"),
        ):
            scores.write(table, path)

    def test_three_exports_of_one_name(self):
        """Scores and models beside them are of one table."""
        path = pathlib.Path(tempfile.mkdtemp(), "s.csv")
        texts = corpus.Corpus(
            ("t",), ("",), np.zeros(1, int), np.zeros(1, int), ("",), None
        )
        met = threading.Barrier(3)

        def write(value):
            model = scores.ScoredModel("a", costs={"price": value})
            table = scores.ScoreTable(
                [model], texts, np.full((1, 1), value), unit="raw"
            )
            met.wait(60)
            for _ in range(5):
                exporters.write(table, path)

        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            list(threads.map(write, (1.0, 2.0, 3.0)))
        found = importers.csv(path, path.with_name("s.models.csv"), value="raw")
        self.assertEqual(
            found.nll_nats.tolist(), [[found.models[0].costs["price"]]]
        )

    def test_three_pages_of_one_name(self):
        """Page and folder are of one run, and nothing else is left."""
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        met = threading.Barrier(3)

        def page_of(content):
            # Whoever writes without waiting would be here as well.
            self.assertTrue(at_work.acquire(blocking=False))
            time.sleep(0.01)
            at_work.release()
            return str(content["run"]) * 1000

        def write(run):
            met.wait(60)
            report.write_page(
                folder / "a.html", [report.Section({"run": run})], flags={}
            )

        at_work = threading.Lock()
        with (
            mock.patch.object(document, "page_of", page_of),
            concurrent.futures.ThreadPoolExecutor(3) as threads,
        ):
            list(threads.map(write, (1, 2, 3)))
        said = json.loads((folder / "a/result.json").read_text())["run"]
        self.assertEqual((folder / "a.html").read_text(), str(said) * 1000)
        self.assertCountEqual(
            [path.name for path in folder.iterdir()], ["a", "a.html"]
        )

    def test_a_reader_waits_for_a_result_that_is_written(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

        def write(run, then=None):
            result.write_result(
                folder,
                {"run": run},
                flags={},
                arrays={"run": np.full(100, run)},
                files={"run.txt": then} if then else None,
            )

        write(1)
        found = []
        with concurrent.futures.ThreadPoolExecutor(1) as thread:

            def read_meanwhile(path):
                found.append(thread.submit(result.read_arrays, folder))
                path.write_text("")

            write(2, read_meanwhile)
        self.assertEqual(found[0].result()["run"].tolist(), [2] * 100)

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
