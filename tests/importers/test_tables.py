"""Tables of every kind of file, wide and long; units, gaps, families."""

import gzip
import json
import pathlib
import shutil
import sys
import tempfile
import types
import zipfile
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import importers, scores
from mmc_jax.importers import families
from tests import tolerances

_WIDE = {
    "text_id": ["007", "x"],
    "a-7b": [1.5, 0.25],
    "b-13b": [2.0, 3.0],
}
_LONG = {
    "text_id": ["007", "007", "x", "x"],
    "model": ["a-7b", "b-13b", "b-13b", "a-7b"],
    "value": [1.5, 2.0, 3.0, 0.25],
}


def _csv(columns, separator=","):
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def _json_lines(columns):
    rows = zip(*columns.values(), strict=True)
    return "".join(
        json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows
    )


def _zstd(path, raw):
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(raw)


class _Case(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _write(self, name, content):
        path = self.folder / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return path

    def _read(self, path, **options):
        return importers.read(path, importers.Options(**options)).table

    def _values(self, values, value, **options):
        return self._read(
            self._write("v.csv", _csv({"text_id": ["x"], "a": [values]})),
            value=value,
            **options,
        )


class KindsTest(_Case):
    @parameterized.product(
        name=(
            "s.csv",
            "s.csv.gz",
            "s.csv.zst",
            "s.tsv",
            "semicolons.csv",
            "commas.csv",
            "mark.csv",
            "s.jsonl",
            "s.jsonl.zst",
            "s.parquet",
            "s.npz",
        ),
        layout=("wide", "long"),
    )
    def test_are_the_same(self, name, layout):
        columns = _WIDE if layout == "wide" else _LONG
        path = self.folder / name
        options = {}
        if name == "s.parquet":
            pyarrow.parquet.write_table(pa.table(columns), path)
        elif name == "s.npz":
            np.savez(path, **{n: np.array(c) for n, c in columns.items()})
        else:
            text = _csv(columns)
            if "jsonl" in name:
                text = _json_lines(columns)
            elif name == "s.tsv":
                text = _csv(columns, "\t")
            elif name == "semicolons.csv":
                text = _csv(columns, ";")
            elif name == "commas.csv":
                text = _csv(columns, ";").replace(".", ",")
                options["decimal_comma"] = True
            elif name == "mark.csv":
                text = "\ufeff" + text
            if name.endswith(".zst"):
                _zstd(path, text.encode())
            elif name.endswith(".gz"):
                path.write_bytes(gzip.compress(text.encode()))
            else:
                path.write_text(text, "utf-8")
        table = self._read(path, value="nll_nats", **options)
        self.assertEqual(table.texts.ids, ("007", "x"))
        self.assertEqual([m.name for m in table.models], ["a-7b", "b-13b"])
        np.testing.assert_array_equal(table.nll_nats, [[1.5, 0.25], [2, 3]])
        self.assertEqual(table.unit, "nll_nats")

    def test_arrays_of_all_models(self):
        path = self.folder / "s.npz"
        np.savez(
            path,
            models=np.array(["a", "b"]),
            text_id=np.array(["x", "y", "z"]),
            values=np.arange(6.0).reshape(2, 3),
            num_bytes=np.array([1, 2, 3]),
        )
        table = self._read(path, value="nll_bits")
        np.testing.assert_allclose(
            table.losses("bits_per_byte"),
            [[0, 0.5, 2 / 3], [3, 2, 5 / 3]],
            rtol=tolerances.NORMALISATION,
        )

    @parameterized.named_parameters(
        (
            "objects",
            {"text_id": np.array(["a", 1], object)},
            "'text_id': not r",
        ),
        ("shape", {"text_id": ["a"], "m": [[1.0, 2.0]]}, "'m': its shape is"),
        ("length", {"text_id": ["a"], "m": [1.0, 2.0]}, "'m': 2 values, and 1"),
        (
            "complex",
            {"text_id": ["a"], "m": [1j]},
            "'m': complex128 is neither",
        ),
        (
            "models",
            {"text_id": ["a"], "models": ["m"], "values": [[1.0], [2.0]]},
            "'values' has the shape .2, 1., for .1,. models",
        ),
    )
    def test_arrays_refused(self, arrays, message):
        path = self.folder / "s.npz"
        np.savez(path, **arrays)
        with self.assertRaisesRegex(ValueError, f"s.npz.*{message}"):
            self._read(path)

    def test_damaged_arrays_are_named(self):
        path = self.folder / "s.npz"
        np.savez(path, text_id=["a"], m=[1.5])
        good = path.read_bytes()
        at = good.index(b"PK\x01\x02") + 6  # The version that it needs.
        for content in (
            good[:2] + b"\x01" + good[3:],
            good[:at] + b"\xff" + good[at + 1 :],
        ):
            path.write_bytes(content)
            with self.assertRaisesRegex(ValueError, "s.npz"):
                self._read(path)
        path.write_bytes(good)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("n", "no array")
        with self.assertRaisesRegex(ValueError, "s.npz: 'n' is no array"):
            self._read(path)

    def test_json_lines_refused(self):
        good = _json_lines(_WIDE)
        for text, message in (
            (good[:-20], "s.jsonl, line 2: not JSON"),
            (good + "[1]\n", "s.jsonl, line 3: a list; each line holds an obj"),
            (good + "{" * 3, "s.jsonl, line 3: not JSON"),
            (
                '{"text_id":' + "[" * 9**5,
                "s.jsonl, line 1: lists or objects are nested",
            ),
            (
                good.replace('"b-13b": 2', '"a-7b": 2'),
                "s.jsonl, line 1: the key 'a-7b' stands there twice",
            ),
            (
                good.replace("1.5", '"x", "y": ' + "9" * 5000),
                "s.jsonl, line 1: a number of 5,000 digits",
            ),
            (good.replace("1.5", '"x"'), "row 1, column 'a-7b': 'x' is not a"),
            (good.replace("1.5", "[1]"), "row 1, column 'a-7b'"),
            (good.replace("007", "\\ud800"), "s.jsonl.*"),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                self._read(self._write("s.jsonl", text), only_models=["a-7b"])
        with self.subTest("a key that a row does not have"):
            path = self._write("s.jsonl", good.replace('"a-7b": 0.25, ', ""))
            with self.assertRaisesRegex(ValueError, "row 2, column 'a-7b': no"):
                self._read(path)

    def test_a_spreadsheet(self):
        """Of a stand-in for openpyxl, which need not be installed."""
        rows = [
            ("text_id", "a-7b", "b-13b", None),
            ("007", 1.5, 2, None),
            (None, None, None, None),
            ("x", 0.25, "#N/A", None),
        ]
        sheet = types.SimpleNamespace(
            title="scores", iter_rows=lambda values_only: iter(rows)
        )
        book = types.SimpleNamespace(
            worksheets=[sheet], sheetnames=["scores", "notes"], close=int
        )
        stand_in = types.SimpleNamespace(load_workbook=lambda *_, **__: book)
        path = self._write("s.xlsx", b"")
        with (
            mock.patch.dict(sys.modules, openpyxl=stand_in),
            self.assertLogs("absl", "WARNING") as logs,
        ):
            table = self._read(path, missing="drop_models")
        self.assertIn("'scores' is read; ignored: notes", str(logs))
        self.assertEqual(table.texts.ids, ("007", "x"))
        np.testing.assert_array_equal(table.nll_nats, [[1.5, 0.25]])
        with (
            mock.patch.dict(sys.modules, openpyxl=None),
            self.assertRaisesRegex(ImportError, "pip install openpyxl"),
        ):
            self._read(path)

    def test_cells_of_a_spreadsheet(self):
        """Of a stand-in for openpyxl, which need not be installed."""
        values = [(None, "text_id", "a", "b"), (0, "x", True, 2)]
        values.append((1, "y", None, 3))
        formulas = [*values[:2], (1, "y", "=1=1", 3)]

        def load_workbook(*_, data_only, **__):
            rows = values if data_only else formulas
            sheet = types.SimpleNamespace(
                title="scores", iter_rows=lambda values_only: iter(rows)
            )
            return types.SimpleNamespace(
                worksheets=[sheet], sheetnames=["scores"], close=int
            )

        stand_in = types.SimpleNamespace(load_workbook=load_workbook)
        path = self._write("s.xlsx", b"")
        with mock.patch.dict(sys.modules, openpyxl=stand_in):
            with self.assertRaisesRegex(
                ValueError, "row 2, column 3: the formula '=1=1' has no value"
            ):
                self._read(path)
            values[2] = (1, "y", False, 3)
            table = self._read(path)
        self.assertEqual([m.name for m in table.models], ["a", "b"])
        self.assertEqual(table.nll_nats.tolist(), [[1, 0], [2, 3]])

    def test_decimal_commas(self):
        text = "text_id;a\nx;1,234\ny;2\n"
        path = self._write("s.csv", text)
        table = self._read(path, decimal_comma=True)
        np.testing.assert_array_equal(table.nll_nats, [[1.234, 2]])
        with self.assertRaisesRegex(ValueError, "--decimal_comma"):
            self._read(path)
        path = self._write("s.csv", text.replace("1,234", "1,2,3"))
        with self.assertRaisesRegex(ValueError, "'1,2,3' is not a number"):
            self._read(path, decimal_comma=True)

    def test_blank_rows(self):
        path = self._write("s.csv", "\n\r\n\ntext_id;a\n\nx;1\n\n")
        table = self._read(path)
        self.assertEqual(table.texts.ids, ("x",))
        np.testing.assert_array_equal(table.nll_nats, [[1]])

    def test_points_beside_decimal_commas(self):
        text = "text_id;a;b\nx;12.345;0,5\ny;2.5;NA\n"
        path = self._write("s.csv", text)
        with self.assertRaisesRegex(
            ValueError, "row 1, column 'a': 12.345 may be 12345 with"
        ):
            self._read(path, decimal_comma=True)
        counts = "text_id;a;num_bytes\nx;0,5;1.000\ny;0,5;2.000\n"
        with self.assertRaisesRegex(
            ValueError, "row 1, column 'num_bytes': 1.000 may be 1000 with"
        ):
            self._read(self._write("s.csv", counts), decimal_comma=True)
        path = self._write("s.csv", text.replace("12.345", "12345"))
        table = self._read(path, decimal_comma=True, missing="drop_texts")
        np.testing.assert_array_equal(table.nll_nats, [[12345], [0.5]])

    def test_numbers_that_python_alone_reads(self):
        path = self._write("s.csv", "text_id,a\nx,+1\ny,+2.5\n")
        np.testing.assert_array_equal(self._read(path).nll_nats, [[1, 2.5]])
        for cell in ("1_0", "\u0661", "0b1"):
            path = self._write("s.csv", f"text_id,a\nx,{cell}\ny,2\n")
            with self.assertRaisesRegex(ValueError, "row 1, .* not a number"):
                self._read(path, only_models=["a"])

    @parameterized.parameters("45%", "1.234,5", "1 234", "1'234.5")
    def test_numbers_as_people_write_them(self, cell):
        """They are no reason to leave a model out."""
        path = self._write("s.csv", f'text_id;a;b\nx;"{cell}";2\ny;2,5;3\n')
        with self.assertRaisesRegex(ValueError, "row 1, .*with digits and a"):
            self._read(path)

    def test_columns_that_number_the_rows(self):
        columns = {
            "index": range(12),
            "text_id": [f"t{i}" for i in range(12)],
            "a": [2 * i for i in range(12)],
        }
        path = self._write("s.csv", _csv(columns))
        self.assertLen(self._read(path).models, 1)
        self.assertLen(self._read(path, only_models=["a", "index"]).models, 2)

    def test_objects_with_numbers_as_strings(self):
        rows = [{"a": "1.5", "b": 2}, {"a": 1, "b": None}]
        columns = {"text_id": ["x", "y"], "value": rows}
        table = self._read(
            self._write("s.jsonl", _json_lines(columns)), missing="drop_texts"
        )
        self.assertEqual(table.nll_nats.tolist(), [[1.5], [2]])

    def test_kinds_of_columns_of_parquet(self):
        numbers = pa.array(["1", "2"])
        columns = {
            "text_id": ["x", "y"],
            "a": numbers.dictionary_encode(),
            "b": numbers.cast(pa.string_view()),
            "c": pa.array([1, 2]).dictionary_encode(),
        }
        path = self.folder / "s.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path)
        self.assertEqual(self._read(path).nll_nats.tolist(), [[1, 2]] * 3)

    def test_names_that_look_like_times(self):
        ids = ["2020-01-01", "2020-01-02T03:04:05Z"]
        columns = {"text_id": ids, "model": ["2024-05-01"] * 2, "value": [1, 2]}
        path = self._write("s.jsonl", _json_lines(columns))
        table = self._read(path)
        self.assertEqual(table.texts.ids, tuple(ids))
        self.assertEqual(table.models[0].name, "2024-05-01")

    def test_arrays_of_other_machines(self):
        path = self.folder / "s.npz"
        np.savez(
            path,
            models=np.array([b"a"]),
            text_id=np.array([7, 8], ">i8"),
            values=np.array([[1, 2]], ">f4"),
        )
        table = self._read(path)
        self.assertEqual(table.models[0].name, "a")
        self.assertEqual(table.texts.ids, ("7", "8"))
        np.testing.assert_array_equal(table.nll_nats, [[1, 2]])

    @parameterized.parameters("model", "text_id", "num_bytes", "topic")
    def test_two_columns_of_one_name(self, name):
        names = ["text_id", "model", "value", "num_bytes", "topic"]
        for cell, is_fine in (("1", True), ("2", False)):
            row = ",".join(["1"] * len(names) + [cell])
            path = self._write("s.csv", f"{','.join(names)},{name}\n{row}\n")
            with self.subTest(cell):
                if is_fine:
                    self.assertLen(self._read(path, domain="topic").models, 1)
                    continue
                with self.assertRaisesRegex(ValueError, f"'{name}' differ"):
                    self._read(path, domain="topic")

    def test_a_row_of_another_length(self):
        path = self._write("s.csv", "sep=;\ntext_id;a\nx;1\ny;2;3\n")
        with self.assertRaisesRegex(
            ValueError, "s.csv, row 2: 3 cells, and the header has 2"
        ):
            self._read(path)
        with (
            self.subTest("another encoding"),
            self.assertRaisesRegex(ValueError, "s.csv, line 1: not UTF-8"),
        ):
            self._read(
                self._write("s.csv", "text_id,é\nx,1\n".encode("cp1252"))
            )

    def test_a_row_without_end(self):
        path = self._write("s.csv", 'text_id,a\nx,"1\n' + "y,2\n" * 9)
        with self.assertRaisesRegex(ValueError, "s.csv"):
            self._read(path)

    def test_ten_thousand_columns(self):
        """In seconds: time grows with the cells, not with a higher power."""
        columns = {f"m{m}": [m] for m in range(10_000)}
        path = self._write("s.csv", _csv({"text_id": ["x"], **columns}))
        table = self._read(path, value="nll_nats")
        np.testing.assert_array_equal(table.nll_nats[:, 0], np.arange(10_000))


class LongTest(_Case):
    def test_other_names_and_columns(self):
        columns = {
            "item": ["x", "x", "y", "y"],
            "name": ["a", "b", "a", "b"],
            "loss": [1, 2, 3, 4],
            "set": ["s", "s", "t", "t"],
            "num_bytes": [5, 5, 6, 6],
            "num_tokens": [2, 3, 4, 5],
            "seconds": [0.1, 0.2, 0.3, 0.4],
        }
        path = self._write("s.csv", _csv(columns))
        named = {
            "text_id": "item",
            "model_column": "name",
            "value_column": "loss",
            "domain": "set",
        }
        table = self._read(path, **named)
        np.testing.assert_array_equal(table.nll_nats, [[1, 3], [2, 4]])
        self.assertEqual(table.texts.domains, ("s", "t"))
        np.testing.assert_array_equal(table.texts.num_bytes, [5, 6])
        np.testing.assert_array_equal(table.num_tokens, [[2, 4], [3, 5]])
        self.assertEqual(
            table.models[0].provenance["ignored_columns"], ["seconds"]
        )
        columns["set"][3] = "u"
        path = self._write("s.csv", _csv(columns))
        with self.assertRaisesRegex(
            ValueError, "row 4, column 'set': 'u', and 't' in an earlier row"
        ):
            self._read(path, **named)
        with self.assertRaisesRegex(ValueError, "no column 'topic'"):
            self._read(path, **{**named, "domain": "topic"})

    @parameterized.named_parameters(
        ("twice", "x,b,3", "x,a,3", "row 3: the model 'a' .* in row 1 already"),
        ("no_number", "x,b,3", "x,b,3x", "row 3, column 'value': '3x' is not"),
        ("missing", "x,b,3", "x,b,", "row 3, column 'value': no score"),
        ("infinite", "x,b,3", "x,b,inf", "row 3, column 'value': inf is not f"),
        ("no_text", "x,b,3", ",b,3", "row 3, column 'text_id': empty"),
        ("no_model", "x,b,3", "x,,3", "row 3, column 'model': empty"),
        ("no_row", "x,b,3\n", "", "model 'b', text 'x': no score"),
        ("unknown", "x,b,3", "x,c,3", "m.csv: no model 'c', of which .*s.csv"),
        ("negative", "x,b,3", "x,b,-3", "row 3, column 'value': -3 is no nll"),
    )
    def test_refusals(self, old, new, message):
        text = "text_id,model,value\nx,a,1\ny,a,2\nx,b,3\ny,b,4\n"
        path = self._write("s.csv", text.replace(old, new))
        models = self._write("m.csv", "model,num_params\na,1\nb,2\nd,3\n")
        with self.assertRaisesRegex(ValueError, message):
            self._read(path, models=models, value="nll_nats")

    def test_dates(self):
        """A date a text, or the day on which a model was asked."""
        rows = "x,a,1,2020\ny,a,2,\nx,b,3,{}\ny,b,4,\n"
        for date, expected in (("2020", ("2020", "")), ("2021", None)):
            text = "text_id,model,value,date\n" + rows.format(date)
            table = self._read(self._write("s.csv", text))
            self.assertEqual(table.texts.dates, expected)
        path = self._write("w.csv", "text_id,date,a\nx,2020-02,1\ny,no,2\n")
        table = self._read(path)
        self.assertEqual([m.name for m in table.models], ["a"])
        self.assertEqual(table.texts.dates, ("2020-02", ""))

    def test_counts_where_scores_are_missing(self):
        text = "text_id,model,value,num_tokens\nx,a,1,5\ny,a,2,6\nx,b,3,7\n"
        path = self._write("s.csv", text)
        table = self._read(path, missing="drop_texts")
        np.testing.assert_array_equal(table.num_tokens, [[5], [7]])
        table = self._read(path, missing="drop_models")
        np.testing.assert_array_equal(table.num_tokens, [[5, 6]])

    def test_only_models_with_gaps_elsewhere(self):
        text = "text_id,model,value\nx,a,1\ny,a,2\nx,b,\ny,org/c,4\n"
        path = self._write("s.csv", text)
        models = self._write("m.csv", "model,num_params\norg/a,1\nb,2\nc,3\n")
        table = self._read(path, models=models, only_models=["a"])
        self.assertEqual([m.name for m in table.models], ["org/a"])
        for missing, kept in (("drop_models", ["org/a"]),):
            result = importers.read(
                path, importers.Options(models=models, missing=missing)
            )
            self.assertEqual([m.name for m in result.table.models], kept)
            self.assertEqual(result.dropped_models, ["b", "c"])
        with self.assertRaisesRegex(ValueError, "no text has all its scores"):
            self._read(path, models=models, missing="drop_texts")

    @parameterized.parameters(
        ("num_tokens", "-1", "-1 is not a count"),
        ("num_scored", "1.5", "1.5 is not a count"),
        ("round_trips", "2", "2 is not 0 or 1"),
        ("query_cost", "-1", "-1 is not a cost of 0 or more"),
    )
    def test_more_than_scores(self, column, cell, message):
        text = f"text_id,model,value,{column}\nx,a,1,{cell}\n"
        with self.assertRaisesRegex(
            ValueError, f"s.csv, row 1, column '{column}': {message}"
        ):
            self._read(self._write("s.csv", text))
        text = f"text_id,{column}|a,a\nx,{cell},1\n"
        with self.assertRaisesRegex(ValueError, f"row 1, .*: {message}"):
            self._read(self._write("s.csv", text))

    def test_objects_whose_keys_are_the_models(self):
        rows = (
            '{"text_id": "x", "scores": {"a": 1, "b": 2.5}, "size": {"n": 7}}',
            '{"text_id": "y", "scores": {"b": 4, "a": 3}, "size": {"n": 8}}',
        )
        path = self._write("s.jsonl", "\n".join(rows))
        with self.assertRaisesRegex(
            ValueError, "'scores' holds objects.*--value_column=scores"
        ):
            self._read(path)
        table = self._read(path, value_column="scores")
        self.assertEqual([m.name for m in table.models], ["a", "b"])
        np.testing.assert_array_equal(table.nll_nats, [[1, 3], [2.5, 4]])
        rows = rows[0], rows[1].replace('"b": 4, ', "")
        path = self._write("s.jsonl", "\n".join(rows))
        with self.assertRaisesRegex(ValueError, "row 2, column 'b': no score"):
            self._read(path, value_column="scores")
        path = self._write("s.jsonl", rows[0].replace("2.5", '{"c": 1}'))
        with self.assertRaisesRegex(ValueError, "'scores': 'b' holds lists"):
            self._read(path, value_column="scores")

    def test_a_wide_table_is_asked_for(self):
        path = self._write("s.csv", "id,Model,loss\nx,a,1\nx,b,2\n")
        with self.assertRaisesRegex(
            ValueError, "the long format.*--model_column=Model.*--value_column"
        ):
            self._read(path, text_id="id")


class UnitsTest(_Case):
    @parameterized.named_parameters(
        ("nats", "nll_nats", 2, 2, "nll_nats"),
        ("bits", "nll_bits", 2, 2 * np.log(2), "nll_nats"),
        ("bytes", "bits_per_byte", 2, 2, "bits_per_byte"),
        ("log", "log_likelihood", -2, 2, "nll_nats"),
        ("score", "score", 0.25, 0.75, "error"),
        ("error", "error", 0.25, 0.25, "error"),
        ("raw", "raw", -2, -2, "raw"),
        ("nothing", None, 2, 2, None),
    )
    def test_values(self, value, number, loss, unit):
        table = self._values(number, value)
        np.testing.assert_allclose(
            table.nll_nats, [[loss]], rtol=tolerances.NORMALISATION
        )
        self.assertEqual(table.unit, unit)

    def test_a_zero_has_no_sign(self):
        table = self._values("0", "log_likelihood")
        self.assertEqual(str(table.nll_nats[0, 0]), "0.0")

    def test_bits_per_byte_of_known_lengths(self):
        path = self._write("s.csv", "text_id,num_bytes,a\nx,4,0.5\n")
        table = self._read(path, value="bits_per_byte")
        self.assertEqual(table.unit, "nll_nats")
        np.testing.assert_allclose(
            table.losses("bits_per_byte"),
            [[0.5]],
            rtol=tolerances.NORMALISATION,
        )

    @parameterized.named_parameters(
        ("nats", "nll_nats", -2, "--value=log_likelihood"),
        ("log", "log_likelihood", 2, "--value=nll_nats"),
        ("log_of_score", "log_likelihood", 0.5, "--value=score"),
        ("percent", "score", 50, "divide percentages by 100"),
        ("score_of_log", "score", -2, "--value=log_likelihood"),
        ("score_of_loss", "score", 200, "--value=raw with --higher_is_better"),
        ("word", "points", 2, "--value=points: give one of nll_nats"),
        ("unstated", None, -2, "--value=log_likelihood or --higher_is_better"),
    )
    def test_refusals(self, value, number, message):
        with self.assertRaisesRegex(ValueError, message):
            self._values(number, value)

    def test_direction(self):
        table = self._values(7, "raw", higher_is_better=True)
        self.assertEqual((table.nll_nats[0, 0], table.unit), (-7, "raw"))
        for value, higher in (("score", False), ("nll_nats", True)):
            with self.assertRaisesRegex(ValueError, "says which direction"):
                self._values(0.5, value, higher_is_better=higher)
        for value, higher in (("score", True), ("nll_nats", False)):
            self._values(0.5, value, higher_is_better=higher)

    def test_what_a_unit_allows(self):
        table = self._values(0.25, "score")
        with self.assertRaisesRegex(
            ValueError, "text_length needs sums in nats, and these scores are e"
        ):
            table.losses("text_length")
        table = self._values(0.25, "bits_per_byte")
        np.testing.assert_array_equal(table.losses("bits_per_byte"), [[0.25]])

    def test_units_of_a_folder(self):
        out = self.folder / "out"
        scores.write(self._values(0.25, "score"), out)
        self.assertEqual(scores.open(out).unit, "error")
        other = self._read(
            self._write("w.csv", _csv({"text_id": ["x"], "b": [3]})),
            value="nll_nats",
        )
        with self.assertRaisesRegex(
            ValueError, "in the unit error, and these in nll_nats; choose"
        ):
            scores.write(other, out)
        scores.write(other, self.folder / "other")
        shutil.copy(self.folder / "other/models/b.parquet", out / "models")
        with self.assertRaisesRegex(
            ValueError, "several units: error of a; nll_nats of b"
        ):
            scores.open(out)


class ModelsTest(_Case):
    def test_sizes_as_people_write_them(self):
        sizes = ["7B", "1.1e9", "350M", "13.0B", " 0.5 b", "7000000000", ""]
        names = [f"m{i}" for i in range(len(sizes))]
        path = self._write(
            "s.csv", _csv({"text_id": ["x"], **{n: [1] for n in names}})
        )
        models = self._write(
            "m.csv", _csv({"model": names, "num_params": sizes})
        )
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._read(path, models=models)
        self.assertIn("models without num_params: m6", str(logs))
        self.assertEqual(
            [m.costs.get("num_params") for m in table.models],
            [7e9, 1.1e9, 350e6, 13e9, 5e8, 7e9, None],
        )
        with self.assertLogs("absl", "WARNING") as logs:
            result = importers.read(
                path, importers.Options(models=models, only_sized=True)
            )
        self.assertIn("left out, for they have no num_params: m6", str(logs))
        self.assertEqual(result.dropped_models, ["m6"])
        self.assertLen(result.table.models, 6)
        with self.assertRaisesRegex(ValueError, "no model has num_params"):
            self._read(path, only_sized=True)

    def test_a_size_without_its_unit(self):
        path = self._write("s.csv", "text_id,a,b\nx,1,2\n")
        models = self._write("m.csv", "model,num_params\na,7\nb,1.3B\n")
        with self.assertRaisesRegex(
            ValueError, "row 1, column 'num_params': 7 has no unit.*1.3B"
        ):
            self._read(path, models=models)
        models = self._write("m.csv", "model,context\na,512\nb,4k\n")
        costs = [m.costs for m in self._read(path, models=models).models]
        self.assertEqual(costs, [{"context": 512}, {"context": 4000}])

    def test_sizes_without_billions(self):
        path = self._write("s.csv", "text_id,a,b\nx,1,2\n")
        models = self._write("m.csv", ",model,num_params\n0,a,7\n1,b,13\n")
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._read(path, models=models)
        self.assertIn("up to 13 parameters; billions are wr", str(logs))
        self.assertEqual(table.models[0].costs, {"num_params": 7})
        models = self._write("m.csv", 'model,num_params\na,"1,3B"\nb,2B\n')
        with self.assertRaisesRegex(ValueError, "'1,3B' .* decimal point"):
            self._read(path, models=models)

    def test_two_rows_of_facts_for_one_model(self):
        path = self._write("s.csv", "text_id,x\nt,1\n")
        models = self._write("m.csv", "model,num_params\na/x,1\nb/x,2\n")
        with self.assertRaisesRegex(ValueError, "'a/x' and 'b/x' both mean"):
            self._read(path, models=models)

    @parameterized.parameters("8x7B", "8 x 22b", "8X7", "8\u00d77B", "30B-A3B")
    def test_a_product_of_experts(self, size):
        path = self._write(
            "s.csv", _csv({"text_id": ["x"], "a": [1], "b": [2]})
        )
        models = self._write(
            "m.csv", _csv({"model": ["b", "a"], "num_params": ["7B", size]})
        )
        with self.assertRaisesRegex(
            ValueError,
            f"row 2, column 'num_params': '{size}' .*experts share.*total",
        ):
            self._read(path, models=models)

    def test_without_a_file_of_facts(self):
        path = self._write(
            "s.csv",
            "text_id,note,a,num_bytes,empty,b\nx,hm,1,3,,2\ny,ha,3,4,,4\n",
        )
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._read(path)
        self.assertEqual([m.name for m in table.models], ["a", "b"])
        self.assertIn("columns ignored: note, empty", str(logs))
        with self.assertRaisesRegex(ValueError, "row 1, column 'empty': no sc"):
            self._read(path, only_models=["empty"])
        path = self._write("s.csv", "text_id,a\nx,one\n")
        with self.assertRaisesRegex(ValueError, "no column of numbers"):
            self._read(path)
        path = self._write("s.csv", "text_id,a,b\nx,1,2\ny,3,4o\nz,3,4\n")
        with self.assertRaisesRegex(ValueError, "row 2, column 'b': '4o' is n"):
            self._read(path)
        with self.subTest("numbers of rows are no model"):
            path = self._write("s.csv", ",text_id,Unnamed: 0.1,a\n0,x,0,1\n")
            self.assertEqual([m.name for m in self._read(path).models], ["a"])
        with self.assertRaisesRegex(
            ValueError, "no column 'text_id'; it has 'id', 'a'; --text_id names"
        ):
            self._read(self._write("s.csv", "id,a\nx,1\n"))

    def test_names_with_and_without_organisation(self):
        path = self._write("s.csv", "text_id,org/a,b\nx,1,2\n")
        table = self._read(path, only_models=["a", "other/b"])
        self.assertEqual([m.name for m in table.models], ["org/a", "b"])
        models = self._write("m.csv", " model , num_params\nother/a,1\nb,2\n")
        with self.assertRaisesRegex(ValueError, "no column 'other/a'"):
            self._read(path, models=models)

    def test_families(self):
        for name, family in (
            ("meta-llama/Llama-2-7b-hf", "llama"),
            ("Meta-Llama-3.1-8B-Instruct", "llama"),
            ("Qwen2.5-Coder-7B", "qwen"),
            ("gpt2-xl", "gpt"),
            ("EleutherAI/gpt-neo-1.3B", "gpt-neo"),
            ("pythia-160m", "pythia"),
            ("7b", ""),
        ):
            self.assertEqual(families.guess(name), family, name)
        path = self._write("s.csv", "text_id,pythia-1b,known\nx,1,2\n")
        models = self._write("m.csv", "model,family\npythia-1b,\nknown,f\n")
        table = self._read(path, models=models)
        self.assertEqual([m.family for m in table.models], ["", "f"])
        with self.assertLogs("absl", "WARNING") as logs:
            result = importers.read(
                path, importers.Options(models=models, guess_families=True)
            )
        self.assertIn(
            "family 'pythia' guessed from the names: pythia-1b", str(logs)
        )
        self.assertEqual(result.guessed_families, {"pythia-1b": "pythia"})
        self.assertEqual(
            [m.family for m in result.table.models], ["pythia", "f"]
        )
        self.assertEqual(
            result.table.models[0].provenance["family"], "guessed from the name"
        )


class FormatsTest(_Case):
    def test_what_a_path_is(self):
        path = self._write("s.txt", _csv(_WIDE))
        with self.assertRaisesRegex(ValueError, "neither a score table .*csv"):
            importers.detected(path)
        table = importers.read(path, format="csv").table
        self.assertLen(table.models, 2)
        with self.assertRaisesRegex(ValueError, "no format 'x'; there are"):
            importers.read(path, format="x")
        with self.assertRaisesRegex(
            FileNotFoundError, "no such file or folder"
        ):
            importers.read(self.folder / "nothing.csv")
        with self.assertRaisesRegex(ValueError, "give one of error, drop_mod"):
            self._read(self._write("s.csv", _csv(_WIDE)), missing="x")


if __name__ == "__main__":
    absltest.main()
