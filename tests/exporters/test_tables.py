"""An import of an export is the same table, to the bit."""

import itertools
import pathlib
import re
import tempfile
import uuid
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, exporters, importers, scores

_SUFFIXES = (
    ".csv",
    ".csv.gz",
    ".tsv.zst",
    ".jsonl",
    ".jsonl.gz",
    ".parquet",
    ".npz",
)


def _table(**changes):
    rng = np.random.default_rng(0)
    num_models, num_texts = 3, 5
    tokens = rng.integers(1, 9, (num_models, num_texts))
    # Bits of all sizes, a subnormal number, a negative zero.
    nll = rng.random((num_models, num_texts)) * 10.0 ** rng.integers(
        -300, 300, (num_models, num_texts)
    )
    nll[0, :3] = 5e-324, 1 / 3, 2.0**53 + 2
    fields = {
        "models": (
            scores.ScoredModel(
                "org/a-7b",
                "a",
                "base",
                {"num_params": 7e9 + 1, "price": 0.1},
                {"key": {"dtype": "float32"}, "seconds": 1.5},
            ),
            scores.ScoredModel('b "x", y', "b", "instruct", {"price": 1 / 3}),
            scores.ScoredModel("file\nof two lines"),
        ),
        "texts": corpus.Corpus(
            ids=("007", "x,1", 'say "hi"', "NA", "é"),
            domains=("d", "d", "", "e;f", "1"),
            num_bytes=np.arange(1, 6),
            num_chars=np.arange(2, 7),
            sha256=("0" * 64, "1" * 64, "2" * 64, "", "4" * 64),
            texts=None,
        ),
        "nll_nats": nll,
        "num_tokens": tokens + 1,
        "num_scored": tokens,
        "round_trips": rng.random((num_models, num_texts)) < 0.5,
        "chars_per_token": 3.25,
        "query_costs": rng.random((num_models, num_texts)),
    }
    return scores.ScoreTable(**{**fields, **changes})


class ExportTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _round_trip(self, table, suffix, layout, **options):
        written = exporters.write(
            table, self.folder / f"s{suffix}", layout=layout
        )
        return importers.read(
            written.scores,
            importers.Options(
                models=written.models,
                value=written.value,
                domain="domain" if any(table.texts.domains) else None,
                **options,
            ),
        ).table

    def _assert_same(self, again, table):
        for field in (
            "nll_nats",
            "num_tokens",
            "num_scored",
            "round_trips",
            "query_costs",
        ):
            old, new = getattr(table, field), getattr(again, field)
            if old is None:
                self.assertIsNone(new)
            else:
                self.assertEqual(new.dtype, old.dtype, field)
                self.assertEqual(new.tobytes(), old.tobytes(), field)
        for field in ("ids", "domains", "sha256"):
            self.assertEqual(
                getattr(again.texts, field), getattr(table.texts, field)
            )
        np.testing.assert_array_equal(
            again.texts.num_bytes, table.texts.num_bytes
        )
        np.testing.assert_array_equal(
            again.texts.num_chars, table.texts.num_chars
        )
        self.assertEqual(again.chars_per_token, table.chars_per_token)
        self.assertEqual(again.unit, table.unit)
        for old, new in zip(table.models, again.models, strict=True):
            self.assertEqual(
                (new.name, new.family, new.kind, new.costs),
                (old.name, old.family, old.kind, old.costs),
            )
            self.assertLessEqual(old.provenance.items(), new.provenance.items())

    @parameterized.parameters(*itertools.product(_SUFFIXES, exporters.LAYOUTS))
    def test_to_the_bit(self, suffix, layout):
        table = _table()
        self._assert_same(self._round_trip(table, suffix, layout), table)

    @parameterized.parameters(
        *itertools.product(("error", "raw", "bits_per_byte"), (".csv", ".npz"))
    )
    def test_other_units_and_nothing_else(self, unit, suffix):
        values = np.array([[0.0, 0.25], [1.0, 1 / 3]])
        if unit == "raw":
            # -0 reads as a whole number in a column of whole ones.
            values[0] = -0.0, -2.5
            values[1] = 1.0, -0.0
        table = scores.ScoreTable(
            models=(scores.ScoredModel("a"), scores.ScoredModel("b")),
            texts=corpus.Corpus(
                ids=("x", "y"),
                domains=("", ""),
                num_bytes=np.zeros(2, np.int64),
                num_chars=np.zeros(2, np.int64),
                sha256=("", ""),
                texts=None,
            ),
            nll_nats=values,
            unit=unit,
        )
        for layout in exporters.LAYOUTS:
            self._assert_same(self._round_trip(table, suffix, layout), table)

    def test_texts_that_are_kept(self):
        table = _table()
        texts = ("a\nb", '"', "", " c ", "NA")
        table = _table(
            texts=corpus.Corpus(
                **{**vars(table.texts), "texts": texts},
            )
        )
        for suffix in (".csv", ".jsonl", ".parquet"):
            again = self._round_trip(table, suffix, "wide", keep_texts=True)
            self.assertEqual(again.texts.texts, texts)

    def test_a_full_disk(self):
        """Of a device that is always full."""
        full = pathlib.Path("/dev/full")
        if not full.exists():
            self.skipTest("no /dev/full")
        path = self.folder / "s.csv"
        self.enter_context(
            mock.patch.object(uuid, "uuid4", return_value=uuid.UUID(int=0))
        )
        for name in ("s.csv", "s.models.csv"):
            (self.folder / f"{name}.{0:08}.tmp").symlink_to(full)
            with self.assertRaisesRegex(OSError, f"the disk is full.*{name}'$"):
                exporters.write(_table(), path)

    def test_refusals(self):
        table = _table()
        for path, message in (
            ("s.xlsx", "s.xlsx: give a .csv"),
            ("s.parquet.gz", "give a .csv"),
            ("s", "give a .csv"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                exporters.write(table, self.folder / path)
        with self.assertRaisesRegex(ValueError, "no layout 'x'"):
            exporters.write(table, self.folder / "s.csv", layout="x")
        for name in ("sha256", "num_tokens|x", " a", "b\0"):
            models = (scores.ScoredModel(name), *table.models[1:])
            with self.assertRaisesRegex(ValueError, re.escape(repr(name))):
                exporters.write(_table(models=models), self.folder / "s.csv")
        names = map(scores.ScoredModel, ("model", "value"))
        models = (*names, *table.models[2:])
        with self.assertRaisesRegex(ValueError, "called model and value, as"):
            exporters.write(_table(models=models), self.folder / "s.csv")
        self.assertEmpty(list(self.folder.iterdir()))


if __name__ == "__main__":
    absltest.main()
