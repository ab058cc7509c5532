"""The program that compares dtypes, from its command line to its result."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import scores
from tests import tolerances
from tests.experiments.programs import run


class CompareDtypesTest(absltest.TestCase):
    def test_result_is_that_of_the_tables(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        lines = [dict(text=f"Text number {i}.", domain="d") for i in range(9)]
        corpus = folder / "texts.jsonl"
        corpus.write_text("\n".join(map(json.dumps, lines)))
        done = run(
            "experiments.compare_dtypes",
            f"--corpus={corpus}",
            "--pool=stdlib20",
            "--only_models=gpt2-30k,llama-30k",
            "--num_texts_per_domain=5",
            f"--out={folder}/out",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((folder / "out/result.json").read_text())
        self.assertEqual(result["num_texts"], 5)
        names = [model["name"] for model in result["models"]]
        self.assertEqual(names, ["gpt2-30k", "llama-30k"])
        tables = [
            scores.open(folder / "out" / dtype)
            for dtype in ("float32", "bfloat16")
        ]
        found = scores.differences(*tables)
        with np.load(folder / "out/arrays.npz") as arrays:
            np.testing.assert_array_equal(arrays["relative"], found.relative)
        for m, model in enumerate(result["models"]):
            distribution = model["relative_difference"]
            self.assertEqual(distribution["max"], found.relative[m].max())
            # The two were not scored alike, and not wildly apart.
            self.assertGreater(distribution["median"], 0)
            self.assertLess(distribution["max"], tolerances.TEXT_NLL_BFLOAT16)
        self.assertIn("percentile_95", done.stdout)


if __name__ == "__main__":
    absltest.main()
