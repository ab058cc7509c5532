import dataclasses
import doctest
import errno
import json
import os
import pathlib
import platform
import tempfile
import uuid
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import corpus, scores
from mmc_jax.scores import files, locks, normalisations
from tests import tolerances

_LN2 = np.log(2.0)


def _texts(num_texts=4, **fields):
    defaults = dict(
        ids=tuple(f"t{i}" for i in range(num_texts)),
        domains=tuple("prose" if i % 2 == 0 else "c" for i in range(num_texts)),
        num_bytes=np.arange(2, 2 + num_texts),
        num_chars=np.arange(1, 1 + num_texts),
        sha256=tuple(f"{i:064x}" for i in range(num_texts)),
        texts=None,
    )
    return corpus.Corpus(**(defaults | fields))


def _table(num_models=3, num_texts=4, seed=0, **fields):
    rng = np.random.default_rng(seed)
    shape = (num_models, num_texts)
    num_tokens = rng.integers(1, 9, shape)
    defaults = dict(
        models=tuple(
            scores.ScoredModel(
                f"m{m}", f"family{m % 2}", costs={"num_params": 10**m}
            )
            for m in range(num_models)
        ),
        texts=_texts(num_texts),
        nll_nats=rng.exponential(size=shape),
        num_tokens=num_tokens,
        num_scored=num_tokens,
        round_trips=rng.random(shape) < 0.5,
    )
    return scores.ScoreTable(**(defaults | fields))


class NormalisationsTest(parameterized.TestCase):
    def test_examples_of_the_docstrings(self):
        result = doctest.testmod(normalisations)
        self.assertEqual(result.failed, 0)
        self.assertGreaterEqual(result.attempted, 6)

    @parameterized.named_parameters(
        # nll [[6, 12], [3, 24]] nats, bytes [8, 6], characters [6, 6],
        # tokens [[3, 3], [2, 4]]: k = ((12/6) + (12/6)) / 2 = 2; scored
        # [[2, 2], [1, 3]].
        (
            "bits_per_byte",
            [[0.75 / _LN2, 2 / _LN2], [0.375 / _LN2, 4 / _LN2]],
        ),
        ("nats_per_char", [[1.0, 2.0], [0.5, 4.0]]),
        ("text_length", [[2.0, 4.0], [1.0, 8.0]]),
        ("nats_per_token", [[3.0, 6.0], [3.0, 8.0]]),
        ("raw", [[6.0, 12.0], [3.0, 24.0]]),
    )
    def test_by_hand(self, expected):
        name = self._testMethodName.removeprefix("test_by_hand_")
        num_tokens = np.array([[3, 3], [2, 4]])
        table = _table(
            2,
            2,
            texts=_texts(
                2, num_bytes=np.array([8, 6]), num_chars=np.array([6, 6])
            ),
            nll_nats=np.array([[6.0, 12.0], [3.0, 24.0]]),
            num_tokens=num_tokens,
            num_scored=num_tokens - 1,
            round_trips=None,
        )
        losses = table.losses(name)
        self.assertEqual(losses.dtype, np.float64)
        np.testing.assert_allclose(
            losses, expected, rtol=tolerances.NORMALISATION
        )

    def test_k_is_the_mean_of_ratios_of_sums(self):
        # (10/5 + 10/2) / 2, not 20/7 and not a mean over texts.
        k = scores.chars_per_token([9, 1], [[4, 1], [1, 1]])
        self.assertEqual(k, 3.5)

    def test_text_length_ranks_as_nats_per_char(self):
        table = _table(5, 50, seed=1)
        by_length = table.losses()
        by_char = table.losses("nats_per_char")
        with self.subTest("each text"):
            np.testing.assert_array_equal(
                by_length.argsort(axis=0), by_char.argsort(axis=0)
            )
        with self.subTest("mean"):
            np.testing.assert_array_equal(
                by_length.mean(axis=1).argsort(), by_char.mean(axis=1).argsort()
            )
        with self.subTest("one constant apart"):
            np.testing.assert_allclose(
                by_length,
                table.chars_per_token * by_char,
                rtol=tolerances.NORMALISATION,
            )

    @parameterized.named_parameters(
        ("array", [2.0, 3.0], r"shape \(2,\); text_length takes one constant"),
        ("array_of_one", [2.0], "takes one constant"),
        ("zero", 0.0, "it must be positive"),
        ("nan", np.nan, "it must be positive"),
        ("infinite", np.inf, "it must be positive"),
    )
    def test_refuses_a_k_that_is(self, k, message):
        with self.assertRaisesRegex(ValueError, message):
            scores.text_length([[1.0], [2.0]], [3], k)


