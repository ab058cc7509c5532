import json
import pathlib
import pickle
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import diversity, importers
from mmc_jax.importers import model_map
from mmc_jax.importers.frame import Options

_TEXTS = ("Zürich", "two\nlines", "three")


class ModelMapTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        (self.folder / "data").mkdir()

    def _write(self, name, content):
        path = self.folder / "data" / name
        if name.endswith(".pkl"):
            content = pickle.dumps(content)
        path.write_bytes(content)
        return path

    def _write_all(self):
        self._write(
            "raw_log-likelihood_1018.pkl",
            {
                "org/b-7b": np.array([-3.0, -2.5, -1.0]),
                "org/a-1b": np.array([-4, -2, -1], np.float32),
            },
        )
        self._write("clipped_log-likelihood_1018.pkl", {"x": np.zeros(3)})
        self._write(
            "model-data-1018.pkl",
            [
                {
                    "model_name": "org/b-7b",
                    "model_type": "llama-2",
                    "model_size": 7,
                    "created_at": "2024-04-20T00:53:57+00:00",
                    "tags": ["x"],
                    "log-likelihood-10k": np.zeros(3),
                },
                {"model_name": "org/a-1b", "model_size": float("nan")},
            ],
        )
        # In another order than the log-likelihoods.
        rows = [
            {"text": t, "pile_set_name": f"set {i}", "index": i}
            for i, t in enumerate(_TEXTS)
        ]
        lines = "".join(
            json.dumps(row, ensure_ascii=False) + "\n" for row in rows[::-1]
        )
        self._write("texts-10k-pile.jsonl", lines.encode())

    def test_read(self):
        self._write_all()
        self.assertTrue(model_map.recognises(self.folder))
        found = model_map.read(self.folder, Options(keep_texts=True))
        self.assertEqual(
            [m.name for m in found.models], ["org/a-1b", "org/b-7b"]
        )
        self.assertEqual(found.unit, "log_likelihood")
        np.testing.assert_array_equal(
            found.values, [[-4, -2, -1], [-3, -2.5, -1]]
        )
        self.assertEqual(found.models[1].costs, {"num_params": 7e9})
        self.assertEqual(found.models[1].family, "llama-2")
        self.assertEqual(found.models[0].costs, {})
        self.assertEqual(found.texts, _TEXTS)
        self.assertEqual(found.domains, ("set 0", "set 1", "set 2"))
        self.assertEqual(found.num_bytes.tolist(), [7, 9, 5])
        self.assertEqual(found.num_chars.tolist(), [6, 9, 5])
        self.assertEqual(found.provenance["model_dtype"], "float16")
        self.assertIn("tokens[0, 1:]", found.provenance["caveats"][1])

    def test_the_diagnosis_says_how_it_was_scored(self):
        self._write_all()
        table = importers.read(self.folder, Options()).table
        said = [
            finding
            for finding in diversity.diagnosis(table, normalisation="raw")
            if finding.about == "scored otherwise"
        ]
        self.assertLen(said, 3)
        self.assertIn("org/a-1b and org/b-7b: scored in float16", said[0].words)

    def test_scores_alone(self):
        path = self._write("raw_log-likelihood_9.pkl", {"a": np.zeros(2)})
        found = model_map.read(path, Options())
        self.assertEqual(found.values.shape, (1, 2))
        self.assertIsNone(found.num_bytes)

    def test_faults(self):
        self._write_all()
        raw = "raw_log-likelihood_1018.pkl"
        for content, message in (
            ({"a": np.zeros(3), "b": np.zeros(2)}, "'b': 2 texts; 'a' has 3"),
            ({"a": np.zeros((1, 3))}, "'a': no vector"),
            ({"a": np.zeros(2)}, "3 texts; the log-likelihoods are of 2"),
            ([1], "no dict of models"),
            ({}, "no dict of models"),
            ({3: np.zeros(3)}, "3 is no name"),
        ):
            self._write(raw, content)
            with self.assertRaisesRegex(ValueError, message):
                model_map.read(self.folder, Options())
        self._write(raw, {"a": np.zeros(3)})
        rows = [{"model_name": "a", "model_size": size} for size in (7, 70)]
        self._write("model-data-1018.pkl", rows)
        with self.assertRaisesRegex(ValueError, "'a' is .* sizes 7 and 70"):
            model_map.read(self.folder, Options())
        clipped = self.folder / "data/clipped_log-likelihood_1018.pkl"
        with self.assertRaisesRegex(ValueError, "lowest 2%"):
            model_map.read(clipped, Options())


if __name__ == "__main__":
    absltest.main()
