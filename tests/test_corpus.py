"""Texts in: what is read, what is refused, and the embedded corpus."""

import collections
import dataclasses
import datetime
import gzip
import hashlib
import itertools
import json
import os
import pathlib
import sys
import sysconfig
import tempfile
import types
import weakref
from unittest import mock

import numpy as np
import pyarrow
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import corpus, scores
from mmc_jax.corpus import container, data_sets, embedded_texts, files


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def write(self, name: str, content: bytes | str) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(raw)
        return path

    def write_jsonl(self, *rows) -> pathlib.Path:
        return self.write("a.jsonl", "\n".join(map(json.dumps, rows)))

    def write_parquet(self, **columns) -> pathlib.Path:
        path = self.folder / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path

    def assert_refused(self, path: pathlib.Path, *parts: str, **columns):
        """Reading fails, and the message names the file and the parts.

        So does the first pass over a stream, before it gives any text.
        """
        with self.assertRaises(ValueError) as raised:
            corpus.read(path, **columns)
        for part in (str(path), *parts):
            self.assertIn(part, str(raised.exception))
        with self.assertRaises(ValueError) as streamed:
            next(corpus.stream(path, **columns).chunks(1))
        self.assertEqual(str(streamed.exception), str(raised.exception))


class JsonlTest(FolderTest):
    def test_read(self):
        path = self.write_jsonl(
            dict(text="naïve 🙂", id="first", domain="prose", more=1),
            dict(text="b", id=7, domain=None),
            dict(text="c"),
        )
        texts = corpus.read(path)
        self.assertLen(texts, 3)
        sha256 = [
            hashlib.sha256(text.encode()).hexdigest()
            for text in ("naïve 🙂", "b", "c")
        ]
        self.assertEqual(texts.ids, ("first", "7", sha256[2][:16]))
        self.assertEqual(texts.domains, ("prose", "", ""))
        self.assertEqual(texts.texts, ("naïve 🙂", "b", "c"))
        self.assertEqual(texts.sha256, tuple(sha256))
        np.testing.assert_array_equal(texts.num_bytes, [11, 1, 1])
        np.testing.assert_array_equal(texts.num_chars, [7, 1, 1])
        self.assertEqual(texts.num_bytes.dtype, np.int64)

    def test_dates(self):
        rows = [
            dict(text="a", date="2023-04-03"),
            dict(text="b", date=2020),
            dict(text="c", date="soon"),
            dict(text="d"),
        ]
        with self.assertLogs(level="WARNING") as logs:
            found = corpus.read(self.write_jsonl(*rows))
        self.assertIn("1 cells of the column 'date'", logs.output[0])
        self.assertEqual(found.dates, ("2023-04-03", "2020", "", ""))
        self.assertEqual(found.select([3, 0]).dates, ("", "2023-04-03"))
        path = self.write_parquet(
            text=["a", "b"], date=[datetime.date(2023, 4, 3), None]
        )
        self.assertEqual(corpus.read(path).dates, ("2023-04-03", ""))
        without = corpus.read(self.write_jsonl(dict(text="a")))
        self.assertIsNone(without.dates)

    def test_gzip_equals_plain(self):
        plain = self.write_jsonl(dict(text="a"), dict(text="b", domain="d"))
        packed = self.write("b.jsonl.gz", gzip.compress(plain.read_bytes()))
        self.assertEqual(corpus.read(packed).ids, corpus.read(plain).ids)
        self.assertEqual(corpus.read(packed).texts, ("a", "b"))

    def test_named_columns(self):
        path = self.write_jsonl(dict(content="a", key="x", source="web"))
        texts = corpus.read(
            str(path),
            text_column="content",
            id_column="key",
            domain_column="source",
        )
        self.assertEqual((*texts.ids, *texts.domains), ("x", "web"))

    def test_one_text_under_two_ids(self):
        path = self.write_jsonl(dict(text="a", id=1), dict(text="a", id=2))
        self.assertEqual(corpus.read(path).ids, ("1", "2"))

    @parameterized.named_parameters(
        ("id", dict(text="a", id="x"), dict(text="b", id="x"), "id 'x'"),
        ("text", dict(text="a"), dict(text="a"), "same text"),
    )
    def test_duplicate(self, first, second, message):
        path = self.write_jsonl(first, second)
        self.assert_refused(path, "line 2", "line 1 already", message)

    @parameterized.named_parameters(
        ("empty", b'{"text": ""}', "the text is empty"),
        ("no_column", b'{"content": "a"}', "no column 'text'", "'content'"),
        ("number", b'{"text": 3}', "'text' is int"),
        ("null", b'{"text": null}', "'text' is NoneType"),
        ("domain", b'{"text": "a", "domain": 3}', "'domain' is int"),
        ("not_json", b"text: a", "not JSON"),
        ("cut_off", b'{"text": "a', "not JSON"),
        ("not_an_object", b'["a"]', "not a JSON object"),
        ("not_utf8", b'{"text": "\xe9"}', "not UTF-8", "0xe9 at offset 10"),
        ("lone_surrogate", rb'{"text": "\ud800"}', "not valid Unicode"),
    )
    def test_bad_line(self, line, *message):
        # A blank line is skipped, and counted.
        path = self.write("a.jsonl", b'{"text": "a"}\n\n' + line + b"\n")
        self.assert_refused(path, "line 3", *message)

    @parameterized.parameters("", "\n", " \n\n")
    def test_no_texts(self, content):
        self.assert_refused(self.write("a.jsonl", content), "no texts")

    def test_gzip_that_is_cut_off(self):
        lines = [json.dumps(dict(text=f"{i}" * 9)) for i in range(9999)]
        packed = gzip.compress("\n".join(lines).encode())
        path = self.write("a.jsonl.gz", packed[: len(packed) // 2])
        self.assert_refused(path, "after line ", "damaged", "get the file")

    def test_gzip_by_content(self):
        """What is packed is told by the bytes, not by the name."""
        raw = b'{"text": "a"}'
        for name, content in (
            ("a.jsonl.gz", raw),
            ("b.jsonl", gzip.compress(raw)),
        ):
            path = self.write(name, content)
            self.assertEqual(corpus.read(path).texts, ("a",))

    @parameterized.named_parameters(
        ("mark", b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}'),
        ("cr", b'{"text": "a"}\r{"text": "b"}\r'),
        ("crlf", b'{"text": "a"}\r\n\r\n{"text": "b"}\r\n'),
    )
    def test_as_other_systems_write_it(self, content):
        path = self.write("a.jsonl", content)
        self.assertEqual(corpus.read(path).texts, ("a", "b"))

    def test_line_numbers_of_cr(self):
        path = self.write("a.jsonl", b'{"text": "a"}\r{"text": ""}\r')
        self.assert_refused(path, "line 2", "empty", "--skip_blank")

    def test_the_true_cause(self):
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        for name, content, *message in (
            ("a.jsonl", pointer, "pointer of Git LFS", "git lfs pull"),
            ("a.parquet", pointer, "pointer of Git LFS", "git lfs pull"),
            ("b.jsonl", '{"text": "a"}'.encode("utf-16"), "UTF-16", "iconv"),
            ("c.jsonl", '{"text": "a"}'.encode("utf-32"), "UTF-32", "iconv"),
            ("d.jsonl", b'{"id": %s}' % (b"9" * 5000), "line 1", "5,000 dig"),
            (
                "e.jsonl",
                b'{"m": %s%s}' % (b"[" * 10**5, b"]" * 10**5),
                "line 1",
                "nested too deeply",
            ),
        ):
            with self.subTest(name):
                self.assert_refused(self.write(name, content), *message)

    def test_blank_texts(self):
        rows = [dict(text=t) for t in ("", "a", " \n", "b", "\t")]
        path = self.write_jsonl(*rows)
        with self.assertLogs("absl", "WARNING") as logs:
            texts = corpus.stream(path, skip_blank=True)
            self.assertLen(texts, 2)
        self.assertEqual(texts.num_blank, 3)
        self.assertLen(logs.output, 1)
        self.assertIn("3 blank texts", logs.output[0])
        (chunk,) = texts.chunks(5)
        self.assertEqual(chunk.texts, ("a", "b"))
        self.assertEqual(texts.select([1]).load().texts, ("b",))
        with self.assertLogs("absl", "WARNING"):
            read = corpus.read(path, skip_blank=True)
        self.assertEqual(read.texts, ("a", "b"))


class ParquetTest(FolderTest):
    def test_read(self):
        path = self.write_parquet(
            id=["x", None], text=["é", "b"], more=[1, 2], domain=["d", None]
        )
        texts = corpus.read(path)
        name = hashlib.sha256(b"b").hexdigest()[:16]
        self.assertEqual(texts.ids, ("x", name))
        self.assertEqual(texts.domains, ("d", ""))
        np.testing.assert_array_equal(texts.num_bytes, [2, 1])
        np.testing.assert_array_equal(texts.num_chars, [1, 1])

    @parameterized.named_parameters(
        ("duplicate", dict(text=["a", "b"], id=[1, 1]), "row 1", "row 0"),
        ("empty", dict(text=["a", ""]), "row 1", "the text is empty"),
        ("null", dict(text=["a", None]), "row 1", "NoneType"),
        ("no_column", dict(content=["a"]), "no column 'text'", "'content'"),
        ("no_texts", dict(text=pyarrow.array([], "string")), "no texts"),
    )
    def test_refused(self, columns, *message):
        self.assert_refused(self.write_parquet(**columns), *message)

    def test_not_parquet(self):
        self.assert_refused(self.write("a.parquet", "no"), "not Parquet")

    def test_not_utf8(self):
        raw = pyarrow.array([b"a", b"b", b"\xe9"]).view(pyarrow.string())
        path = self.write_parquet(text=raw)
        self.assert_refused(path, "row 2: not UTF-8", "0xe9 at offset 0")

    def test_texts_that_the_footer_calls_booleans(self):
        """Arrow ends the process where it is asked about such a column."""
        path = self.write_parquet(id=["a"], text=["b"])
        raw = path.read_bytes()
        footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
        # Where the schema says of the second column that it holds bytes.
        place = raw.index(b"\x15\x0c", raw.index(b"\x15\x0c", footer) + 1)
        path.write_bytes(raw[: place + 1] + b"\0" + raw[place + 2 :])
        self.assert_refused(path, "Parquet", "BOOLEAN")

    def test_damaged_in_the_middle(self):
        texts = [f"{i:08}" * 20 for i in range(3000)]
        path = self.folder / "a.parquet"
        pyarrow.parquet.write_table(
            pyarrow.table(dict(text=texts)),
            path,
            row_group_size=1000,
            compression="gzip",
        )
        raw = bytearray(path.read_bytes())
        middle = len(raw) // 2
        raw[middle : middle + 64] = bytes(64)
        path.write_bytes(raw)
        self.assert_refused(path, "from row 768", "damaged", "get the file")


class FolderOfTextsTest(FolderTest):
    def test_read(self):
        self.write("b.txt", "in the folder\r\n")
        self.write("web/news/a.md", "two below")
        self.write("web/c.txt", "one below")
        self.write("web/d.py", "left out")
        with self.assertLogs("absl", "WARNING") as logs:
            texts = corpus.read(self.folder)
        self.assertIn("1 of .py", logs.output[0])
        self.assertIn("web/d.py", logs.output[0])
        self.assertEqual(texts.ids, ("b.txt", "web/c.txt", "web/news/a.md"))
        self.assertEqual(texts.domains, ("", "web", "web"))
        self.assertEqual(texts.texts[0], "in the folder\r\n")

    def test_not_utf8(self):
        self.write("good.txt", "a")
        path = self.write("sub/latin.txt", b"one\ntwo\nthr\xe9\n")
        with self.assertRaises(ValueError) as raised:
            corpus.read(self.folder)
        self.assertIn(f"{path}, line 3: not UTF-8", str(raised.exception))

    def test_a_mark_is_no_text(self):
        self.write("a.txt", b"\xef\xbb\xbfHello")
        self.write("b.txt", b"Hello")
        texts = corpus.read(self.folder)
        self.assertEqual(texts.texts, ("Hello", "Hello"))
        np.testing.assert_array_equal(texts.num_bytes, [5, 5])

    def test_capitals_and_links(self):
        self.write("texts/A.TXT", "a")
        other = self.write("other/b.Md", "b")
        (self.folder / "texts/link").symlink_to(other.parent)
        # A link back up: a folder is read once.
        (self.folder / "other/loop").symlink_to(self.folder / "texts")
        texts = corpus.read(self.folder / "texts")
        self.assertEqual(texts.ids, ("A.TXT", "link/b.Md"))

    def test_a_folder_of_other_files(self):
        self.write("a.parquet", "")
        self.write("b.parquet", "")
        self.assert_refused(self.folder, "2 of .parquet", "itself")

    def test_empty_file(self):
        path = self.write("a.txt", "")
        with self.assertRaises(ValueError) as raised:
            corpus.read(self.folder)
        self.assertIn(f"{path}: the text is empty", str(raised.exception))

    def test_no_texts(self):
        self.assert_refused(self.folder, "no texts")

    def test_other_kind_of_file(self):
        path = self.write("a.csv", "text\na\n")
        self.assert_refused(path, "not a kind of corpus", ".jsonl")

    def test_nothing_there(self):
        path = self.folder / "none.jsonl"
        with self.assertRaisesRegex(FileNotFoundError, str(path)):
            corpus.read(path)


class HuggingFaceTest(parameterized.TestCase):
    def datasets(self, *rows):
        load = mock.Mock(return_value=rows)
        module = types.SimpleNamespace(load_dataset=load)
        self.enterContext(mock.patch.dict(sys.modules, datasets=module))
        return load

    def test_read(self):
        load = self.datasets(dict(body="a", topic="x"), dict(body="é"))
        texts = corpus.hugging_face(
            "some/data",
            split="test",
            subset="en",
            text_column="body",
            domain_column="topic",
        )
        load.assert_called_once_with(
            "some/data", "en", split="test", streaming=False
        )
        self.assertEqual(texts.texts, ("a", "é"))
        self.assertEqual(texts.domains, ("x", ""))

    def test_bad_row(self):
        self.datasets(dict(text="a"), dict(text=""))
        with self.assertRaisesRegex(
            ValueError, r"some/data \(test\), row 1: the text is empty"
        ):
            corpus.hugging_face("some/data", split="test")

    def test_package_is_missing(self):
        self.enterContext(mock.patch.dict(sys.modules, datasets=None))
        with self.assertRaisesRegex(ImportError, "pip install datasets"):
            corpus.hugging_face("some/data", split="test")

    def test_stream(self):
        load = self.datasets(*(dict(text=f"text {i}") for i in range(5)))
        texts = corpus.hugging_face_stream(
            "some/data", split="test", on_disk=False
        )
        load.assert_called_once_with(
            "some/data", None, split="test", streaming=True
        )
        for _ in range(2):
            sizes = [len(chunk) for chunk in texts.chunks(2)]
            self.assertEqual(sizes, [2, 2, 1])
        self.assertEqual(load.call_count, 1)

    def test_named(self):
        load = self.datasets(dict(text="a"))
        texts = corpus.named("hf:some/data:test")
        load.assert_called_once_with(
            "some/data", None, split="test", streaming=False
        )
        self.assertIsInstance(texts, corpus.Stream)
        for name in ("hf:some/data", "hf::test", "hf:some/data:", "hf:a:b:c:d"):
            with self.assertRaisesRegex(ValueError, f"{name}'.*hf:NAME:SPLIT"):
                corpus.named(name)

    @parameterized.parameters(
        ("hf:a/b:c-d:test", "a/b", "c-d", "test"),
        ("hf:a:train[:10]", "a", None, "train[:10]"),
        ("hf:a:b:train[5%:10%]", "a", "b", "train[5%:10%]"),
    )
    def test_named_configurations(self, name, data_set, config, split):
        load = self.datasets(dict(text="a"), dict(text=""))
        texts = corpus.named(name, skip_blank=True)
        load.assert_called_once_with(
            data_set, config, split=split, streaming=False
        )
        with self.assertLogs("absl", "WARNING"):
            self.assertLen(texts, 1)

    def test_a_configuration_is_missing(self):
        load = self.datasets()
        load.side_effect = ValueError(
            "Config name is missing. Please pick one among: ['x', 'y']"
        )
        with self.assertRaisesRegex(ValueError, r"hf:a:CONFIG:test .*'x', 'y'"):
            corpus.named("hf:a:test")


class _Text(str):
    """A text that can be watched: plain strings take no weak references."""


class StreamTest(FolderTest):
    def assert_same(self, one, other):
        for field in dataclasses.fields(corpus.Corpus):
            np.testing.assert_array_equal(
                getattr(one, field.name), getattr(other, field.name)
            )

    @parameterized.parameters("jsonl", "jsonl.gz", "parquet", "folder")
    def test_same_as_read(self, kind):
        rows = [dict(text=f"é {i}", id=f"{i}.txt", domain="") for i in range(7)]
        if kind == "folder":
            for row in rows:
                self.write(row["id"], row["text"])
            path = self.folder
        elif kind == "parquet":
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            path = self.write_parquet(**columns)
        else:
            path = self.write_jsonl(*rows)
            if kind == "jsonl.gz":
                packed = gzip.compress(path.read_bytes())
                path = self.write("a.jsonl.gz", packed)
        read, stream = corpus.read(path), corpus.stream(path)
        self.assertLen(stream, 7)
        self.assert_same(stream.counts, read.counts)
        self.assertIsNone(stream.counts.texts)
        self.assert_same(stream.load(), read)
        for num_texts in (1, 3, 7, 100):
            chunks = list(stream.chunks(num_texts))
            expected = list(read.chunks(num_texts))
            self.assertLen(chunks, -(-7 // num_texts))
            for chunk, same in zip(chunks, expected, strict=True):
                self.assert_same(chunk, same)
        ids = itertools.chain(*(chunk.ids for chunk in stream.chunks(3)))
        self.assertEqual(tuple(ids), read.ids)

    def test_named(self):
        path = self.write_jsonl(dict(text="a"), dict(text="b"))
        texts = corpus.named(str(path))
        self.assertIsInstance(texts, corpus.Stream)
        self.assert_same(texts.load(), corpus.read(path))

    def test_columns(self):
        path = self.write_jsonl(dict(content="a", key="x", source="web"))
        stream = corpus.stream(
            path,
            text_column="content",
            id_column="key",
            domain_column="source",
        )
        (chunk,) = stream.chunks(9)
        self.assertEqual((*chunk.ids, *chunk.domains), ("x", "web"))

    def test_few_texts_are_in_memory(self):
        living, most = weakref.WeakSet(), 0

        def records():
            nonlocal most
            for i in range(500):
                text = _Text(f"text {i}")
                living.add(text)
                most = max(most, len(living))
                yield container.Record(f"row {i}", text, None, "")

        stream = corpus.Stream(records, "rows")
        self.assertLen(stream, 500)
        self.assertLessEqual(most, 3)
        for chunk in stream.chunks(10):
            self.assertLessEqual(len(chunk.texts), 10)
        # A chunk in use, the next being filled, and the one that is read.
        self.assertLessEqual(most, 22)

    @parameterized.named_parameters(
        ("another_text", ["a", "x", "c"], "line 2"),
        ("another_order", ["a", "c", "b"], "line 2"),
        ("one_more", ["a", "b", "c", "d"], "line 4"),
        ("one_less", ["a", "b"], "text 'c' is gone"),
        ("none_left", [], "text 'a' is gone"),
    )
    def test_changed_between_two_passes(self, texts, *message):
        path = self.write_jsonl(*(dict(text=t, id=t) for t in "abc"))
        stream = corpus.stream(path)
        self.assertLen(stream, 3)
        self.write_jsonl(*(dict(text=t, id=t) for t in texts))
        with self.assertRaises(ValueError) as raised:
            list(stream.chunks(2))
        for part in (str(path), "not what it was", *message):
            self.assertIn(part, str(raised.exception))

    def test_text_changed_under_its_id(self):
        path = self.write_jsonl(dict(text="a", id=1))
        stream = corpus.stream(path)
        self.assertLen(stream, 1)
        self.write_jsonl(dict(text="b", id=1))
        with self.assertRaisesRegex(ValueError, "line 1: .*not what it was"):
            list(stream.chunks(2))

    def test_table_of_a_stream(self):
        path = self.write_jsonl(*(dict(text=t, domain="d") for t in "abc"))
        out = self.folder / "scores"
        scores.write_corpus(out, corpus.stream(path))
        self.assert_same(
            scores.files.read_corpus(out), corpus.read(path).counts
        )
        scores.write_corpus(out, corpus.stream(path))  # The same: accepted.
        other = self.write_jsonl(*(dict(text=t, domain="d") for t in "abd"))
        with self.assertRaisesRegex(ValueError, "corpus has changed: text 2"):
            scores.write_corpus(out, corpus.stream(other))


class SelectionTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.texts = corpus.read(
            self.write_jsonl(
                *(
                    dict(text=f"text {i}", id=i, domain="ab"[i % 3 == 0])
                    for i in range(30)
                )
            )
        )

    def test_select(self):
        some = self.texts.select(np.array([4, 1]))
        self.assertEqual(some.ids, ("4", "1"))
        self.assertEqual(some.texts, ("text 4", "text 1"))
        self.assertEqual(some.domains, ("a", "a"))
        self.assertEqual(some.sha256[1], self.texts.sha256[1])
        np.testing.assert_array_equal(some.num_bytes, [6, 6])
        counts = dataclasses.replace(self.texts, texts=None)
        self.assertIsNone(counts.select([0]).texts)

    def test_sample(self):
        small, large = self.texts.sample(4), self.texts.sample(12)
        self.assertEqual(collections.Counter(small.domains), {"a": 4, "b": 4})
        self.assertEqual(collections.Counter(large.domains), {"a": 12, "b": 10})
        self.assertContainsSubset(small.ids, large.ids)
        order = [int(name) for name in small.ids]
        self.assertEqual(order, sorted(order))
        self.assertEqual(self.texts.sample(4).ids, small.ids)
        stream = corpus.stream(self.folder / "a.jsonl").sample(4)
        self.assertEqual(stream.load().texts, small.texts)
        self.assertEqual(stream.counts.ids, small.ids)
        chunks = [chunk.texts for chunk in stream.chunks(5)]
        self.assertEqual(chunks, [small.texts[:5], small.texts[5:]])
        some = corpus.stream(self.folder / "a.jsonl").select([4, 1])
        self.assertEqual(some.load().ids, ("1", "4"))
        self.assertEqual(some.counts.ids, ("1", "4"))
        # Neither does it depend on the order of the texts.
        turned = self.texts.select(range(29, -1, -1)).sample(4)
        self.assertCountEqual(turned.ids, small.ids)


class EmbeddedTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        files = list(
            embedded_texts._embedded_files()
        )  # Seconds: once for both.
        with mock.patch.object(
            embedded_texts, "_embedded_files", lambda: files
        ):
            cls.splits = {
                split: corpus.embedded(split) for split in ("train", "held_out")
            }

    def test_sizes(self):
        for texts in self.splits.values():
            self.assertBetween(texts.num_bytes.min(), 256, 1024)
            self.assertBetween(texts.num_bytes.max(), 256, 1024)
            # Some texts have characters of several bytes.
            self.assertTrue(np.any(texts.num_chars < texts.num_bytes))
            self.assertTrue(np.all(texts.num_chars <= texts.num_bytes))

    def test_domains(self):
        expected = {"prose", "docstring", "python"}
        headers = pathlib.Path(sysconfig.get_path("include"))
        if any(headers.rglob("*.h")):
            expected.add("c")
        for texts in self.splits.values():
            self.assertEqual(set(texts.domains), expected)
            for name, domain in zip(texts.ids, texts.domains, strict=True):
                self.assertStartsWith(name, f"{domain}:")

    def test_splits_share_no_file_and_no_text(self):
        train, held_out = self.splits["train"], self.splits["held_out"]
        files = [
            {name.split(":")[1] for name in texts.ids}
            for texts in (train, held_out)
        ]
        self.assertEmpty(files[0] & files[1])
        self.assertEmpty(set(train.sha256) & set(held_out.sha256))
        for texts in (train, held_out):
            self.assertLen(set(texts.sha256), len(texts))
        # One file in five, within chance.
        share = len(files[1]) / (len(files[0]) + len(files[1]))
        self.assertBetween(share, 0.15, 0.27)

    def test_same_on_every_call(self):
        again = corpus.embedded("held_out")
        self.assertEqual(again.ids, self.splits["held_out"].ids)
        self.assertEqual(again.sha256, self.splits["held_out"].sha256)

    def test_named(self):
        held_out = self.splits["held_out"]
        with mock.patch.object(
            data_sets, "embedded", return_value=held_out
        ) as e:
            self.assertIs(corpus.named("embedded"), held_out)
        e.assert_called_once_with("held_out")

    def test_other_split(self):
        with self.assertRaisesRegex(ValueError, "'test'.*train or held_out"):
            corpus.embedded("test")

    def test_domain_that_this_python_lacks(self):
        files = [("prose", f"file {i}", f"{i}" * 300) for i in range(9)]
        with (
            mock.patch.object(embedded_texts, "_embedded_files", lambda: files),
            self.assertWarnsRegex(UserWarning, "c, docstring, python"),
        ):
            self.assertEqual(set(corpus.embedded("train").domains), {"prose"})

    def test_text_in_files_of_both_splits_is_kept_once(self):
        names = {
            split: next(
                texts.ids[i].split(":")[1]
                for i, domain in enumerate(texts.domains)
                if domain == "prose"
            )
            for split, texts in self.splits.items()
        }
        files = [("prose", name, "same " * 60) for name in names.values()]
        files += [("c", names[s], s * 60) for s in names]
        with (
            mock.patch.object(embedded_texts, "_embedded_files", lambda: files),
            self.assertWarns(UserWarning),
        ):
            domains = [corpus.embedded(split).domains for split in names]
        self.assertEqual(domains, [("prose", "c"), ("c",)])

    @parameterized.product(
        draw=(0, 1, 2, 3, 4, 766, 767, 768),
        content=("a" * 900, "é" * 900, "€" * 900, "🙂" * 900, "a🙂€é" * 300),
        end=("", "🙂", "x" * 255),
    )
    def test_cut(self, draw, content, end):
        """Whatever is drawn, cuts lie between characters and sizes in range."""
        content += end
        fixed = draw.to_bytes(4, "big")
        with mock.patch.object(embedded_texts, "_hash", return_value=fixed):
            cuts = list(embedded_texts._cut(content, "file"))
        texts = [text for _, text in cuts]
        raw = content.encode()
        for start, text in cuts:
            self.assertBetween(len(text.encode()), 256, 1024)
            self.assertEqual(raw[start:][: len(text.encode())].decode(), text)
        rest = content.removeprefix("".join(texts))
        self.assertLess(len(rest.encode()), 256)

    def test_cut_at_line_ends(self):
        content = "\n".join(f"line {i}" for i in range(500))
        texts = [text for _, text in embedded_texts._cut(content, "file")]
        for text in texts[:-1]:
            self.assertEndsWith(text, "\n")

    def test_modules_are_parsed_once(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        library = folder / "library"
        for name in ("a.py", "test/b.py", "c/d.py", "bad.py"):
            (library / name).parent.mkdir(parents=True, exist_ok=True)
            (library / name).write_text(f'"""{name}"""\nx = 1\n')
        (library / "bad.py").write_text("x = (")
        expected = [
            ["a.py", "a.py", "x = 1\n"],
            ["c/d.py", "c/d.py", "x = 1\n"],
        ]
        parse = mock.patch.object(
            embedded_texts,
            "_docstrings_and_code",
            wraps=embedded_texts._docstrings_and_code,
        )
        with (
            mock.patch.dict(os.environ, {"MMC_CACHE_DIR": str(folder)}),
            mock.patch.object(
                embedded_texts.sysconfig, "get_path", lambda _: str(library)
            ),
            parse as parsed,
        ):
            for num_parsed in (3, 3):
                self.assertEqual(embedded_texts._modules(), expected)
                self.assertEqual(parsed.call_count, num_parsed)
            (kept,) = (folder / "corpus").iterdir()
            with self.subTest("damaged"):
                kept.write_bytes(kept.read_bytes()[:-3] + b"2]]")
                self.assertEqual(embedded_texts._modules(), expected)
                self.assertEqual(parsed.call_count, 6)
            with self.subTest("another library"):
                (library / "bad.py").write_text("x = 1.5")
                self.assertLen(embedded_texts._modules(), 3)
            with self.subTest("no place for it"):
                os.environ["MMC_CACHE_DIR"] = str(library / "a.py")
                self.assertLen(embedded_texts._modules(), 3)

    def test_docstrings_and_code(self):
        source = (
            '"""Module."""\nx = 1\n\ndef f():\n    """F."""\n    return x\n'
        )
        docstrings, code = embedded_texts._docstrings_and_code(source)
        self.assertEqual(docstrings, "Module.\n\nF.")
        self.assertEqual(code, "x = 1\n\ndef f():\n    return x\n")


class PipeTest(absltest.TestCase):
    def test_a_pipe_is_refused_and_not_waited_for(self):
        for name in ("a.jsonl", "a.parquet", "a.csv", "model.safetensors"):
            path = pathlib.Path(tempfile.mkdtemp(), name)
            os.mkfifo(path)
            with self.assertRaisesRegex(ValueError, f"{name}: a pipe or a dev"):
                files.refuse_pointer(path)


if __name__ == "__main__":
    absltest.main()