class ScoreTableTest(parameterized.TestCase):
    def test_selecting_keeps_k(self):
        table = _table(5, 40)
        mask = table.domain_mask("c")
        part = table.select(models=["m3", "m1"], texts=mask)
        self.assertEqual([m.name for m in part.models], ["m3", "m1"])
        self.assertEqual(
            part.texts.ids, tuple(f"t{i}" for i in range(1, 40, 2))
        )
        self.assertEqual(part.chars_per_token, table.chars_per_token)
        own = scores.chars_per_token(part.texts.num_chars, part.num_tokens)
        self.assertNotAlmostEqual(own, table.chars_per_token)
        for name in scores.NORMALISATIONS:
            with self.subTest(name):
                np.testing.assert_array_equal(
                    part.losses(name), table.losses(name)[[3, 1]][:, mask]
                )
        for field in ("num_tokens", "num_scored", "round_trips"):
            with self.subTest(field):
                np.testing.assert_array_equal(
                    getattr(part, field), getattr(table, field)[[3, 1]][:, mask]
                )

    def test_selects_by_index(self):
        part = _table().select(texts=[2, 0])
        self.assertEqual(part.texts.ids, ("t2", "t0"))

    @parameterized.named_parameters(
        ("model", dict(models=["x"]), "no model 'x' in the table; .*m0, m1"),
        ("model_twice", dict(models=["m0", "m0"]), "'m0' is empty or there tw"),
        ("no_model", dict(models=[]), "0 models and 4 texts"),
        ("no_text", dict(texts=np.zeros(4, bool)), "3 models and 0 texts"),
        ("empty_list", dict(texts=[]), "3 models and 0 texts"),
        ("mask", dict(texts=np.ones(3, bool)), r"shape \(3,\); .*4 texts"),
    )
    def test_refuses_to_select(self, selection, message):
        with self.assertRaisesRegex(ValueError, message):
            _table().select(**selection)

    def test_unknown_domain(self):
        with self.assertRaisesRegex(ValueError, "'d'; the domains are 'c', 'p"):
            _table().domain_mask("d")

    def test_costs(self):
        table = _table()
        np.testing.assert_array_equal(table.costs(), [1.0, 10.0, 100.0])
        self.assertEqual(table.costs().dtype, np.float64)
        with self.assertRaisesRegex(
            ValueError, "'m0' has no cost 'price'; it has num_params"
        ):
            table.costs("price")

    def test_flops_per_byte(self):
        models = tuple(
            scores.ScoredModel(name, costs={"flops_per_token": flops})
            for name, flops in (("coarse", 10.0), ("fine", 4.0))
        )
        num_tokens = np.array([[1, 1], [5, 1]])
        table = _table(
            models=models,
            nll_nats=np.ones((2, 2)),
            texts=_texts(2, num_bytes=np.array([6, 2])),
            num_tokens=num_tokens,
            num_scored=num_tokens,
            round_trips=None,
        )
        np.testing.assert_allclose(table.costs("flops_per_byte"), [2.5, 3.0])
        with self.subTest("of the texts that are left"):
            np.testing.assert_allclose(
                table.select(texts=np.array([False, True])).costs(
                    "flops_per_byte"
                ),
                [5.0, 2.0],
            )
        with self.subTest("what the pool states goes before"):
            stated = tuple(
                scores.ScoredModel(name, costs={"flops_per_byte": 7.0})
                for name in ("coarse", "fine")
            )
            np.testing.assert_array_equal(
                _table(
                    models=stated,
                    nll_nats=np.ones((2, 4)),
                    num_tokens=None,
                    num_scored=None,
                    round_trips=None,
                ).costs("flops_per_byte"),
                [7.0, 7.0],
            )
        with (
            self.subTest("no tokens"),
            self.assertRaisesRegex(
                ValueError, "'flops_per_byte' needs the texts' num_tokens"
            ),
        ):
            _table(num_tokens=None, num_scored=None).costs("flops_per_byte")
        with (
            self.subTest("no operations"),
            self.assertRaisesRegex(
                ValueError, "'m0' has no cost 'flops_per_token'"
            ),
        ):
            _table().costs("flops_per_byte")

    @parameterized.named_parameters(
        ("bits_per_byte", "num_bytes"),
        ("nats_per_char", "num_chars"),
        ("text_length", "num_chars"),
        ("nats_per_token", "num_tokens"),
    )
    def test_without_counts(self, field):
        name = self._testMethodName.removeprefix("test_without_counts_")
        zeros = np.zeros(4, np.int64)
        table = _table(
            texts=_texts(num_bytes=zeros, num_chars=zeros),
            num_tokens=None,
            num_scored=None,
            round_trips=None,
        )
        with self.assertRaisesRegex(
            ValueError, rf'{name} needs {field}, .*losses\("raw"\)'
        ):
            table.losses(name)
        np.testing.assert_array_equal(table.losses("raw"), table.nll_nats)

    def test_units_in_words(self):
        self.assertEqual(_table().loss_unit("bits_per_byte"), "bits per byte")
        self.assertEqual(_table().loss_unit("raw"), "nats a text")
        self.assertEqual(
            scores.open("surprisal14").loss_unit("raw"), "nats a word"
        )
        for unit, words in (
            (None, "scores as given"),
            ("raw", "scores as given"),
            ("error", "1 - score"),
            ("bits_per_byte", "bits per byte"),
        ):
            self.assertEqual(_table(unit=unit).loss_unit("raw"), words)

    def test_text_length_needs_tokens(self):
        table = _table(num_tokens=None, num_scored=None)
        self.assertIsNone(table.chars_per_token)
        self.assertIsNone(table.select(models=["m0"]).chars_per_token)
        with self.assertRaisesRegex(ValueError, "text_length needs num_tokens"):
            table.losses()

    def test_unknown_normalisation(self):
        with self.assertRaisesRegex(ValueError, "'bpb'; there are text_length"):
            _table().losses("bpb")

    def test_text_without_scored_token_does_not_win(self):
        num_scored = np.ones((3, 4), np.int64)
        num_scored[1, 2] = 0
        table = _table(num_scored=num_scored)
        with self.assertRaisesRegex(
            ValueError, "'m1'.*'t2'.*win every minimum"
        ):
            table.losses("raw")
        kept = table.select(texts=(table.num_scored > 0).all(axis=0))
        self.assertEqual(kept.losses().shape, (3, 3))

    @parameterized.named_parameters(
        (
            "nan",
            np.nan,
            "model 'm2': the score of text 't1' is nan, not finite",
        ),
        ("infinite", -np.inf, "'m2'.*'t1' is -inf, not finite"),
    )
    def test_refuses_a_score_that_is(self, value, message):
        nll_nats = np.ones((3, 4))
        nll_nats[2, 1] = value
        with self.assertRaisesRegex(ValueError, message):
            _table(nll_nats=nll_nats)

    @parameterized.named_parameters(
        ("shape", dict(nll_nats=np.ones((3, 5))), r"nll_nats .*\(3, 4\)"),
        ("tokens", dict(num_tokens=np.ones((2, 4))), r"num_tokens .*\(3, 4\)"),
        ("scored_alone", dict(num_tokens=None), "come together"),
        (
            "more_scored",
            dict(num_tokens=np.ones((3, 4)), num_scored=np.full((3, 4), 2)),
            "'m0'.*'t0' has more tokens scored",
        ),
        (
            "no_tokens",
            dict(num_tokens=np.zeros((3, 4)), num_scored=np.zeros((3, 4))),
            "'m0' has no tokens at all",
        ),
        (
            "some_bytes",
            dict(texts=_texts(num_bytes=np.array([1, 2, 0, 4]))),
            "num_bytes of text 't2'",
        ),
        (
            "names",
            dict(models=(scores.ScoredModel("a"),) * 3),
            "'a' is empty or there twice",
        ),
    )
    def test_refuses(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            _table(**fields)


class _TestInFolder(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = (
            pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
            / "a=b"  # Not to be taken for a column.
            / "scores"
        )

    def _assert_equal(self, one, other):
        self.assertEqual(one.models, other.models)
        for field in ("ids", "domains", "sha256"):
            self.assertEqual(
                getattr(one.texts, field), getattr(other.texts, field)
            )
        for field in ("num_bytes", "num_chars"):
            np.testing.assert_array_equal(
                getattr(one.texts, field), getattr(other.texts, field)
            )
        for field in ("nll_nats", "num_tokens", "num_scored", "round_trips"):
            np.testing.assert_array_equal(
                getattr(one, field), getattr(other, field), strict=True
            )
        self.assertEqual(one.chars_per_token, other.chars_per_token)


class FilesTest(_TestInFolder):
    def test_round_trip(self):
        table = _table()
        scores.write(table, self.path)
        self._assert_equal(scores.open(self.path), table)
        with self.subTest("again"):
            scores.write(table, str(self.path))
            self._assert_equal(scores.open(str(self.path)), table)

    def test_dates_of_texts(self):
        """A table of earlier versions has none, and may be given some."""
        dates = ("2023-04-03", "", "2020", "2021-05")
        scores.write(_table(), self.path)
        self.assertIsNone(scores.open(self.path).text_dates)
        table = _table(texts=_texts(dates=dates))
        scores.write(table, self.path)
        opened = scores.open(self.path)
        self._assert_equal(opened, table)
        self.assertEqual(opened.texts.dates, dates)
        self.assertEqual(
            opened.text_dates,
            {"t0": "2023-04-03", "t2": "2020", "t3": "2021-05"},
        )
        # What does not know them keeps them.
        scores.write(_table(), self.path)
        self.assertEqual(scores.open(self.path).texts.dates, dates)
        summed = scores.summed(table, ["x", "y", "x", "z"])
        self.assertEqual(summed.texts.dates, ("", "", "2021-05"))

    def test_round_trip_without_counts(self):
        zeros = np.zeros(4, np.int64)
        table = _table(
            texts=_texts(num_bytes=zeros, num_chars=zeros, sha256=("",) * 4),
            num_tokens=None,
            num_scored=None,
            round_trips=None,
        )
        scores.write(table, self.path)
        opened = scores.open(self.path)
        self.assertIsNone(opened.num_tokens)
        self._assert_equal(opened, table)
        columns = pyarrow.parquet.read_table(
            self.path / "corpus.parquet", partitioning=None
        )
        self.assertEqual(columns.column("num_bytes").null_count, 4)

    def test_round_trip_of_a_selection_keeps_k(self):
        part = _table(5, 40).select(models=["m1", "m2"], texts=[1, 2, 5])
        scores.write(part, self.path)
        self._assert_equal(scores.open(self.path), part)

    def test_layout_and_types(self):
        scores.write(_table(), self.path)
        self.assertCountEqual(
            [str(p.relative_to(self.path)) for p in self.path.rglob("*.*")],
            [
                "corpus.parquet",
                "models/m0.parquet",
                "models/m1.parquet",
                "models/m2.parquet",
            ],
        )
        schema = pyarrow.parquet.read_schema(self.path / "models/m0.parquet")
        self.assertEqual(
            dict(zip(schema.names, map(str, schema.types), strict=True)),
            {
                "text_id": "string",
                "nll_nats": "double",
                "num_tokens": "int32",
                "num_scored": "int32",
                "round_trips": "bool",
            },
        )
        self.assertIn(b'"family": "family0"', schema.metadata[b"provenance"])

    def test_names_that_do_not_suit_a_file(self):
        names = ("..", "a b", "org/model", "äöü.parquet", "x.parts", "{0}*")
        models = tuple(
            scores.ScoredModel(name, costs={"num_params": np.int64(7)})
            for name in names
        )
        table = _table(len(names), models=models)
        scores.write(table, self.path)
        opened = scores.open(self.path).select(models=names)
        np.testing.assert_array_equal(opened.nll_nats, table.nll_nats)
        np.testing.assert_array_equal(opened.costs(), 7.0)
        self.assertTrue((self.path / "models/org%2Fmodel.parquet").exists())

    def test_counts_of_some_models_only(self):
        scores.write(_table(), self.path)
        scores.write(
            _table(
                1,
                models=(scores.ScoredModel("imported"),),
                num_tokens=None,
                num_scored=None,
                round_trips=None,
            ),
            self.path,
        )
        opened = scores.open(self.path)
        self.assertIsNone(opened.num_tokens)
        self.assertEqual(opened.losses("bits_per_byte").shape, (4, 4))

    def test_a_table_that_is_refused_leaves_no_model(self):
        table = _table()
        scores.write(table.select(models=["m0"]), self.path)
        changed = dataclasses.replace(
            table.select(models=["m1", "m0"]),
            nll_nats=np.ones((2, len(table.texts))),
        )
        long = dataclasses.replace(
            changed,
            models=(changed.models[0], scores.ScoredModel("\U0001f600" * 20)),
        )
        for other, message in ((changed, "'m0' is there"), (long, "240 bytes")):
            with self.assertRaisesRegex(ValueError, message):
                scores.write(other, self.path)
            self.assertLen(scores.open(self.path).models, 1)
        with self.assertLogs("absl", "WARNING") as said:
            scores.write(table.select(models=["m1"]), self.path)
        self.assertIn("of 1 other models, which stay: m0", str(said))

    def test_write_refuses_other_scores(self):
        scores.write(_table(), self.path)
        with self.assertRaisesRegex(
            ValueError, "m0.parquet: model 'm0' is there already, with other"
        ):
            scores.write(_table(seed=1), self.path)

    @parameterized.named_parameters(
        ("id", dict(ids=("t0", "t1", "x", "t3")), r"text 2 \('x'\) has ids"),
        ("hash", dict(sha256=("0" * 64,) * 4), r"text 1 \('t1'\) has sha256"),
        (
            "domain",
            dict(domains=("prose",) * 4),
            r"text 1 \('t1'\) has domains",
        ),
        (
            "longer",
            dict(num_texts=5),
            r"has 5 texts, and 4 there; text 4 \('t4",
        ),
        (
            "shorter",
            dict(num_texts=3),
            r"has 3 texts, and 4 there; text 3 \('t",
        ),
    )
    def test_refuses_a_corpus_that_changed(self, fields, message):
        scores.write_corpus(self.path, _texts())
        scores.write_corpus(self.path, _texts())
        with self.assertRaisesRegex(
            ValueError,
            f"corpus.parquet: the corpus has changed.*{message}.*"
            "choose another output folder",
        ):
            scores.write_corpus(self.path, _texts(**fields))

    def test_texts_themselves_are_not_kept(self):
        texts = corpus.Corpus(
            ids=("a",),
            domains=("",),
            num_bytes=np.array([2]),
            num_chars=np.array([1]),
            sha256=("0" * 64,),
            texts=("ä",),
        )
        scores.write_corpus(self.path, texts)
        self.assertNotIn(
            "ä".encode(), (self.path / "corpus.parquet").read_bytes()
        )

    def test_open_refuses(self):
        with (
            self.subTest("nothing there"),
            self.assertRaisesRegex(FileNotFoundError, "scores: no score table"),
        ):
            scores.open(self.path)
        scores.write_corpus(self.path, _texts())
        with (
            self.subTest("no model"),
            self.assertRaisesRegex(ValueError, "no model is finished"),
        ):
            scores.open(self.path)
        scores.write(_table(), self.path)
        with self.subTest("unfinished"):
            (self.path / "models" / "z-1.4b.parts").mkdir()
            (self.path / "models" / "y.parts").mkdir()
            with self.assertRaisesRegex(
                ValueError, "unfinished models: y, z-1.4b; .*leave_out_unfinish"
            ):
                scores.open(self.path)
            opened = scores.open(self.path, leave_out_unfinished=True)
            self._assert_equal(opened, _table())
        with self.subTest("other texts"):
            (self.path / "corpus.parquet").unlink()
            scores.write_corpus(self.path, _texts(sha256=("1" * 64,) * 4))
            with self.assertRaisesRegex(
                ValueError,
                r"than corpus.parquet: m0 .models/m0.parquet., m1 .*; delete",
            ):
                scores.open(self.path, leave_out_unfinished=True)

    def test_flipped_number(self):
        """Parquet itself notices no flipped bit of a number."""
        scores.write(_table(), self.path)
        file = self.path / "models" / "m1.parquet"
        table = pyarrow.parquet.ParquetFile(file).read()
        nll = table.column("nll_nats").to_numpy().copy()
        nll.view(np.uint8)[5] ^= 8
        changed = table.set_column(
            table.schema.get_field_index("nll_nats"),
            table.schema.field("nll_nats"),
            pa.array(nll),
        )
        pyarrow.parquet.write_table(changed, file)
        with self.assertRaisesRegex(ValueError, "m1.parquet: damaged, its con"):
            scores.open(self.path)
        with self.subTest("files of earlier versions have no digest"):
            metadata = {b"provenance": table.schema.metadata[b"provenance"]}
            pyarrow.parquet.write_table(
                changed.replace_schema_metadata(metadata), file
            )
            scores.open(self.path)

    def test_flipped_number_of_the_corpus(self):
        scores.write(_table(), self.path)
        file = self.path / "corpus.parquet"
        table = pyarrow.parquet.ParquetFile(file).read()
        changed = table.set_column(
            table.schema.get_field_index("num_bytes"),
            table.schema.field("num_bytes"),
            pa.array(table.column("num_bytes").to_numpy() + 1),
        )
        pyarrow.parquet.write_table(changed, file)
        with self.assertRaisesRegex(ValueError, "corpus.parquet: damaged, its"):
            scores.open(self.path)
        with self.subTest("files of earlier versions have no digest"):
            pyarrow.parquet.write_table(
                changed.replace_schema_metadata(None), file
            )
            found = scores.open(self.path).texts.num_bytes
            self.assertEqual(found[0], table.column("num_bytes")[0].as_py() + 1)
        with self.subTest("a constant that is none"):
            pyarrow.parquet.write_table(
                table.replace_schema_metadata({"chars_per_token": "[1"}), file
            )
            with self.assertRaisesRegex(ValueError, "chars_per_token is no"):
                scores.open(self.path)

    def test_facts_that_are_none(self):
        scores.write(_table(), self.path)
        file = self.path / "models" / "m1.parquet"
        table = pyarrow.parquet.ParquetFile(file).read()
        for text, message in {
            "{": "not readable as JSON",
            "[1]": "names no name",
            '{"name": "m1"}': "names no corpus_sha256",
        }.items():
            with self.subTest(text):
                pyarrow.parquet.write_table(
                    table.replace_schema_metadata({"provenance": text}), file
                )
                with self.assertRaisesRegex(ValueError, f"m1.*{message}"):
                    scores.open(self.path)

    @parameterized.parameters("corpus.parquet", "models/m1.parquet")
    def test_damaged_file(self, name):
        scores.write(_table(), self.path)
        file = self.path / name
        file.write_bytes(file.read_bytes()[:-20])
        with self.assertRaisesRegex(ValueError, f"{name}: damaged"):
            scores.open(self.path)

    def test_file_of_others(self):
        scores.write(_table(), self.path)
        file = self.path / "models" / "m3.parquet"
        pyarrow.parquet.write_table(pa.table({"a": [1]}), file)
        with self.assertRaisesRegex(
            ValueError, "m3.parquet: its columns are a"
        ):
            scores.open(self.path)
        table = pyarrow.parquet.read_table(
            self.path / "models/m0.parquet", partitioning=None
        )
        pyarrow.parquet.write_table(table.replace_schema_metadata(None), file)
        with self.assertRaisesRegex(ValueError, "m3.parquet: no provenance"):
            scores.open(self.path)


class _Killed(BaseException):
    """Not an Exception: nothing may catch it, like a SIGKILL."""


_MODEL = scores.ScoredModel("m", "f", costs={"num_params": 3})
_KEY = {"checkpoint": "abc", "dtype": "float32", "window": [1024, 512]}


class ModelWriterTest(_TestInFolder):
    def setUp(self):
        super().setUp()
        self.table = _table(1, 7, models=(_MODEL,))
        self.file = self.path / "models" / "m.parquet"
        self.parts = self.path / "models" / "m.parts"

    def _writer(self, model=_MODEL, key=None, **options):
        scores.write_corpus(self.path, self.table.texts)
        return scores.ModelWriter(
            self.path, model, _KEY if key is None else key, **options
        )

    def _append(self, writer, indices, **options):
        indices = list(indices)
        table = self.table
        writer.append(
            [table.texts.ids[i] for i in indices],
            table.nll_nats[0, indices],
            table.num_tokens[0, indices],
            table.num_scored[0, indices],
            table.round_trips[0, indices],
            **options,
        )

    def _token_scores(self, indices):
        """Tokens that sum to the texts' scores; one text is not followed."""
        table, nll, ends = self.table, [], []
        for i in indices:
            num_tokens = table.num_tokens[0, i]
            nll.append(np.full(num_tokens, table.nll_nats[0, i] / num_tokens))
            ends.append(None if i == 2 else np.arange(1, 1 + num_tokens))
        return scores.token_scores(nll, ends)

    def _score(self, writer=None, batch=3, **options):
        """Scores what is missing, as an engine would, in its own order."""
        writer = writer or self._writer(**options)
        missing = [
            i
            for i in reversed(range(7))
            if self.table.texts.ids[i] not in writer.finished_ids
        ]
        for start in range(0, len(missing), batch):
            chosen = missing[start : start + batch]
            tokens = {}
            if writer.keeps_tokens:
                tokens = {"token_scores": self._token_scores(chosen)}
            self._append(writer, chosen, **tokens)
        writer.finish()
        return len(missing)

    def _assert_finished(self):
        opened = scores.open(self.path)
        self._assert_equal(opened.select(models=["m"]), self._expected())
        self.assertEmpty(list(self.path.rglob("*.tmp")))
        self.assertFalse(self.parts.exists())

    def _expected(self):
        provenance = {"key": _KEY, "seconds": 0.0}
        model = scores.ScoredModel(
            "m", "f", costs={"num_params": 3}, provenance=provenance
        )
        return scores.ScoreTable(
            (model,),
            self.table.texts,
            self.table.nll_nats,
            self.table.num_tokens,
            self.table.num_scored,
            self.table.round_trips,
        )

    def test_writes_in_corpus_order(self):
        self.assertEqual(self._score(), 7)
        self._assert_finished()

    def test_finished_ids(self):
        writer = self._writer()
        self.assertEmpty(writer.finished_ids)
        self._append(writer, [5, 2])
        self._append(writer, [])
        self.assertEqual(writer.finished_ids, {"t5", "t2"})
        with self.assertRaisesRegex(ValueError, "unfinished models: m"):
            scores.open(self.path)
        writer.close()
        again = self._writer()
        self.assertEqual(again.finished_ids, {"t5", "t2"})
        self.assertEqual(self._score(again), 5)
        self._assert_finished()
        self.assertLen(self._writer().finished_ids, 7)

    def test_survives_a_kill_at_any_step(self):
        self._score()
        uninterrupted = self.file.read_bytes()
        num_texts_again = []
        step = 0
        killed = True
        while killed:
            for left in sorted(self.path.rglob("*"), reverse=True):
                left.rmdir() if left.is_dir() else left.unlink()
            killed = False
            with self._killed_at(step):
                try:
                    self._score()
                except _Killed:
                    killed = True
            with self.subTest(step=step):
                if self.file.exists():
                    scores.open(self.path)
                elif (self.path / "corpus.parquet").exists():
                    with self.assertRaisesRegex(ValueError, "finished"):
                        scores.open(self.path)
                num_texts_again.append(self._score())
                self._assert_finished()
                self.assertEqual(self.file.read_bytes(), uninterrupted)
            step += 1
        # Each part, the corpus, the merged file; then 3 parts and a folder go.
        self.assertGreater(step, 5 * 3 + 4)
        self.assertEqual(sorted(set(num_texts_again)), [0, 1, 4, 7])

    def _assert_tokens(self):
        found = scores.open(self.path).tokens["m"]
        expected = self._token_scores(range(7))
        for field in expected._fields:
            np.testing.assert_array_equal(
                getattr(found, field), getattr(expected, field), field
            )

    def test_tokens_survive_a_kill_at_any_step(self):
        """A run that goes on without the flag keeps them as well."""
        self._score(batch=4, keep_tokens=True)
        self._assert_tokens()
        file = self.path / "tokens" / "m.parquet"
        uninterrupted = file.read_bytes()
        step, killed = 0, True
        while killed:
            for left in sorted(self.path.rglob("*"), reverse=True):
                left.rmdir() if left.is_dir() else left.unlink()
            killed = False
            with self._killed_at(step):
                try:
                    self._score(batch=4, keep_tokens=True)
                except _Killed:
                    killed = True
            with self.subTest(step=step):
                parts = list(self.parts.glob("part-*.parquet"))
                self._score(keep_tokens=not parts)
                self._assert_finished()
                self._assert_tokens()
                self.assertEqual(file.read_bytes(), uninterrupted)
            step += 3
        self.assertGreater(step, 2 * 4 * 2)

    def test_tokens_that_were_not_kept(self):
        with self._writer() as writer:
            self._append(writer, [1])
        for finished in (False, True):
            with self.subTest(finished=finished):
                if finished:
                    self._score()
                self.assertFalse(scores.keeps_tokens(self.path, "m"))
                with self.assertRaisesRegex(
                    ValueError, "'m' .*without keeping"
                ):
                    self._writer(keep_tokens=True)
        self.assertIsNone(scores.open(self.path).tokens)
        again = self._writer(keep_tokens=True, rescore=True)
        self.assertEqual(self._score(again), 7)
        self._assert_tokens()
        self.assertTrue(scores.keeps_tokens(self.path, "m"))
        with self.subTest("they stay, whoever looks"):
            self.assertEqual(self._score(), 0)
            self._assert_tokens()
        with self.subTest("and go with other scores"):
            self._score(self._writer(key={"other": 1}, rescore=True))
            self.assertIsNone(scores.open(self.path).tokens.get("m"))

    def test_tokens_of_other_scores(self):
        self._score(keep_tokens=True)
        self.table.nll_nats[0, 3] *= 1 + 1e-5
        self.file.unlink()
        self._score(self._writer())
        self._score(self._writer(keep_tokens=True, rescore=True))
        file = self.path / "tokens" / "m.parquet"
        kept = file.read_bytes()
        self.table.nll_nats[0, 3] *= 1 + 1e-5
        self.file.unlink()
        self._score(self._writer())
        self.assertFalse(file.exists())
        file.write_bytes(kept)
        with self.assertRaisesRegex(ValueError, "m.parquet.*'t3' sum to"):
            _ = scores.open(self.path).tokens["m"]
        file.write_bytes(kept[:-9])
        with self.assertRaisesRegex(ValueError, "m.parquet: damaged"):
            _ = scores.open(self.path).tokens["m"]

    def test_tokens_of_selected_texts(self):
        self._score(keep_tokens=True)
        texts = np.array([5, 2, 3])
        chosen = scores.open(self.path).select(texts=texts).tokens["m"]
        expected = self._token_scores(texts)
        for field in expected._fields:
            np.testing.assert_array_equal(
                getattr(chosen, field), getattr(expected, field), field
            )
        nll, ends = chosen.of_text(2)
        self.assertEqual(len(nll), self.table.num_tokens[0, 3])
        self.assertEqual(ends[-1], len(nll))

    def _killed_at(self, step):
        """Kills instead of the step-th change of the folder."""
        remaining = [step]
        return mock.patch.multiple(
            os,
            **{
                name: self._killing(getattr(os, name), remaining)
                for name in ("fsync", "replace", "unlink", "rmdir", "mkdir")
            },
        )

    @staticmethod
    def _killing(function, remaining):
        def wrapped(*args, **kwargs):
            if remaining[0] == 0:
                raise _Killed
            remaining[0] -= 1
            return function(*args, **kwargs)

        return wrapped

    def test_leftover_temporary_files(self):
        writer = self._writer()
        self._append(writer, range(3))
        for name in (
            "part-000001-0000.parquet.123.tmp",
            "../m.parquet.123.tmp",
        ):
            (self.parts / name).write_bytes(b"half")
        (self.path / "corpus.parquet.123.tmp").write_bytes(b"half")
        writer.close()
        self.assertEqual(self._score(), 4)
        self._assert_finished()

    def test_another_models_temporary_files_stay(self):
        self._writer()
        other = self.path / "models" / "mm.parquet.123.tmp"
        other.write_bytes(b"half")
        self._score()
        self.assertTrue(other.exists())

    def test_seconds_add_up_over_a_kill(self):
        self._append(self._writer(), range(3), seconds=1.5)
        self._append(self._writer(), range(3, 7), seconds=2.0)
        self._writer().finish({"device": "cpu"})
        provenance = scores.open(self.path).models[0].provenance
        self.assertEqual(
            provenance, {"key": _KEY, "seconds": 3.5, "device": "cpu"}
        )

    def test_finished_model_takes_new_facts(self):
        self._score()
        before = scores.open(self.path)
        model = scores.ScoredModel("m", "g", "instruct", {"price": 2.0})
        self._writer(model).finish()
        after = scores.open(self.path)
        self.assertEqual(after.costs("price"), [2.0])
        self.assertEqual(after.models[0].family, "g")
        self.assertEqual(
            after.models[0].provenance, before.models[0].provenance
        )
        np.testing.assert_array_equal(after.nll_nats, before.nll_nats)

    @parameterized.parameters(True, False)
    def test_another_key(self, finished):
        if finished:
            self._score()
        else:
            self._append(self._writer(), range(3))
        key = _KEY | {"dtype": "bfloat16", "prefix": "bos"}
        with self.assertRaisesRegex(
            ValueError,
            r"m.pa.*model 'm' was scored differently: dtype \('float32' there, "
            r"'bfloat16' now\), prefix \(None there, 'bos' now\); choose "
            "another output folder, or pass rescore",
        ):
            self._writer(key=key)
        self.assertNotEmpty(self._writer().finished_ids)
        writer = self._writer(key=key, rescore=True)
        self.assertEmpty(writer.finished_ids)
        self._append(writer, range(2))
        writer.close()
        with self.subTest("rescore resumes its own"):
            again = self._writer(key=key, rescore=True)
            self.assertEqual(again.finished_ids, {"t0", "t1"})
            self._score(again)
        provenance = scores.open(self.path).models[0].provenance
        self.assertEqual(provenance["key"], key)

    def test_key_is_compared_as_json(self):
        self._append(self._writer(), range(3))
        key = _KEY | {"window": (1024, 512)}
        self.assertLen(self._writer(key=key).finished_ids, 3)

    def test_other_texts(self):
        self._append(self._writer(), range(3))
        (self.path / "corpus.parquet").unlink()
        scores.write_corpus(self.path, _texts(7, sha256=("1" * 64,) * 7))
        with self.assertRaisesRegex(
            ValueError, "part-000000-0000.parquet: scored on other texts"
        ):
            scores.ModelWriter(self.path, _MODEL, _KEY)

    def test_needs_a_corpus(self):
        with self.assertRaisesRegex(FileNotFoundError, "no corpus.parquet"):
            scores.ModelWriter(self.path, _MODEL, _KEY)

    def test_damaged_part(self):
        self._append(self._writer(), range(3))
        part = self.parts / "part-000000-0000.parquet"
        part.write_bytes(part.read_bytes()[:50])
        with self.assertRaisesRegex(
            ValueError,
            "part-000000-0000.parquet: damaged.*delete it and score again",
        ):
            self._writer()
        part.unlink()
        self.assertEqual(self._score(), 7)

    def test_part_twice(self):
        self._append(self._writer(), range(3))
        part = (self.parts / "part-000000-0000.parquet").read_bytes()
        (self.parts / "part-000001-0000.parquet").write_bytes(part)
        with self.assertRaisesRegex(
            ValueError,
            "part-000001-0000.parquet: text 't0' has a score already",
        ):
            self._writer()

    @parameterized.named_parameters(
        ("nan", dict(nll_nats=[1.0, np.nan]), "the nll of text 't1' is nan"),
        (
            "infinite",
            dict(nll_nats=[np.inf, 1.0]),
            "of text 't0' is inf, not f",
        ),
        ("repeated", dict(text_ids=["t0", "t0"]), "text 't0' has a score alre"),
        ("appended", dict(text_ids=["t0", "t6"]), "text 't6' has a score alre"),
        (
            "unknown",
            dict(text_ids=["t0", "x"]),
            "text 'x' is not in the corpus",
        ),
        (
            "length",
            dict(nll_nats=[1.0]),
            r"nll_nats has the shape \(1,\) for 2",
        ),
        (
            "counts",
            dict(num_scored=[1, 3]),
            "text 't1' has 3 tokens scored of 2",
        ),
        ("below_0", dict(num_scored=[-1, 3]), "'t0' has -1 tokens scored of 2"),
    )
    def test_append_refuses(self, arguments, message):
        writer = self._writer()
        self._append(writer, [6])
        arguments = {
            "text_ids": ["t0", "t1"],
            "nll_nats": [1.0, 2.0],
            "num_tokens": [2, 2],
            "num_scored": [2, 2],
            "round_trips": [True, True],
        } | arguments
        with self.assertRaisesRegex(ValueError, f"model 'm': .*{message}"):
            writer.append(**arguments)
        self.assertEqual(writer.finished_ids, {"t6"})
        self.assertLen(list(self.parts.glob("part-*")), 1)

    def test_failed_write_can_be_repeated(self):
        writer = self._writer()
        with (
            mock.patch.object(os, "replace", side_effect=OSError("disk full")),
            self.assertRaisesRegex(OSError, "disk full"),
        ):
            self._append(writer, range(3))
        self.assertEmpty(writer.finished_ids)
        self._score(writer)
        self._assert_finished()

    def test_full_disk(self):
        writer = self._writer()
        self._append(writer, range(3))
        # /dev/full takes any write with ENOSPC.
        self.enter_context(
            mock.patch.object(uuid, "uuid4", return_value=uuid.UUID(int=0))
        )
        name = f"part-000001-0000.parquet.{0:08}.tmp"
        (self.parts / name).symlink_to("/dev/full")
        with self.assertRaisesRegex(
            OSError,
            "the disk is full.*is kept.*part-000001-0000.parquet'$",
        ) as raised:
            self._append(writer, range(3, 7))
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        with self.subTest("nothing is left of it, all else is there"):
            self.assertEmpty(list(self.parts.glob("*.tmp")))
            self.assertEqual(writer.finished_ids, {"t0", "t1", "t2"})
            writer.close()
            self.assertEqual(self._writer().finished_ids, writer.finished_ids)
        self.assertEqual(self._score(), 4)
        self._assert_finished()

    def test_another_run_is_kept_out(self):
        with self._writer() as writer:
            with self.assertRaisesRegex(
                BlockingIOError, "another run is scoring the model 'm'; wait"
            ):
                self._writer()
            with self.subTest("another model is not"):
                self._writer(scores.ScoredModel("m2", "f")).close()
            self._append(writer, range(3))
        self.assertEqual(self._score(), 4)
        self.assertTrue(self.file.exists())

    def test_processes_write_together(self):
        with self._writer() as first, self._writer(process=1) as second:
            self._append(second, [6, 0], seconds=2.0)
            self._append(first, [3, 1, 2], seconds=1.0)
            with self.subTest("another process deletes nothing"):
                left = self.parts / "part-000009-0000.parquet.123.tmp"
                left.write_bytes(b"half")
                self._writer(process=2).close()
                self.assertTrue(left.exists())
                left.unlink()
            with self.assertRaisesRegex(ValueError, "2 texts of 7"):
                first.finish()
            self._append(second, [5, 4], seconds=2.0)
            first.finish()
        provenance = scores.open(self.path).models[0].provenance
        self.assertEqual(provenance, {"key": _KEY, "seconds": 5.0})
        np.testing.assert_array_equal(
            scores.open(self.path).nll_nats, self.table.nll_nats
        )
        self.assertFalse(self.parts.exists())

    def test_resumes_what_processes_wrote(self):
        with self._writer() as first, self._writer(process=1) as second:
            self._append(second, [6, 0])
            self._append(first, [3])
        self.assertEqual(self._score(), 4)
        self._assert_finished()

    def test_finish_needs_every_text(self):
        writer = self._writer()
        self._append(writer, [0, 1, 2, 4])
        with self.assertRaisesRegex(
            ValueError,
            "model 'm': 3 texts of 7 have no score yet, such as 't3'",
        ):
            writer.finish()
        self.assertFalse(self.file.exists())

    def test_two_models_in_one_folder(self):
        self._score()
        other = scores.ScoredModel("m.2", "f", costs={"num_params": 5})
        self._score(self._writer(other))
        opened = scores.open(self.path)
        np.testing.assert_array_equal(opened.costs(), [3.0, 5.0])

    def test_table_is_readable_without_us(self):
        self._score()
        table = pyarrow.parquet.read_table(self.file, partitioning=None)
        self.assertEqual(
            table.column("text_id").to_pylist(), list(self.table.texts.ids)
        )
        self.assertEqual(files.MODEL_SCHEMA.names, table.column_names)


class LockedTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(tempfile.mkdtemp(), "scores")

    def test_second_run_is_told_of_the_first(self):
        with (
            scores.locked(self.path, "scoring"),
            self.assertRaisesRegex(
                BlockingIOError,
                rf"another run is scoring into this folder \(process "
                rf"{os.getpid()} on .+, since 20..-.*\); wait for it, "
                "or choose another output folder$",
            ),
            scores.locked(self.path, "scoring"),
        ):
            pass
        with self.subTest("and free afterwards"):
            with scores.locked(self.path, "scoring"):
                pass
            self.assertEmpty(list(self.path.iterdir()))

    def test_lock_of_a_killed_run(self):
        """Also where the file system has no locks."""
        self.path.mkdir()
        dead = dict(host=platform.node(), process=2**22 + 1, since="then")
        for without_locks in (False, True):
            for content in (
                *(json.dumps(dead), "", "{", "[1]", "[" * 4000),
                *(json.dumps(dead | {"process": n}) for n in (-1, "x", 9**99)),
            ):
                (self.path / "lock").write_text(content)
                error = OSError(errno.ENOLCK, "no locks")
                with (
                    mock.patch.object(
                        locks.fcntl,
                        "flock",
                        side_effect=error if without_locks else None,
                    ),
                    scores.locked(self.path, "scoring"),
                ):
                    pass

    def test_lock_of_a_run_where_there_are_no_locks(self):
        self.path.mkdir()
        error = OSError(errno.ENOLCK, "no locks")
        for owner in (
            dict(host=platform.node(), process=os.getpid()),
            dict(host="elsewhere", process=2**22 + 1),
        ):
            (self.path / "lock").write_text(json.dumps(owner))
            with (
                mock.patch.object(locks.fcntl, "flock", side_effect=error),
                self.assertRaisesRegex(
                    BlockingIOError, f"{owner['host']}.*if it is gone, delete"
                ),
                scores.locked(self.path, "scoring"),
            ):
                pass


if __name__ == "__main__":
    absltest.main()
