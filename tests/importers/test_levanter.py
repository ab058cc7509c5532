import json
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest

from mmc_jax import importers, scores
from mmc_jax.importers import levanter
from tests import tolerances

_TEXTS = ("ab \u6f22!", "two words", "x")
_COLUMNS = {
    "dataset_name": pa.string(),
    "tags": pa.list_(pa.string()),
    "shard_name": pa.string(),
    "row_index": pa.int64(),
    "text": pa.string(),
    "score_byte_start": pa.int32(),
    "score_byte_end": pa.int32(),
    "token_ids": pa.list_(pa.int32()),
    "per_byte_loss": pa.list_(pa.float64()),
    "token_byte_starts": pa.list_(pa.int32()),
    "token_byte_ends": pa.list_(pa.int32()),
    "num_bytes": pa.int32(),
}


def _row(x, ends, losses, **changes):
    """Returns a document as Levanter writes it, a token without bytes first."""
    raw = _TEXTS[x].encode()
    starts = [0, *ends[:-1]]
    per_byte = np.concatenate(
        [
            np.full(end - start, loss / (end - start))
            for start, end, loss in zip(starts, ends, losses, strict=True)
        ]
    )
    return {
        "dataset_name": "paloma/c4",
        "tags": ["paloma"],
        "shard_name": "docs",
        "row_index": x,
        "text": raw.decode(),
        "score_byte_start": 0,
        "score_byte_end": len(raw),
        "token_ids": [0, *range(len(ends))],
        "per_byte_loss": per_byte.tolist(),
        "token_byte_starts": [0, *starts],
        "token_byte_ends": [0, *ends],
        "num_bytes": len(raw),
    } | changes


_ROWS = {
    "a": [
        _row(0, [1, 3, 6, 7], [1.0, 2.0, 3.0, 0.5]),
        _row(1, [3, 9], [2.0, 4.0]),
        _row(2, [1], [5.0]),
    ],
    "b": [  # In another order, and with other tokens.
        _row(2, [1], [4.0]),
        _row(1, [1, 3, 9], [1.0, 0.5, 3.0]),
        _row(0, [3, 4, 6, 7], [2.0, 1.0, 1.0, 1.0]),
    ],
}


class LevanterTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name, "runs")
        for name, rows in _ROWS.items():
            self._write(self.folder / name / "scored_documents.parquet", rows)

    def _write(self, file, rows, without=()):
        file.parent.mkdir(parents=True, exist_ok=True)
        names = [name for name in _COLUMNS if name not in without]
        columns = [
            pa.array([row[name] for row in rows], _COLUMNS[name])
            for name in names
        ]
        pyarrow.parquet.write_table(pa.table(columns, names=names), file)
        return file

    def _read(self, path=None, **options):
        return importers.read(
            path or self.folder, importers.Options(**options)
        ).table

    def test_tokens_and_texts(self):
        self.assertEqual(importers.formats.detected(self.folder), "levanter")
        table = self._read(keep_texts=True)
        self.assertEqual([model.name for model in table.models], ["a", "b"])
        self.assertEqual(table.texts.texts, _TEXTS)
        self.assertEqual(table.texts.ids[0], "paloma/c4/docs/0")
        self.assertEqual(set(table.texts.domains), {"paloma/c4"})
        np.testing.assert_allclose(
            table.nll_nats, [[6.5, 6.0, 5.0], [5.0, 4.5, 4.0]]
        )
        self.assertEqual(table.unit, "nll_nats")
        np.testing.assert_array_equal(table.num_tokens, [[4, 2, 1], [4, 3, 1]])
        for model, ends in (("a", [1, 3, 6, 7]), ("b", [3, 4, 6, 7])):
            found = table.tokens[model]
            self.assertEqual(found.of_text(0)[1].tolist(), ends)
            self.assertTrue(found.is_followed.all())
        cut = table.segments("token")
        self.assertEqual(cut.places.start_bytes.tolist(), [0, 3, 6, 0, 3, 0])
        with self.subTest("written and read"):
            out = self.folder.parent / "scores"
            scores.write(table, out)
            again = scores.open(out)
            np.testing.assert_allclose(
                again.segments("token").nll_nats,
                cut.nll_nats,
                rtol=tolerances.TOKEN_SUMS,
            )
            with self.assertRaisesRegex(ValueError, "segments of texts"):
                scores.write(cut, self.folder.parent / "other")

    def test_a_file_of_one_model(self):
        file = self.folder / "a" / "scored_documents.parquet"
        self.assertEqual([m.name for m in self._read(file).models], ["a"])
        self._write(self.folder.parent / "c.parquet", _ROWS["a"])
        table = self._read(self.folder.parent / "c.parquet")
        self.assertEqual([m.name for m in table.models], ["c"])

    def test_without_the_columns_of_spans(self):
        file = self._write(
            self.folder.parent / "old.parquet",
            _ROWS["a"],
            without=("score_byte_start", "score_byte_end"),
        )
        np.testing.assert_allclose(self._read(file).nll_nats, [[6.5, 6, 5]])

    def test_another_unit_than_nats(self):
        with self.assertRaisesRegex(ValueError, "=bits_per_byte, but .*nats"):
            self._read(value="bits_per_byte")

    def test_a_span_is_the_text(self):
        """What stands before it is context; a token across is not followed."""
        for start, ends in ((3, [6]), (4, None)):
            row = _row(1, [3, 9], [2.0, 6.0], score_byte_start=start)
            file = self._write(self.folder.parent / "span.parquet", [row])
            table = self._read(file, keep_texts=True)
            self.assertEqual(table.texts.texts, (_TEXTS[1][start:],))
            np.testing.assert_allclose(table.nll_nats, [[9.0 - start]])
            found = table.tokens["span"]
            if ends is not None:
                self.assertEqual(found.of_text(0)[1].tolist(), ends)

    def test_tokens_that_share_bytes_are_not_followed(self):
        row = _row(1, [3, 9], [2.0, 4.0], token_byte_starts=[0, 0, 2])
        file = self._write(self.folder.parent / "shared.parquet", [row])
        found = self._read(file).tokens["shared"]
        self.assertFalse(found.is_followed[0])
        self.assertAlmostEqual(float(found.nll_nats.sum()), 6.0)

    def test_other_texts(self):
        rows = [dict(row) for row in _ROWS["b"]]
        rows[0] = _row(2, [1], [4.0], text="y")
        self._write(self.folder / "b" / "scored_documents.parquet", rows)
        with self.assertRaisesRegex(ValueError, "docs/2' is another text"):
            self._read()

    def test_refuses(self):
        for changes, message in (
            ({"num_bytes": 3}, "row 1: num_bytes is 3"),
            ({"score_byte_end": 99}, "row 1: the scored bytes are 0 to 99"),
            ({"per_byte_loss": [1.0]}, "row 1: per_byte_loss has 1"),
            ({"per_byte_loss": [float("nan")] * 9}, "not finite"),
            ({"token_byte_ends": [1]}, "row 1: 3 token_byte_starts and 1"),
            ({"text": None}, "row 1: text is missing"),
        ):
            row = _row(1, [3, 9], [2.0, 4.0], **changes)
            file = self._write(self.folder.parent / "bad.parquet", [row])
            with self.assertRaisesRegex(ValueError, message):
                self._read(file)
        file.write_bytes(b"no Parquet")
        with self.assertRaisesRegex(ValueError, "bad.parquet: damaged"):
            list(levanter.read(file, importers.Options()).text_ids)

    def test_summaries(self):
        file = self.folder.parent / "model.jsonl"
        rows = [
            dict(doc_id=i, corpus_id="c4", loss=2.0 + i, bits_per_byte=1.0 + i)
            for i in range(3)
        ]
        file.write_text("\n".join(map(json.dumps, rows)))
        with self.assertRaisesRegex(
            ValueError, "but the first.*--value=bits_per_byte"
        ):
            self._read(file)
        table = self._read(file, value="bits_per_byte")
        self.assertEqual(table.unit, "bits_per_byte")
        np.testing.assert_array_equal(table.nll_nats, [[1.0, 2.0, 3.0]])
        self.assertEqual(table.texts.ids[2], "c4/2")
        self.assertIn("first token", table.models[0].provenance["caveats"][0])
        file.write_text(json.dumps(rows[0]) + '\n{"doc_id": 1}\n')
        with self.assertRaisesRegex(ValueError, "line 2: .*are needed"):
            self._read(file, value="bits_per_byte")


if __name__ == "__main__":
    absltest.main()
