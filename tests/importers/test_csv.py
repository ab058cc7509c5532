import gzip
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import importers, scores
from tests import tolerances

_WIDE = """\
item,set,sentence,small,org/large
a/0,news,x,1.5,1
a/1,news,x,2.25,"0.5"
b/0,"web, old",y, 3e0 ,0
"""
_MODELS = """\
model,family,num_params,note,price
small,f,129135360,first,
org/large,g,1372178432,,0.5
"""


class CsvTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _csv(self, wide=_WIDE, models=_MODELS, text_id="item", **options):
        for name, text in (("wide.csv", wide), ("models.csv", models)):
            (self.folder / name).write_text(text, "utf-8")
        return importers.csv(
            self.folder / "wide.csv",
            self.folder / "models.csv",
            text_id=text_id,
            **options,
        )

    def test_reads(self):
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._csv(domain="set")
        self.assertEqual(table.texts.ids, ("a/0", "a/1", "b/0"))
        self.assertEqual(table.texts.domains, ("news", "news", "web, old"))
        small, large = table.models
        self.assertEqual(
            (small.name, small.family, small.kind, small.costs),
            ("small", "f", "base", {"num_params": 129135360.0}),
        )
        self.assertEqual(large.name, "org/large")
        self.assertEqual(
            large.costs, {"num_params": 1372178432.0, "price": 0.5}
        )
        losses = table.losses("raw")
        np.testing.assert_array_equal(losses, [[1.5, 2.25, 3], [1, 0.5, 0]])
        self.assertEqual(losses.dtype, np.float64)
        with self.subTest("ignored columns"):
            self.assertEqual(small.provenance["ignored_columns"], ["sentence"])
            self.assertIn("wide.csv: columns ignored: sentence", str(logs))
            self.assertIn("models.csv: columns ignored: note", str(logs))
        with (
            self.subTest("no sizes"),
            self.assertRaisesRegex(ValueError, "bits_per_byte needs num_bytes"),
        ):
            table.losses("bits_per_byte")
        with (
            self.subTest("a cost of one model only"),
            self.assertRaisesRegex(ValueError, "'small' has no cost 'price'"),
        ):
            table.costs("price")

    def test_same_from_gzip_and_parquet(self):
        expected = self._csv()
        packed = self.folder / "wide.csv.gz"
        packed.write_bytes(gzip.compress(_WIDE.encode()))
        columnar = self.folder / "wide.parquet"
        pyarrow.parquet.write_table(
            pa.table(
                {
                    "item": pa.array(["a/0", "a/1", "b/0"], pa.large_string()),
                    "small": pa.array([1.5, 2.25, 3.0], pa.float32()),
                    "org/large": ["1", "0.5", "0"],
                }
            ),
            columnar,
        )
        for file in (packed, columnar):
            with self.subTest(file.suffix):
                table = importers.csv(
                    str(file), str(self.folder / "models.csv"), text_id="item"
                )
                np.testing.assert_array_equal(table.nll_nats, expected.nll_nats)
                self.assertEqual(table.texts.ids, expected.texts.ids)

    def test_sums_in_nats_with_counts(self):
        table = self._csv(
            "text_id,num_bytes,num_chars,num_tokens,small\n"
            "0,8,4,2,6\n"
            "1,2,2,1,3\n",
            "model\nsmall\n",
            text_id="text_id",
        )
        self.assertEqual(table.texts.ids, ("0", "1"))
        self.assertEqual(table.models[0].costs, {})
        self.assertEqual(table.chars_per_token, 2.0)
        for name, expected in {
            "raw": [6, 3],
            "bits_per_byte": [0.75 / np.log(2), 1.5 / np.log(2)],
            "nats_per_char": [1.5, 1.5],
            "nats_per_token": [3, 3],
            "text_length": [3, 3],
        }.items():
            with self.subTest(name):
                np.testing.assert_allclose(
                    table.losses(name),
                    [expected],
                    rtol=tolerances.NORMALISATION,
                )

    def test_tokens_of_a_text_hold_for_all_models(self):
        table = self._csv(
            "text_id,num_tokens,a,b\n0,2,6,4\n1,1,3,1\n",
            "model,kind\na,instruct\nb,\n",
            text_id="text_id",
        )
        np.testing.assert_array_equal(table.num_tokens, [[2, 1], [2, 1]])
        np.testing.assert_array_equal(table.num_scored, [[2, 1], [2, 1]])
        self.assertEqual([m.kind for m in table.models], ["instruct", "base"])

    def test_model_twice(self):
        wide = "text_id,a,b,a\n0,1,2,1\n1,3,4,3\n"
        models = "model,family,num_params\na,f,1\nb,g,2\na,h,1\n"
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._csv(wide, models, text_id="text_id")
        self.assertIn("row 3: a is there twice; read once", str(logs))
        families = [m.provenance.get("families") for m in table.models]
        self.assertEqual(families, [["f", "h"], None])
        self.assertEqual(
            [(m.name, m.family) for m in table.models], [("a", "f"), ("b", "g")]
        )
        with (
            self.subTest("other scores"),
            self.assertRaisesRegex(
                ValueError, "wide.csv, row 2: the columns of the name .a. d"
            ),
        ):
            self._csv(wide.replace("4,3", "4,5"), models, text_id="text_id")
        with (
            self.subTest("other costs"),
            self.assertRaisesRegex(
                ValueError, "models.csv, row 3, column 'model': 'a' is there al"
            ),
        ):
            self._csv(wide, models.replace("h,1", "h,3"), text_id="text_id")

    def test_goes_to_disk_and_back(self):
        table = self._csv(domain="set")
        scores.write(table, self.folder / "scores")
        opened = scores.open(self.folder / "scores").select(
            models=["small", "org/large"]
        )
        self.assertEqual(opened.models, table.models)
        self.assertEqual(opened.texts.domains, table.texts.domains)
        np.testing.assert_array_equal(opened.nll_nats, table.nll_nats)

    @parameterized.named_parameters(
        (
            "empty_cell",
            "2.25",
            "",
            "wide.csv, row 2, column 'small': no score .1 of 6",
        ),
        ("not_a_number", "2.25", "x", "row 2, column 'small': 'x' is not"),
        ("nan", "2.25", "NaN", "row 2, column 'small': no score"),
        ("infinite", "2.25", "inf", "row 2, column 'small': inf is not finite"),
        (
            "text_id_twice",
            "a/1",
            "a/0",
            "row 2, column 'item': text id 'a/0' stands in row 1 already",
        ),
        ("no_text_id", "a/1", "", "wide.csv, row 2, column 'item': empty"),
        ("no_model", "small", "tiny", "wide.csv: no column 'small'; .*'tiny'"),
        ("no_id_column", "item", "id", "wide.csv: no column 'item'; it has"),
        (
            "count_is_text",
            "set",
            "num_bytes",
            "row 1, column 'num_bytes': 'news'",
        ),
        (
            "short_row",
            "2.25,",
            "",
            "wide.csv, row 2: 4 cells, and the header has 5",
        ),
    )
    def test_refuses(self, old, new, message):
        with self.assertRaisesRegex(ValueError, message):
            self._csv(_WIDE.replace(old, new))

    @parameterized.parameters("0", "-1", "1.5")
    def test_refuses_a_count_of(self, count):
        with self.assertRaisesRegex(
            ValueError, f"row 1, column 'num_bytes': {count} is not a count"
        ):
            self._csv(
                f"item,num_bytes,small,org/large\na,{count},1,2\nb,3,1,2\n"
            )

    @parameterized.named_parameters(
        ("header", "model,", "name,", ": no column 'model'; it has"),
        ("empty_name", "small,", ",", "row 1, column 'model': empty"),
        ("params", "129135360", "129X", "column 'num_params': '129X' is not a"),
        ("negative", "0.5", "-0.5", "row 2, column 'price': -0.5 is negative"),
        ("inf", "0.5", "inf", "row 2, column 'price': inf is not finite"),
        ("kind", "note", "kind", "row 1, column 'kind': 'first' is neither ba"),
        ("twice", "note", "price", ": there are two columns 'price'"),
    )
    def test_refuses_models(self, old, new, message):
        with self.assertRaisesRegex(ValueError, f"models.csv.*{message}"):
            self._csv(models=_MODELS.replace(old, new))

    def test_refuses_files(self):
        self._csv()
        wide, models = self.folder / "wide.csv", self.folder / "models.csv"
        for content, name, message in (
            (b"", "wide.csv", "wide.csv: not readable: Empty CSV file"),
            (b"item,small\n", "wide.csv", "wide.csv: no rows"),
            (
                b"item,small\na,2\n\xff,1\n",
                "wide.csv",
                "wide.csv, line 3: not UTF-8 .byte 0xff .*convert",
            ),
            (b"not,packed", "wide.csv.gz", "wide.csv.gz: no rows"),
            (
                gzip.compress(_WIDE.encode())[:-30],
                "wide.csv.gz",
                "wide.csv.gz: damaged, not readable as gzip",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "wide.csv",
                "wide.csv: a pointer of Git LFS .*git lfs pull",
            ),
            (b"no parquet", "wide.parquet", "wide.parquet: not readable"),
            (b"", "wide.txt", "wide.txt: give a .csv, .tsv, .jsonl"),
        ):
            (self.folder / name).write_bytes(content)
            with (
                self.subTest(message=message, content=content),
                self.assertRaisesRegex(ValueError, message),
            ):
                importers.csv(self.folder / name, models, text_id="item")
        for one, other in ((wide, "x.csv"), ("x.csv", models)):
            with (
                self.subTest(one=one),
                self.assertRaisesRegex(FileNotFoundError, "x.csv: no such"),
            ):
                importers.csv(
                    self.folder / one, self.folder / other, text_id="item"
                )

    @parameterized.named_parameters(
        ("semicolons", "item;a;b\nx;1,5;2\ny;0,25;3,0\n", ""),
        ("tabs", "item\ta\tb\nx\t1.5\t2\ny\t0.25\t3\n", ""),
        ("sep", "sep=|\nitem|a|b\nx|1.5|2\ny|0.25|3\n", ""),
        ("sep_comma", "sep=,\r\nitem,a,b\r\nx,1.5,2\r\ny,0.25,3\r\n", ""),
        ("padded", "item , a,b \nx,1.5,2\ny,0.25,3\n", ""),
        ("mark", "\ufeffitem,a,b\nx,1.5,2\ny,0.25,3\n", ""),
        ("tsv", "item\ta\tb\nx\t1.5\t2\ny\t0.25\t3\n", "wide.tsv"),
        ("packed", "item,a,b\nx,1.5,2\ny,0.25,3\n", "packed.csv"),
        ("utf16", "item,a,b\nx,1.5,2\ny,0.25,3\n", "utf16.csv"),
    )
    def test_as_programs_write_it(self, text, name):
        raw = text.encode("utf-16" if name == "utf16.csv" else "utf-8")
        if name == "packed.csv":
            raw = gzip.compress(raw)
        path = self.folder / (name or "wide.csv")
        path.write_bytes(raw)
        models = self.folder / "models.csv"
        models.write_text("model;num_params\na;13B\nb; 0.5m\n")
        table = importers.csv(path, models, text_id="item")
        np.testing.assert_array_equal(table.nll_nats, [[1.5, 0.25], [2, 3]])
        np.testing.assert_array_equal(table.costs(), [13e9, 5e5])

    def test_what_may_be_thousands(self):
        with self.assertRaisesRegex(
            ValueError,
            "row 1, column 'a': '1,234' is not .*thousands without a comma",
        ):
            self._csv("item;a\nx;1,234\ny;2\n", "model\na\n")

    def test_names_without_organisation(self):
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._csv(
                "item,a,org/b\nx,1,2\n", "model,family\norg/a,f\nb,g\n"
            )
        self.assertIn("a for org/a, org/b for b", str(logs))
        self.assertEqual([m.name for m in table.models], ["org/a", "b"])
        np.testing.assert_array_equal(table.nll_nats, [[1], [2]])
        with (
            self.subTest("two that may be meant"),
            self.assertRaisesRegex(ValueError, "no column 'b'; it has"),
        ):
            self._csv("item,x/b,y/b\nx,1,2\n", "model\nb\n")

    def test_the_long_format(self):
        with self.assertRaisesRegex(
            ValueError, "long format, .*column 'name' holds models"
        ):
            self._csv("item,name,loss\nx,small,1\nx,org/large,2\ny,small,3\n")

    def test_log_likelihoods(self):
        wide = "item,small,org/large\nx,-3,-1\ny,-2,-4\nz,0,-1\n"
        with self.assertRaisesRegex(
            ValueError, "wide.csv: most scores are negative.*--higher_is_better"
        ):
            self._csv(wide)
        table = self._csv(wide, higher_is_better=True)
        np.testing.assert_array_equal(table.nll_nats, [[3, 2, 0], [1, 4, 1]])
        self.assertEqual(table.models[0].provenance["losses"], "-score")
        table = self._csv(wide, higher_is_better=False)
        np.testing.assert_array_equal(
            table.nll_nats, [[-3, -2, 0], [-1, -4, -1]]
        )
        with self.subTest("accuracies"):
            table = self._csv(
                "item,small,org/large\nx,1,0\ny,0.25,1\n",
                higher_is_better=True,
            )
            np.testing.assert_array_equal(table.nll_nats, [[0, 0.75], [1, 0]])

    @parameterized.parameters("", "NA", "NaN", " n/a ")
    def test_missing_scores(self, cell):
        wide = f"item,small,org/large\nx,1,{cell}\ny,2,3\nz,4,5\n"
        with self.assertRaisesRegex(
            ValueError,
            "row 1, column 'org/large'.*--missing=drop_models or.*--only_",
        ):
            self._csv(wide)
        with self.assertLogs("absl", "WARNING") as logs:
            table = self._csv(wide, missing="drop_texts")
        self.assertIn("1 of 3 texts lack a score", str(logs))
        self.assertEqual(table.texts.ids, ("y", "z"))
        np.testing.assert_array_equal(table.nll_nats, [[2, 4], [3, 5]])
        table = self._csv(wide, only_models=["small"])
        self.assertLen(table.texts, 3)
        with (
            self.subTest("nothing is left"),
            self.assertRaisesRegex(ValueError, "'org/large' lacks most"),
        ):
            self._csv("item,small,org/large\nx,1,\n", missing="drop_texts")

    def test_a_thousand_models(self):
        """In seconds: time grows with the cells, not with a higher power."""
        names = [f"m{m}" for m in range(1000)]
        table = self._csv(
            ",".join(["item", *names]) + "\nx" + ",1" * len(names) + "\n",
            "\n".join(["model", *names]) + "\n",
        )
        self.assertEqual(table.nll_nats.shape, (1000, 1))

    def test_only_models(self):
        table = self._csv(only_models=["org/large"])
        self.assertEqual([m.name for m in table.models], ["org/large"])
        with self.assertRaisesRegex(ValueError, "no model 'x'; it has small"):
            self._csv(only_models=["x"])

    @parameterized.named_parameters(
        ("whole", pa.array([2**53 + 1, 3]), [2.0**53, 3]),
        ("large", pa.array([2**64 - 1, 3], pa.uint64()), [2.0**64, 3]),
        ("bool", pa.array([True, False]), [1, 0]),
        ("text", pa.array([str(2**70), "3"]), [2.0**70, 3]),
    )
    def test_numbers_of_parquet(self, column, expected):
        path = self.folder / "wide.parquet"
        models = self.folder / "models.parquet"
        pyarrow.parquet.write_table(
            pa.table({"text_id": ["a", "b"], "m": column}), path
        )
        pyarrow.parquet.write_table(
            pa.table({"model": ["m"], "flops": pa.array([2**62 + 1])}), models
        )
        table = importers.csv(path, models)
        np.testing.assert_array_equal(table.nll_nats, [expected])
        self.assertEqual(table.costs("flops")[0], 2.0**62)

    @parameterized.parameters("text_id", "m", "topic")
    def test_nested_columns(self, name):
        columns = {"text_id": ["a"], "m": [1.0], "topic": ["x"]}
        columns[name] = [[1.0, 2.0]]
        path = self.folder / "wide.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path)
        models = self.folder / "models.csv"
        models.write_text("model\nm\n")
        with self.assertRaisesRegex(
            ValueError, f"wide.parquet, row 1, column '{name}': a list<"
        ):
            importers.csv(path, models, domain="topic")

    def test_domain_that_is_not_there(self):
        with self.assertRaisesRegex(ValueError, "wide.csv: no column 'topic'"):
            self._csv(domain="topic")


if __name__ == "__main__":
    absltest.main()
