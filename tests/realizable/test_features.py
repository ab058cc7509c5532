"""Features: hashed n-grams, files that users bring, the cache, ids."""

import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import corpus, pool, realizable, scoring
from mmc_jax.realizable import features as features_module
from tests import tolerances


def _texts(*texts):
    return corpus.Corpus(
        ids=tuple(f"t{x}" for x in range(len(texts))),
        domains=("",) * len(texts),
        num_bytes=np.array([len(t.encode()) for t in texts]),
        num_chars=np.array([len(t) for t in texts]),
        sha256=tuple(f"{hash(t):x}" for t in texts),
        texts=texts,
    )


class NgramsTest(parameterized.TestCase):
    def test_equal_texts_and_lengths(self):
        found = realizable.ngram_features(
            _texts("ab", "a much longer text", "ab", "ß"), 64
        ).values
        self.assertEqual(found.dtype, np.float32)
        np.testing.assert_array_equal(found[0], found[2])
        self.assertFalse((found[0] == found[1]).all())
        np.testing.assert_allclose(
            np.sum(found**2, axis=1), 1, rtol=tolerances.FLOAT32_KERNEL
        )

    def test_similar_texts_are_near(self):
        a, b, c = realizable.ngram_features(
            _texts(
                "the cat sat on the mat today",
                "the cat sat on the mat again",
                "import numpy as np; x = np.zeros(3)",
            )
        ).values
        self.assertGreater(a @ b, a @ c + 0.3)

    @parameterized.parameters(0, 1, 100)
    def test_no_power_of_two(self, number):
        with self.assertRaisesRegex(ValueError, "a power of two is needed"):
            realizable.ngram_features(_texts("a"), number)

    def test_cache(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        texts = _texts("one", "two")
        made = realizable.ngram_features(texts, 8, cache_dir=folder)
        (file,) = folder.iterdir()
        again = realizable.ngram_features(texts, 8, cache_dir=folder)
        np.testing.assert_array_equal(made.values, again.values)
        # Other texts under the same ids, and another number, are other files.
        realizable.ngram_features(_texts("one", "2"), 8, cache_dir=folder)
        realizable.ngram_features(texts, 16, cache_dir=folder)
        self.assertLen(list(folder.iterdir()), 3)
        file.write_bytes(b"damaged")
        with self.assertLogs("absl", level="WARNING"):
            again = realizable.ngram_features(texts, 8, cache_dir=folder)
        np.testing.assert_array_equal(made.values, again.values)


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())

    def _parquet(self, **columns):
        path = self.folder / "f.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path

    def test_columns_and_lists(self):
        values = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
        for columns in (
            {"x": [1, 3], "y": [2.0, 4.0]},
            {"embedding": values.tolist()},
        ):
            path = self._parquet(text_id=["a", "b"], **columns)
            found = realizable.read_features(path)
            self.assertEqual(found.ids, ("a", "b"))
            np.testing.assert_array_equal(found.values, values)

    def test_ids_that_look_like_numbers(self):
        (self.folder / "f.csv").write_text("text_id,x\n007,1.5\n7,2\n")
        found = realizable.read_features(self.folder / "f.csv")
        self.assertEqual(found.ids, ("007", "7"))
        np.testing.assert_array_equal(found.values, [[1.5], [2]])

    def test_a_shape_that_is_not_there(self):
        np.save(self.folder / "f.npy", np.ones((2, 2)))
        (self.folder / "f.ids.txt").write_text("a\nb\n")
        file = self.folder / "f.npy"
        file.write_bytes(
            file.read_bytes().replace(b"(2, 2), }       ", b"(2, 20000000), }")
        )
        with self.assertRaisesRegex(ValueError, "f.npy: not readable"):
            realizable.read_features(file)

    def test_npy_with_ids(self):
        np.save(self.folder / "f.npy", np.arange(4).reshape(2, 2))
        with self.assertRaisesRegex(FileNotFoundError, "f.ids.txt: missing"):
            realizable.read_features(self.folder / "f.npy")
        (self.folder / "f.ids.txt").write_text("a\nb\n")
        found = realizable.read_features(self.folder / "f.npy")
        np.testing.assert_array_equal(found.of(["b"]).values, [[2, 3]])
        (self.folder / "f.ids.txt").write_text("a\n")
        with self.assertRaisesRegex(ValueError, "1 ids for the 2 rows"):
            realizable.read_features(self.folder / "f.npy")

    @parameterized.parameters(
        ({"text_id": ["a", "a"], "x": [1, 2]}, "'a' is empty or there twice"),
        ({"text_id": ["a", "b"], "x": [1, float("inf")]}, "not finite|is inf"),
        ({"text_id": ["a", "b"], "x": [1.0, 1e39]}, "is inf in float32"),
        ({"text_id": ["a", "b"], "x": [[1.0], [1.0, 2.0]]}, "as many numbers"),
        ({"text_id": ["a", "b"], "x": [["p"], ["q"]]}, "lists of numbers"),
        ({"text_id": ["a", "b"]}, "no column but 'text_id'"),
        ({"id": ["a", "b"], "x": [1, 2]}, "no column 'text_id'"),
    )
    def test_refused(self, columns, message):
        path = self._parquet(**columns)
        with self.assertRaisesRegex(ValueError, message):
            realizable.read_features(path)

    @parameterized.parameters(
        (np.array([["a"]]), "numbers of shape"),
        (np.ones(3), "numbers of shape"),
    )
    def test_refused_npy(self, array, message):
        np.save(self.folder / "f.npy", array)
        (self.folder / "f.ids.txt").write_text("a\n")
        with self.assertRaisesRegex(ValueError, message):
            realizable.read_features(self.folder / "f.npy")

    def test_an_archive_is_no_array(self):
        np.savez(self.folder / "f.npz", np.ones((1, 2)))
        (self.folder / "f.npz").rename(self.folder / "f.npy")
        (self.folder / "f.ids.txt").write_text("a\n")
        with self.assertRaisesRegex(ValueError, "an archive of arrays"):
            realizable.read_features(self.folder / "f.npy")

    def test_bytes_of_ids(self):
        np.save(self.folder / "f.npy", np.ones((2, 2)))
        for content, ids in (
            (b"\xef\xbb\xbfa\r\nb\r\n", ("a", "b")),
            ("a\u2028\x0c\nb".encode(), ("a\u2028\x0c", "b")),
        ):
            (self.folder / "f.ids.txt").write_bytes(content)
            found = realizable.read_features(self.folder / "f.npy")
            self.assertEqual(found.ids, ids)
        (self.folder / "f.ids.txt").write_bytes(b"a\xe9\nb\n")
        with self.assertRaisesRegex(ValueError, "f.ids.txt: no UTF-8"):
            realizable.read_features(self.folder / "f.npy")

    def test_two_columns_of_one_name(self):
        ids, values = pa.array(["a", "b"]), pa.array([1.0, 2.0])
        for name in ("text_id", "x"):
            columns = {"text_id": ids, "x": values}
            pa.parquet.write_table(
                pa.Table.from_arrays(
                    [columns[name], *columns.values()], [name, *columns]
                ),
                self.folder / "f.parquet",
            )
            with self.assertRaisesRegex(ValueError, f"two columns '{name}'"):
                realizable.read_features(self.folder / "f.parquet")


