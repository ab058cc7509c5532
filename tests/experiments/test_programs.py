import json
import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
import transformers
from absl.testing import absltest
from flax import nnx

from mmc_jax import (
    catalogue,
    frontier,
    law,
    models,
    pool,
    scoring,
    training,
)
from tests import left_out
from tests.experiments.programs import csv_files, in_a_terminal, run, run_here


def _tiny_checkpoint() -> pathlib.Path:
    config = transformers.GPT2Config(
        vocab_size=257, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    model = models.build(config, rngs=nnx.Rngs(0))
    folder = pathlib.Path(tempfile.mkdtemp(), "tiny")
    separator = "<|endoftext|>"
    tokenizer = training.byte_tokenizer(separator)
    training.save_folder(model, tokenizer, separator, {}, folder)
    return folder


class TraceAndFitTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_from_a_csv_to_a_law(self):
        """A CSV that any user could have gives frontier, law and figures."""
        rng = np.random.default_rng(1)
        size = np.arange(5)
        losses = np.exp(-0.4 * size) + 2 + rng.uniform(0, 1, (30, 5))
        folder = csv_files(losses.T, 7 * 5**size)

        traced = run_here(
            "experiments.trace_frontier",
            f"--csv={folder}/scores.csv",
            f"--models={folder}/models.csv",
            "--text_id=id",
            "--domain=kind",
            "--normalisation=raw",
            "--method=exhaustive",
            "--num_splits=2",
            "--fail_above=2.5",
            "--oracle_backend=xla",
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
        self.assertEqual(result["flags"]["oracle_backend"], "xla")
        self.assertTrue((folder / "f/domains.png").exists())
        halves = frontier.cross_fitted(
            losses.T,
            7 * 5**size,
            search=frontier.exhaustive,
            num_splits=2,
            budgets=expected.costs,
        )
        self.assertEqual(
            [row["held_out"] for row in result["cross_fitted"]["budgets"]],
            halves.held_out.tolist(),
        )
        self.assertEqual(
            result["co_failures"]["num_failures"],
            int((losses.min(axis=1) > 2.5).sum()),
        )

        fitted = run_here(
            "experiments.fit_law",
            f"--points={folder}/f",
            "--huber_delta=0.01",
            "--num_resamples=8",
            "--forms=power_law",
            f"--out={folder}/law",
        )
        self.assertEqual(fitted.returncode, 0, fitted.stderr)
        result = json.loads((folder / "law/result.json").read_text())
        fit = law.fit(expected.costs, expected.losses, delta=0.01)
        self.assertAlmostEqual(result["laws"]["pool"]["L_inf"], fit.L_inf)

    def test_bad_input_is_one_line(self):
        failed = run(
            "experiments.trace_frontier",
            "--scores=/nowhere",
            "--out=/nowhere/out",
        )
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, r"^error: /nowhere.*")
        self.assertNotIn("Traceback", failed.stderr)

    def test_a_backend_without_its_device(self):
        folder = csv_files(np.array([[1.0, 4.0], [3.0, 2.0]]), [1, 2])
        failed = run(
            "experiments.trace_frontier",
            f"--csv={folder}/scores.csv",
            f"--models={folder}/models.csv",
            "--text_id=id",
            "--normalisation=raw",
            "--oracle_backend=tpu",
            f"--out={folder}/f",
        )
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, "(?m)^error: backend 'tpu' cannot")

    def test_stray_arguments(self):
        failed = run("experiments.fit_law", "points.csv")
        self.assertNotEqual(failed.returncode, 0)


class ComparePruningTest(absltest.TestCase):
    def test_a_table(self):
        out = pathlib.Path(tempfile.mkdtemp())
        compared = run_here(
            "experiments.compare_pruning",
            "--num_models=4",
            "--num_texts=20",
            "--noise=0.1",
            "--num_seeds=1",
            "--num_new_texts=30",
            "--large_models=18",
            "--large_texts=10",
            "--num_large_seeds=1",
            f"--out={out}",
        )
        self.assertEqual(compared.returncode, 0, compared.stderr)
        rows = json.loads((out / "result.json").read_text())["cases"]
        self.assertEqual(
            rows,
            [
                frontier.search_errors(4, 20, 0.1, 0, 30),
                frontier.search_errors(18, 10, 0.1, 0, 30),
            ],
        )
        self.assertIn((out / "table.md").read_text(), compared.stdout)
        self.assertTrue((out / "missed.png").exists())


