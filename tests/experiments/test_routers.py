"""The programs of routers, from files to result folders."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from experiments import choices
from mmc_jax import realizable
from tests import left_out
from tests.experiments.programs import csv_files, run_here

_WORDS = ("alpha beta gamma", "import numpy as np", "der die das und")
_NUM_TEXTS = 90


def _files():
    """Scores of 3 models, each the best for texts of one kind, and the texts.

    Domains a and b have texts of all kinds.
    """
    rng = np.random.default_rng(0)
    kind = np.arange(_NUM_TEXTS) // 2 % 3
    losses = 1.0 * (np.arange(3)[:, None] != kind) + [[0.02], [0.01], [0.0]]
    folder = csv_files(2 + losses, [10, 30, 90])
    with (folder / "texts.jsonl").open("w") as file:
        for x, k in enumerate(kind):
            noise = " ".join(map(str, rng.integers(10**6, size=12)))
            text = f"{_WORDS[k]} {_WORDS[k]} {_WORDS[k]} {noise}"
            file.write(json.dumps({"id": f"t{x}", "text": text}) + "\n")
    return folder


class TrainRouterTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = _files()

    def _run(self, *arguments, out="out"):
        return run_here(
            "experiments.train_router",
            "--text_id=id",
            "--domain=kind",
            f"--out={self.folder}/{out}",
            *arguments,
        )

    def _trained(self, *arguments, out="out"):
        return self._run(
            f"--csv={self.folder}/scores.csv",
            f"--models={self.folder}/models.csv",
            f"--corpus={self.folder}/texts.jsonl",
            "--normalisation=raw",
            "--num_features=64",
            "--num_resamples=20",
            *arguments,
            out=out,
        )

    def test_trains_and_predicts(self):
        done = self._trained("--router=ridge")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((self.folder / "out/result.json").read_text())
        gap = result["routers"]["entries"]["ridge"]["closed_gap"]
        self.assertGreater(gap["value"], 0.8)
        self.assertEqual(result["routers"]["num_leaked"], 0)

        (self.folder / "new.jsonl").write_text(
            "\n".join(
                json.dumps({"id": f"n{k}", "text": 4 * f"{words} "})
                for k, words in enumerate(_WORDS)
            )
        )
        done = self._run(f"--predict={self.folder}/new.jsonl")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = (self.folder / "out/predictions.jsonl").read_text()
        found = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual([row["id"] for row in found], ["n0", "n1", "n2"])
        self.assertEqual([row["model"] for row in found], ["m0", "m1", "m2"])
        self.assertBetween(found[0]["expected_loss"], 2.0, 2.65)

        done = self._run(
            f"--predict={self.folder}/new.jsonl",
            "--only_models=m0,m1",
            "--price=1",
        )
        self.assertIn("3 texts; m0 3", done.stdout)
        for arguments, message in (
            (("--only_models=z",), "does not know the model 'z'; it knows m0"),
            (
                (f"--features={self.folder}/f.npy",),
                "learned from the features ngrams: --features must name",
            ),
        ):
            failed = self._run(f"--predict={self.folder}/new.jsonl", *arguments)
            self.assertEqual(failed.returncode, 1)
            self.assertIn(message, failed.stderr)
            self.assertNotIn("Traceback", failed.stderr)

    def test_bad_input(self):
        (self.folder / "other.jsonl").write_text('{"id": "z", "text": "a"}')
        for arguments, message in (
            (
                (f"--corpus={self.folder}/other.jsonl",),
                "90 of 90 texts of the scores are not in the corpus",
            ),
            (
                ("--split=domain", "--only_domains=a"),
                "all texts are of the domain 'a'",
            ),
        ):
            with self.subTest(arguments=arguments):
                failed = self._trained(*arguments, out="bad")
                self.assertEqual(failed.returncode, 1)
                self.assertIn(message, failed.stderr)
                self.assertNotIn("Traceback", failed.stderr)
        failed = self._run(f"--predict={self.folder}/texts.jsonl", out="no")
        self.assertIn("no router; train_router writes one", failed.stderr)

    def test_choices_are_those_of_the_library(self):
        self.assertEqual(choices.ROUTERS, tuple(realizable.ROUTERS))
        self.assertEqual(choices.SPLITS, realizable.SPLITS)


class CompareSystemsTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_all_routers_on_scores(self):
        folder = _files()
        done = run_here(
            "experiments.compare_systems",
            "--text_id=id",
            "--domain=kind",
            f"--csv={folder}/scores.csv",
            f"--models={folder}/models.csv",
            f"--corpus={folder}/texts.jsonl",
            "--value=raw",
            "--nomixtures",
            "--routers=all",
            "--router_law=best_per_domain",
            "--new_model=m2",
            "--num_features=64",
            "--num_resamples=20",
            f"--out={folder}/out",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((folder / "out/result.json").read_text())
        found = result["routers"]["entries"]
        self.assertEqual(
            list(found), [name for name in choices.ROUTERS if name != "prefix"]
        )
        self.assertEqual(list(result["routers"]["not_there"]), ["prefix"])
        self.assertGreater(found["ridge"]["closed_gap"]["value"], 0.8)
        self.assertEqual(found["ridge"]["on_noise"]["closed_gap"]["value"], 0)
        self.assertEqual(result["router_law"]["router"], "best_per_domain")
        self.assertEqual(result["cold_start"]["model"], "m2")
        for name in ("routers", "router_costs", "router_confusion"):
            self.assertTrue((folder / f"out/{name}.svg").exists())


if __name__ == "__main__":
    absltest.main()