class JoinedTest(absltest.TestCase):
    def test_rows_go_by_id(self):
        a = realizable.Features(("x", "y"), np.array([[1.0], [2.0]]))
        b = realizable.Features(
            ("y", "z", "x"), np.array([[3.0], [0.0], [4.0]]), "m"
        )
        found = realizable.joined([a, b])
        np.testing.assert_array_equal(found.values, [[1, 4], [2, 3]])
        self.assertEqual(found.reader, "m")
        with self.assertRaisesRegex(ValueError, "of 3 texts have no features"):
            realizable.joined([b, a])
        with self.assertRaisesRegex(
            ValueError, "features of two models, m and"
        ):
            realizable.joined([b, b._replace(reader="n")])
        with self.assertRaisesRegex(ValueError, "no features to join"):
            realizable.joined([])

    def test_noise_is_repeatable(self):
        one, two = (
            realizable.noise_features(["a"], 3, seed=1).values for _ in "ab"
        )
        np.testing.assert_array_equal(one, two)


class ModelFeaturesTest(absltest.TestCase):
    def test_what_a_shipped_model_reads(self):
        texts = corpus.embedded("held_out").sample(1)
        model = pool.read("stdlib20").select(["gpt2-30k"]).models[0]
        folder = pathlib.Path(tempfile.mkdtemp())
        hidden, nll = (
            realizable.model_features(kind, model, texts, cache_dir=folder)
            for kind in ("hidden", "nll")
        )
        self.assertEqual(hidden.reader, "gpt2-30k")
        self.assertEqual(hidden.values.shape[0], len(texts))
        self.assertEqual(nll.values.shape, (len(texts), 10))
        for x, text in enumerate(texts.texts):
            found = scoring.surprisal(model.checkpoint, text)
            window = found.nll_nats[: int(np.exp(nll.values[x, -1]) + 0.5)]
            np.testing.assert_allclose(
                nll.values[x, :2],
                [window.mean(), window.std()],
                rtol=tolerances.SCORE_SHAPES * 100,
            )
        again = realizable.model_features(
            "hidden", model, texts, cache_dir=folder
        )
        np.testing.assert_array_equal(again.values, hidden.values)
        self.assertEqual(again.reader, "gpt2-30k")

    def test_no_such_kind(self):
        model = pool.read("stdlib20").models[0]
        with self.assertRaisesRegex(
            ValueError, "no features 'x'; there are hi"
        ):
            realizable.model_features("x", model, _texts("a"))


class CacheTest(absltest.TestCase):
    def test_nothing_is_kept_without_a_folder(self):
        made = realizable.noise_features(["t0"], 2, seed=0)
        found = features_module.cached_features(
            lambda: made, {"kind": "noise"}, _texts("a"), None
        )
        self.assertIs(found, made)

    def test_a_flipped_bit_is_made_anew(self):
        made = realizable.noise_features(["t0"], 64, seed=0)
        folder = pathlib.Path(tempfile.mkdtemp())

        def features(make):
            return features_module.cached_features(
                make, {"kind": "noise"}, _texts("a"), folder
            )

        features(lambda: made)
        np.testing.assert_array_equal(features(None).values, made.values)
        (file,) = folder.iterdir()
        content = bytearray(file.read_bytes())
        content[content.index(made.values.tobytes()) + 3] ^= 1
        file.write_bytes(content)
        np.testing.assert_array_equal(
            features(lambda: made).values, made.values
        )


if __name__ == "__main__":
    absltest.main()