class ListModelsTest(absltest.TestCase):
    def test_ports_and_pools(self):
        listed = run_here("experiments.list_models")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        for module, model_types in catalogue.families().items():
            self.assertIn(f"{module}: {', '.join(model_types)}", listed.stdout)
        for name in pool.shipped():
            rows = catalogue.rows(pool.read(name))
            num_covered = sum(row.covered for row in rows)
            self.assertIn(
                f"{name}: {num_covered} of {len(rows)} models", listed.stdout
            )

    def test_memory_on_a_mesh(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "mine.yaml").write_text("""
models:
  - name: half-ported
    checkpoint: some/model
    revision: main
    family: f
    costs: {num_params: 8589934593, num_active_params: 4294967296}
    facts: {model_type: gpt2}
  - {name: unknown, checkpoint: a/b, revision: main, family: g}
""")
        listed = run_here(
            "experiments.list_models",
            f"--pool={folder}/mine.yaml",
            "--mesh=2x4",
            "--dtype=bfloat16",
            f"--out={folder}/out",
        )
        self.assertEqual(listed.returncode, 0, listed.stderr)
        lines = [line.split() for line in listed.stdout.splitlines()]
        self.assertEqual(
            lines[1],
            "half-ported f gpt2 yes 8,589.9 4,295.0 >=4.00 ?".split(),
        )
        self.assertEqual(lines[2], "unknown g ? no ? ? ? ?".split())
        self.assertIn("1 of 2 models", listed.stdout)
        result = json.loads((folder / "out/result.json").read_text())
        self.assertEqual(result["flags"]["mesh"], "2x4")
        self.assertEqual(
            [row["weights"] for row in result["models"]],
            [
                {
                    "bytes_per_device": 2 * 2147483649,
                    "is_exact": False,
                    "undivided": {},
                },
                None,
            ],
        )

    def test_a_mesh_that_is_none(self):
        for flag, message in (
            ("--mesh=x4", "error: --mesh=x4: give both numbers, as in 2x4"),
            ("--mesh=2x4", "error: --mesh, --dtype and --over_data ask"),
        ):
            with self.subTest(flag=flag):
                failed = run_here("experiments.list_models", flag)
                self.assertEqual(failed.returncode, 1)
                self.assertStartsWith(failed.stderr, message)
                self.assertLen(failed.stderr.splitlines(), 1)


class ShowModelTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = _tiny_checkpoint()
        cls.flags = (
            "experiments.show_model",
            f"--checkpoint={cls.folder}",
            "--text=x = '\x1b'\n",
        )

    def _in_a_terminal(self, **environment: str) -> str:
        """Returns what the program writes to a terminal."""
        with mock.patch.dict(os.environ, environment):
            code, written = in_a_terminal(*self.flags)
        self.assertEqual(code, 0, written)
        return written

    def test_what_the_scorer_says(self):
        shown = run_here(*self.flags)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        expected = scoring.surprisal(self.folder, "x = '\x1b'\n")
        lines = shown.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["nats", "token"])
        for line, token, nats in zip(
            lines[1:-1], expected.tokens, expected.nll_nats, strict=True
        ):
            self.assertEqual(line, f"{nats:8.3f}  {token!r}")
        self.assertIn(f"total {expected.total_nats:.4f} nats", lines[-1])
        self.assertIn(f"{expected.bits_per_byte:.4f} bits per byte", lines[-1])
        self.assertIn("the bos token, 0", lines[-1])
        self.assertNotIn("\x1b", shown.stdout)

    def test_colours_of_a_terminal(self):
        with self.subTest("coloured"):
            written = self._in_a_terminal(NO_COLOR="")
            # Nobody has taught the model anything: near log(257) = 5.5 nats.
            self.assertIn("\x1b[38;5;208m", written)
            self.assertEqual(written.count("\x1b[0m"), 8)
        with self.subTest("not where it is unwanted"):
            self.assertNotIn("\x1b", self._in_a_terminal(NO_COLOR="1"))

    def test_bad_input_is_one_line(self):
        failed = run(
            "experiments.show_model", "--checkpoint=/nowhere", "--text=a"
        )
        self.assertEqual(failed.returncode, 1)
        self.assertStartsWith(failed.stderr, "error: /nowhere: no such folder")
        self.assertLen(failed.stderr.splitlines(), 1)


if __name__ == "__main__":
    absltest.main()
