"""Two processes on this machine, which meet over gloo on the CPU."""

import json
import pathlib
import re
import signal
import socket
import tempfile
import time
from unittest import mock

import jax
import numpy as np
import safetensors.numpy
import yaml
from absl.testing import absltest

from mmc_jax import corpus, hosts, pool, scores, scoring, training
from mmc_jax.models import weight_files
from tests import tolerances
from tests.experiments import programs
from tests.scoring import checkpoints


class TwoProcessesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _pool(self, name, **folders):
        entries = [
            dict(name=model, checkpoint=str(path), family="f")
            for model, path in folders.items()
        ]
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"models": entries}))
        return file

    def _corpus(self, texts):
        file = self.folder / "texts.jsonl"
        lines = [
            json.dumps({"id": f"t{i}", "text": text})
            for i, text in enumerate(texts)
        ]
        file.write_text("\n".join(lines))
        return file

    def _start(self, *runs):
        """Returns both processes, and the folders of what they say."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        said = [pathlib.Path(tempfile.mkdtemp(dir=self.folder)) for _ in "01"]
        runs = [[*map(str, run[:3]), run[3]] for run in runs]
        processes = [
            programs.start(
                "tests.scoring_host", json.dumps([i, address, runs]), said=to
            )
            for i, to in enumerate(said)
        ]
        for process in processes:
            self.addCleanup(process.kill)
        return list(zip(processes, said, strict=True))

    def _ended(self, process, said):
        """Returns the exit code of a process, and what it has said."""
        process.join(timeout=300)
        return process.exitcode, *programs.words(said)

    def _ended_well(self, process, said):
        """Returns what a process without an error has said."""
        code, out, err = self._ended(process, said)
        self.assertEqual(code, 0, msg=err)
        return out, err

    def _assert_equal(self, table, expected):
        np.testing.assert_allclose(
            table.nll_nats, expected.nll_nats, rtol=tolerances.TEXT_NLL
        )
        for field in ("num_tokens", "num_scored", "round_trips"):
            np.testing.assert_array_equal(
                getattr(table, field), getattr(expected, field)
            )
        self.assertEqual(table.texts.ids, expected.texts.ids)

    def test_equals_one_process(self):
        llama = checkpoints.make(self.folder / "llama", "llama")
        neox = checkpoints.make(self.folder / "neox", "gpt_neox")
        bad = checkpoints.make(self.folder / "bad", "gpt_neox")
        stored = safetensors.numpy.load_file(bad / weight_files.WEIGHTS)
        z = training.byte_tokenizer(checkpoints.SEPARATOR).token_to_id("z")
        embedding = stored["gpt_neox.embed_in.weight"].copy()
        embedding[z] = 3e38  # Finite, but its mean overflows.
        stored["gpt_neox.embed_in.weight"] = embedding
        safetensors.numpy.save_file(stored, bad / weight_files.WEIGHTS)
        # Process 1 has every second text, such as the one with a z.
        texts = [f"text {i} " + "word " * (7 * i % 30) for i in range(21)]
        texts[3] += "zebra"
        corpus_file = self._corpus(texts)
        good_pool = self._pool("good", llama=llama)
        one_bad_pool = self._pool("one_bad", bad=bad, neox=neox)
        settings = dict(tokens_per_batch=256)
        both = settings | dict(num_data=2, num_model=2)
        processes = self._start(
            (self.folder / "local", good_pool, corpus_file, settings),
            (self.folder / "global", good_pool, corpus_file, both),
            (self.folder / "bad_table", one_bad_pool, corpus_file, settings),
        )
        printed = [self._ended_well(*process)[0] for process in processes]
        one = scoring.score(
            pool.read(good_pool),
            corpus.read(corpus_file),
            self.folder / "one",
            settings=scoring.Settings(num_data=1, **settings),
        )
        for name, mesh in (
            ("local", {"data": 2, "model": 1}),
            ("global", {"data": 2, "model": 2}),
        ):
            with self.subTest(name):
                table = scores.open(self.folder / name)
                self._assert_equal(table, one)
                for model in table.models:
                    self.assertEqual(model.provenance["mesh"], mesh)
                    self.assertEqual(model.provenance["num_processes"], 2)
        with self.subTest("both return the same tables"):
            sums = [re.findall(r"\b[01]: sum: (\S+)", out) for out in printed]
            self.assertEqual(sums[0], sums[1])
            self.assertLen(sums[0], 3)
        with self.subTest("a failure of one process is all's"):
            why = "the nll of text 't3' is nan"
            self.assertIn(f"bad: ValueError: model 'bad': {why}", printed[1])
            self.assertRegex(
                printed[0], f"bad: RuntimeError: process 1: .*{why}"
            )
            table = scores.open(
                self.folder / "bad_table", leave_out_unfinished=True
            )
            self.assertEqual([model.name for model in table.models], ["neox"])

    def test_cache_where_each_has_the_whole_model(self):
        folder = checkpoints.make(self.folder / "gpt2", "gpt2")
        pool_file = self._pool("pool", gpt2=folder)
        corpus_file = self._corpus([f"text {i}" for i in range(8)])
        cache_dir = self.folder / "cache"
        settings = dict(tokens_per_batch=256, cache_dir=str(cache_dir))
        processes = self._start(
            *(
                (self.folder / name, pool_file, corpus_file, settings)
                for name in ("first", "second")
            )
        )
        for i, process in enumerate(processes):
            out, err = self._ended_well(*process)
            first, second = (
                line[-1] for line in out.splitlines() if "conversions" in line
            )
            if i == 0:  # The other may come when the cache is there already.
                self.assertEqual(first, "1")
            self.assertEqual(second, "0", msg=err)
            self.assertNotIn("cache", err)  # No warning of a damaged one.
        self.assertLen(list((cache_dir / "params").iterdir()), 1)
        self._assert_equal(
            scores.open(self.folder / "second"),
            scores.open(self.folder / "first"),
        )

    def test_one_is_killed(self):
        model = checkpoints.make(self.folder / "gpt2", "gpt2")
        pool_file = self._pool("pool", first=model, second=model)
        corpus_file = self._corpus([f"text {i}" for i in range(600)])
        out = self.folder / "scores"
        # A text is a batch and a file: there is time to kill.
        settings = dict(tokens_per_batch=1, num_data=1, part_seconds=0.0)
        survivor, killed = self._start((out, pool_file, corpus_file, settings))
        parts = out / "models" / "first.parts"
        while killed[0].is_alive() and not list(parts.glob("*-0001.parquet")):
            time.sleep(0.01)
        killed[0].kill()
        self.assertEqual(self._ended(*killed)[0], -signal.SIGKILL)
        killed_at = time.monotonic()
        code, _, err = self._ended(*survivor)
        seconds = time.monotonic() - killed_at
        with self.subTest("the survivor ends soon, and says why"):
            self.assertNotIn(code, (0, None))
            self.assertRegex(err, "another (process is gone|task died)")
            self.assertLess(seconds, 60)  # 5 of silence, on a busy machine.
        with self.assertRaisesRegex(ValueError, "no model is finished"):
            scores.open(out, leave_out_unfinished=True)
        finished = sum(
            scores.files.read_scores(part)[0].num_rows
            for part in parts.glob("part-*.parquet")
        )
        self.assertBetween(finished, 1, 599)
        settings = dict(tokens_per_batch=8192, num_data=1)
        for process in self._start((out, pool_file, corpus_file, settings)):
            self._ended_well(*process)
        one = scoring.score(
            pool.read(pool_file),
            corpus.read(corpus_file),
            self.folder / "one",
            settings=scoring.Settings(**settings),
        )
        self._assert_equal(scores.open(out), one)
        self.assertFalse(parts.exists())


class OneProcessTest(absltest.TestCase):
    def test_meets_itself(self):
        self.assertTrue(hosts.is_first())
        self.assertEqual(hosts.all_values({"a": 1}), [{"a": 1}])
        self.assertEqual(hosts.of_first(lambda: [1, "b"]), [1, "b"])

    def test_failures_pass(self):
        with self.assertRaisesRegex(KeyError, "x"), hosts.together():
            raise KeyError("x")

    def test_incomplete_flags(self):
        with (
            mock.patch.object(
                jax.distributed,
                "initialize",
                side_effect=ValueError("Number of processes must be defined."),
            ),
            self.assertRaisesRegex(
                ValueError,
                "several processes: Number .* Give coordinator_address, num",
            ),
        ):
            hosts.initialize("127.0.0.1:1")

    def test_sigterm_stays_the_program_s(self):
        service = "jax_enable_preemption_service"
        self.addCleanup(
            jax.config.update, service, getattr(jax.config, service)
        )
        with mock.patch.object(jax.distributed, "initialize"):
            hosts.initialize("127.0.0.1:1", 1, 0)
        self.assertFalse(getattr(jax.config, service))


if __name__ == "__main__":
    absltest.main()
