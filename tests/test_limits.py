"""What is too large is refused: every limit by a file that is above it."""

import gzip
import os
import pathlib
import struct
import tempfile
import types
import zipfile
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import (
    certificate_checker,
    corpus,
    limits,
    pool,
    report,
)
from mmc_jax.corpus import files
from mmc_jax.importers import columns, pickles
from mmc_jax.models import configs, gguf_files, tensors, weight_files
from mmc_jax.report import result
from mmc_jax.scores import files as score_files
from mmc_jax.scoring import tokenizer_files

_ROOT = pathlib.Path(__file__).parents[1]


def _lowered(limit: str, most: int):
    """Returns a context in which a limit is so low that a small file is it."""
    lower = limits.LIMITS[limit]._replace(most=most)
    return mock.patch.dict(limits.LIMITS, {limit: lower})


class LimitsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())

    def _file(self, name: str, content: bytes | str) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content.encode() if isinstance(content, str) else content
        )
        return path

    def test_large_values_are_cut_in_errors(self):
        value = ["x" * 1000]
        for _ in range(40):
            value = [value] * 9  # As aliases of YAML make it.
        self.assertLess(len(limits.shown(value)), 500)
        self.assertLess(len(limits.shown({"a": "x" * 10**6})), 100)
        self.assertIn("too many digits", limits.shown([16**5000]))
        self.assertEqual(limits.shown(["so", 1.5, None]), "['so', 1.5, None]")

    def test_advice_to_programmers_is_left_out(self):
        deep = pa.float64()
        for _ in range(120):
            deep = pa.list_(deep)
        path = self.folder / "deep.parquet"
        pa.parquet.ParquetWriter(path, pa.schema([("a", deep)])).close()
        digits = self._file("digits.json", '{"a": %s}' % ("9" * 5000))
        for file, read in (
            (path, columns.read_columns),
            (digits, files.json_object),
        ):
            with self.assertRaisesRegex(ValueError, file.name) as raised:
                read(file)
            self.assertNotRegex(
                str(raised.exception), "increas|set_int_max_str_digits"
            )

    def test_pipes_are_refused(self):
        """Opening one waits for ever, some of them without Ctrl-C."""
        for name, read in (
            ("a.npz", columns.read_columns),
            ("a.parquet", lambda path: score_files.read_parquet(path, None)),
            ("a.pkl", pickles.plain),
            ("b.npz", result.check_file),
            ("c.npz", lambda path: certificate_checker.check(path, [[1]], [1])),
        ):
            path = self.folder / name
            os.mkfifo(path)
            with (
                self.subTest(name),
                self.assertRaisesRegex(ValueError, "a pipe or a |is no file"),
            ):
                read(path)

    def test_the_page_shows_them(self):
        page = (_ROOT / "experiments/LIMITS.md").read_text()
        self.assertIn(limits.page(), page)

    def test_the_checker_has_the_same(self):
        self.assertEqual(
            certificate_checker._MOST_BYTES, limits.LIMITS["arrays"].most
        )

    def test_what_stands_at_the_limit_is_read(self):
        path = self._file("pool.yaml", "models: []")
        with _lowered("pool", path.stat().st_size):
            limits.check_file("pool", path)
        with (
            _lowered("pool", path.stat().st_size - 1),
            self.assertRaisesRegex(ValueError, "pool.yaml: .*10 bytes; at mos"),
        ):
            pool.read(path)

    @parameterized.parameters(
        ("settings", "config.json", lambda p: configs.read_json(p)),
        ("settings", "tokenizer_config.json", files.json_object),
        (
            "index",
            "model.safetensors.index.json",
            lambda p: weight_files.find(p.parent),
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda p: tokenizer_files.read(p.parent),
        ),
        (
            "tokenizer",
            "tokenizer.model",
            lambda p: tokenizer_files.read(p.parent),
        ),
        ("tokenizer", "vocab.json", lambda p: tokenizer_files.read(p.parent)),
        ("line", "texts.jsonl", corpus.read),
        ("text_file", "text.txt", lambda p: corpus.read(p.parent)),
        ("points", "points.csv", report.read_points),
        ("result", "result.json", lambda p: result._hashes(p)),
    )
    def test_files(self, limit, name, read):
        path = self._file(name, '{"text": "0123456789"}')
        with _lowered(limit, 9), self.assertRaisesRegex(ValueError, "at most"):
            read(path)

    def test_packed_files(self):
        path = self._file("scores.csv.gz", gzip.compress(b"a,b\n" * 1000))
        with (
            _lowered("unpacked", 3999),
            self.assertRaisesRegex(ValueError, "scores.csv.gz.*at most 3,999"),
        ):
            files.in_utf8(path)
        with _lowered("unpacked", 4000):
            self.assertLen(files.in_utf8(path).read(), 4000)

    def test_one_text_in_many_rows_of_parquet(self):
        """It is written once, and takes memory in each row."""
        path = self.folder / "scores.parquet"
        texts = pa.array(["0123456789"] * 1000)
        for column in (
            texts.cast(pa.large_string()),  # As polars writes it.
            texts.cast(pa.binary()),
            texts.dictionary_encode(),
            texts,
        ):
            table = pa.table({"text_id": column, "m": [1.0] * 1000})
            pyarrow.parquet.write_table(table, path)
            with (
                self.subTest(column.type),
                _lowered("unpacked", 9999),
                self.assertRaisesRegex(
                    ValueError, "scores.parquet.*at most 9,999"
                ),
            ):
                columns.read_columns(path)
        with _lowered("unpacked", 10_000):
            self.assertLen(columns.read_columns(path), 1000)

    def test_lists_of_texts_in_parquet(self):
        """In several groups of rows Arrow reads none as a dictionary."""
        path = self.folder / "lists.parquet"
        table = pa.table({"id": ["a"] * 9, "t": [[{"x": "b"}, {"x": "c"}]] * 9})
        pyarrow.parquet.write_table(table, path, row_group_size=2)
        self.assertEqual(columns.read_columns(path), table)

    def test_a_long_text_in_parquet(self):
        path = self.folder / "texts.parquet"
        pyarrow.parquet.write_table(
            pa.table({"text": ["short", "0" * 10]}), path
        )
        with (
            _lowered("line", 9),
            self.assertRaisesRegex(
                ValueError, "parquet, row 1: text of.*10 by"
            ),
        ):
            corpus.read(path)

    def test_archives(self):
        path = self.folder / "arrays.npz"
        np.savez_compressed(path, zeros=np.zeros(100_000))
        with _lowered("arrays", 2**16):
            with self.assertRaisesRegex(ValueError, "at most 65,536"):
                limits.check_archive("arrays", path)
            with self.assertRaisesRegex(ValueError, "at most 65,536"):
                columns.read_columns(path)
        with (
            mock.patch.object(certificate_checker, "_MOST_BYTES", 2**16),
            self.assertRaisesRegex(
                certificate_checker.CertificateError, "unpacks to 800,"
            ),
        ):
            certificate_checker.check(path, [[1.0]], [1.0])
        with zipfile.ZipFile(self.folder / "sheet.xlsx", "w") as archive:
            archive.writestr("xl/sheet.xml", "0" * 100)
        with (
            _lowered("spreadsheet", 99),
            self.assertRaisesRegex(ValueError, "spreadsheet"),
        ):
            limits.check_archive("spreadsheet", self.folder / "sheet.xlsx")

    def test_tables(self):
        path = self.folder / "scores.parquet"
        pa.parquet.write_table(pa.table({"a": [1.0] * 6, "b": [1.0] * 6}), path)
        with _lowered("cells", 11):
            with self.assertRaisesRegex(ValueError, "12 cells; at most 11"):
                columns.read_columns(path)
            with self.assertRaisesRegex(ValueError, "12 cells; at most 11"):
                score_files.read_parquet(path, pa.schema([]))
        path = self._file("wide.csv", "a,b,c\n1,2,3\n")
        with (
            _lowered("columns", 2),
            self.assertRaisesRegex(ValueError, "3 columns; at most 2"),
        ):
            columns.read_columns(path)

    @parameterized.parameters(((2**40, 5), "tensors"), ((5, 2**40), "keys"))
    def test_gguf(self, counts, unit):
        path = self._file(
            "model.gguf", struct.pack("<4sIQQ", b"GGUF", 3, *counts)
        )
        with self.assertRaisesRegex(
            ValueError, f"1,099,511,627,776 {unit}; at most"
        ):
            gguf_files.open(path)

    @parameterized.product(order=("<", ">"), kind=(0, 4, 8, 9))
    def test_arrays_of_gguf(self, order, kind):
        beginning = struct.pack(f"{order}IQQQ1sI", 3, 0, 2, 1, b"a", 4)
        number = struct.pack(f"{order}I", 1)
        array = struct.pack(f"{order}Q1sIIQ", 1, b"b", 9, kind, 2**40)
        path = self._file(
            "model.gguf", b"GGUF" + beginning + number + array + bytes(99)
        )
        with self.assertRaisesRegex(
            ValueError, "1,099,511,627,776 values; at most"
        ):
            gguf_files.open(path)

    def test_a_length_of_gguf_beyond_all_numbers(self):
        path = self._file(
            "model.gguf",
            b"GGUF" + struct.pack("<IQQQ1s", 3, 0, 2, 2**63, b"a") + bytes(99),
        )
        with self.assertRaisesRegex(ValueError, "model.gguf: not readable"):
            gguf_files.open(path)

    def test_a_safetensors_header(self):
        most = limits.LIMITS["safetensors_header"].most
        self._file("model.safetensors", struct.pack("<Q", most + 1) + b"{}")
        with self.assertRaisesRegex(ValueError, "(?i)header.*large"):
            tensors.Tensors(self.folder, types.SimpleNamespace(PREFIX=""))

    def test_sizes_of_a_config(self):
        for key, limit in (
            ("num_hidden_layers", "layers"),
            ("hidden_size", "width"),
            ("vocab_size", "vocabulary"),
            ("max_position_embeddings", "context"),
            ("something", "integer"),
        ):
            size = limits.LIMITS[limit].most + 1
            raw = f'{{"model_type": "llama", "{key}": {size}}}'
            self._file("config.json", raw)
            with (
                self.subTest(key),
                self.assertRaisesRegex(
                    ValueError, f"{key} is {size:,}, more than {size - 1:,}"
                ),
            ):
                configs.read(self.folder)

    def test_digits_and_names(self):
        path = self._file("texts.jsonl", f'{{"text": "a", "n": {"1" * 4001}}}')
        with self.assertRaisesRegex(ValueError, "4,001 digits"):
            corpus.read(path)
        name = "a" * (limits.LIMITS["name"].most + 1)
        path = self._file(
            "pool.yaml",
            f"models: [{{name: {name}, checkpoint: a/b, family: f}}]",
        )
        with self.assertRaisesRegex(ValueError, "201 letters"):
            pool.read(path)

    def test_instructions_of_a_pickle(self):
        path = self._file("bomb.pkl", b"0" * 100)
        self.assertEqual(
            pickles._MOST_INSTRUCTIONS, limits.LIMITS["pickle"].most
        )
        with (
            mock.patch.object(pickles, "_MOST_INSTRUCTIONS", 0),
            self.assertRaisesRegex(ValueError, "more than 0 instructions"),
        ):
            pickles.plain(path)


if __name__ == "__main__":
    absltest.main()
