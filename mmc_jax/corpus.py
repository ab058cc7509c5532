"""Texts in: files that users bring, and the corpus that comes with Python.

A text is the unit that the oracle decides on. Bytes and characters are counted
on the raw text, before any tokenizer sees it. A `Corpus` has its texts in
memory; a `Stream` reads them anew whenever they are asked for.
"""

import ast
import collections
import dataclasses
import functools
import gzip
import hashlib
import json
import os
import pathlib
import pydoc_data.topics
import sys
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

# The embedded corpus: texts of 256 to 1,024 bytes, one file in five held out.
_MIN_BYTES = 256
_MAX_BYTES = 1024
_HELD_OUT_ONE_IN = 5
_EMBEDDED_DOMAINS = ("prose", "docstring", "python", "c")

# What a stream holds of a Parquet file: rows, and bytes of a column.
_PARQUET_ROWS = 256
_PARQUET_BUFFER = 2**20


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Texts with stable ids; X is their number.

    Attributes:
      ids: A unique name of each text, [X].
      domains: The domain of each text, [X]; empty where none was given.
      num_bytes: Bytes of the raw text in UTF-8, int64 [X].
      num_chars: Characters (Unicode code points) of the raw text, int64 [X].
      sha256: Hash of the raw text's bytes, hexadecimal, [X].
      texts: The texts, [X], or None where only the counts were kept.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    num_bytes: np.ndarray
    num_chars: np.ndarray
    sha256: tuple[str, ...]
    texts: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> "Corpus":
        """The corpus without the texts themselves."""
        return dataclasses.replace(self, texts=None)

    def chunks(self, num_texts: int) -> Iterator["Corpus"]:
        """Yields the corpus in pieces of at most that many texts, in order."""
        for start in range(0, len(self), num_texts):
            yield self.select(range(start, min(start + num_texts, len(self))))

    def select(self, indices: Iterable[int]) -> "Corpus":
        """Returns the texts at `indices`, in that order."""
        indices = [int(i) for i in indices]
        return Corpus(
            ids=tuple(self.ids[i] for i in indices),
            domains=tuple(self.domains[i] for i in indices),
            num_bytes=self.num_bytes[indices],
            num_chars=self.num_chars[indices],
            sha256=tuple(self.sha256[i] for i in indices),
            texts=self.texts and tuple(self.texts[i] for i in indices),
        )

    def sample(self, num_texts_per_domain: int) -> "Corpus":
        """Returns at most that many texts of each domain, in corpus order.

        The choice goes by the texts' hashes: it is the same on every call, and
        a larger sample contains a smaller one.
        """
        return self.select(_sampled(self, num_texts_per_domain))


class _Record(NamedTuple):
    """One text as it was found: `where` names file and line for errors."""

    where: str
    text: str
    id: str | None
    domain: str


# Begins to read a source; whenever it is called, from the start.
_Records = Callable[[], Iterator[_Record]]


class Stream:
    """Texts that stay on disk, or on the hub, and are read on every pass.

    In memory are ids, domains, counts and hashes, and of the texts one chunk.
    The first pass checks everything, as `read` does; each later one makes sure
    that the texts are still those of the first.
    """

    def __init__(self, records: _Records, source: str):
        """Nothing is read yet.

        Args:
          records: Begins a pass.
          source: What is read, for errors.
        """
        self._records = records
        self._source = source

    def __len__(self) -> int:
        return len(self.counts)

    @functools.cached_property
    def counts(self) -> Corpus:
        """The corpus without the texts themselves; asking is the first pass.

        Raises:
          ValueError: As for `read`.
        """
        return _corpus(self._records, self._source, with_texts=False)

    def chunks(self, num_texts: int) -> Iterator[Corpus]:
        """Yields the corpus in pieces of at most that many texts, in order.

        Raises:
          ValueError: As for `read`, or a text is not that of the first pass;
            the message names its place.
        """
        counts = self.counts
        start, texts = 0, []
        for i, record in enumerate(self._records()):
            found = _checked(record)
            there = i < len(counts)
            if not there or found[:2] != (counts.ids[i], counts.sha256[i]):
                raise ValueError(f"{record.where}: {_CHANGED}")
            texts.append(record.text)
            if len(texts) == num_texts:
                yield _with_texts(counts, start, texts)
                start, texts = start + num_texts, []
        end = start + len(texts)
        if end < len(counts):
            missing = counts.ids[end]
            raise ValueError(
                f"{self._source}: text {missing!r} is gone: {_CHANGED}"
            )
        if texts:
            yield _with_texts(counts, start, texts)

    def load(self) -> Corpus:
        """Returns the corpus with all of its texts in memory.

        Raises:
          ValueError: As for `read`.
        """
        return _corpus(self._records, self._source, with_texts=True)

    def select(self, indices: Iterable[int]) -> "Stream":
        """Returns the texts at `indices` as a stream, in corpus order."""
        chosen = frozenset(int(i) for i in indices)

        def records() -> Iterator[_Record]:
            for i, record in enumerate(self._records()):
                if i in chosen:
                    yield record

        selection = Stream(records, self._source)
        selection.counts = self.counts.select(sorted(chosen))
        return selection

    def sample(self, num_texts_per_domain: int) -> "Stream":
        """Returns the texts that `Corpus.sample` chooses, as a stream."""
        return self.select(_sampled(self.counts, num_texts_per_domain))


_CHANGED = (
    "the corpus is not what it was when it was first read; leave it alone "
    "while it is scored"
)


def read(
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
) -> Corpus:
    """Returns the texts of a file or folder.

    Args:
      path: A `.jsonl` file (also `.jsonl.gz`), a `.parquet` file, or a folder
        of text files (`.txt`, `.md`, searched through; a text's id is its path
        below the folder, its domain the first folder of that path).
      text_column: The field that holds the text.
      id_column: The field that holds the id; a text without one is named by the
        first 16 hexadecimal digits of its hash.
      domain_column: The field that holds the domain; may be missing.

    Returns:
      The corpus, in the order of the file.

    Raises:
      FileNotFoundError: Nothing is at `path`.
      ValueError: A duplicate id, an empty text, bytes that are not UTF-8, a
        missing column, a line that is not JSON, a damaged file, no texts at
        all, or a kind of file that is not read; the message names the file and
        the line.
    """
    return stream(
        path,
        text_column=text_column,
        id_column=id_column,
        domain_column=domain_column,
    ).load()


def stream(
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
) -> Stream:
    """Returns the texts of a file or folder, not held in memory.

    Args:
      path: As for `read`, and so are the columns.
      text_column: The field that holds the text.
      id_column: The field that holds the id.
      domain_column: The field that holds the domain.

    Raises:
      FileNotFoundError: Nothing is at `path`.
      ValueError: A kind of file that is not read. What else `read` refuses is
        refused on the first pass.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such corpus file or folder")
    columns = (text_column, id_column, domain_column)
    if path.is_dir():
        return Stream(lambda: _text_file_records(path), str(path))
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return Stream(lambda: _jsonl_records(path, *columns), str(path))
    if path.suffix == ".parquet":
        return Stream(lambda: _parquet_records(path, *columns), str(path))
    raise ValueError(
        f"{path}: not a kind of corpus that is read; give a .jsonl, .jsonl.gz "
        "or .parquet file, or a folder of .txt or .md files"
    )


def hugging_face(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
) -> Corpus:
    """Returns the texts of a Hugging Face data set.

    Args:
      name: A data set's hub id, or a local folder that `datasets` can load.
      split: Such as "test" or "train[:1000]".
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.

    Raises:
      ImportError: The package `datasets` is not installed.
      ValueError: As for `read`, naming the row.
    """
    return hugging_face_stream(
        name,
        split=split,
        subset=subset,
        text_column=text_column,
        id_column=id_column,
        domain_column=domain_column,
    ).load()


def hugging_face_stream(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    on_disk: bool = True,
) -> Stream:
    """Returns the texts of a Hugging Face data set, not held in memory.

    Args:
      name: As for `hugging_face`, and so are the columns.
      split: Such as "test"; a part of it, "train[:1000]", only on disk.
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id.
      domain_column: The column that holds the domain.
      on_disk: Whether the data set is fetched once into the cache of
        `datasets`. Otherwise it takes no disk and comes over the network on
        every pass: the first one, and one for each model.

    Raises:
      ImportError: The package `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading {name!r} needs the package datasets: pip install datasets"
        ) from error
    rows = datasets.load_dataset(
        name, subset, split=split, streaming=not on_disk
    )
    where = f"{name} ({split})"
    columns = (text_column, id_column, domain_column)
    return Stream(
        lambda: (
            _record(f"{where}, row {i}", row, *columns)
            for i, row in enumerate(rows)
        ),
        where,
    )


def embedded(split: Literal["train", "held_out"]) -> Corpus:
    """Returns text that comes with the running Python: no download is needed.

    Domains: `prose`, the reference topics of `pydoc_data.topics`; `docstring`,
    the docstrings of the standard library; `python`, its code without them;
    `c`, the headers of the C interface. Files are cut into texts of 256 to
    1,024 bytes at line ends, else at character boundaries; a text that occurs
    twice is kept once. One file in five, by the hash of its name, is held out,
    its code together with its docstrings.

    Args:
      split: "train" or "held_out".

    Raises:
      ValueError: Another split.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f"split is {split!r}; it must be train or held_out")
    records, seen = [], set()
    for domain, file, content in _embedded_files():
        held_out = _hash(file.encode())[0] % _HELD_OUT_ONE_IN == 0
        for start, text in _cut(content, file):
            # Duplicates are dropped across the splits too: nothing leaks.
            if text in seen:
                continue
            seen.add(text)
            if held_out == (split == "held_out"):
                name = f"{domain}:{file}:{start}"
                records.append(_Record(name, text, name, domain))
    missing = set(_EMBEDDED_DOMAINS) - {record.domain for record in records}
    if missing:
        warnings.warn(
            f"this Python comes without text for {', '.join(sorted(missing))}; "
            "the embedded corpus goes on without (Debian's python3-dev package "
            "holds the C headers)",
            stacklevel=2,
        )
    return _corpus(
        lambda: iter(records), f"embedded corpus ({split})", with_texts=True
    )


def named(name: str) -> Corpus | Stream:
    """Returns the corpus that a name on a command line stands for.

    Args:
      name: `embedded` for the held-out texts that come with Python,
        `hf:NAME:SPLIT` for a Hugging Face data set, else a path as for `read`.
        All but the first are streams.

    Raises:
      FileNotFoundError: As for `stream`.
      ImportError: As for `hugging_face_stream`.
      ValueError: As for `stream`, or a data set without a split.
    """
    if name == "embedded":
        return embedded("held_out")
    if name.startswith("hf:"):
        data_set, _, split = name.removeprefix("hf:").rpartition(":")
        if not data_set or not split:
            raise ValueError(f"corpus {name!r}: write it as hf:NAME:SPLIT")
        return hugging_face_stream(data_set, split=split)
    return stream(name)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _corpus(records: _Records, source: str, *, with_texts: bool) -> Corpus:
    """Returns the checked corpus of a source, with its texts or without."""
    ids: dict[str, None] = {}
    domains, num_bytes, num_chars, sha256, texts = [], [], [], [], []
    for record in records():
        name, digest, size = _checked(record)
        if name in ids:
            _refuse_duplicate(records(), record, name)
        ids[name] = None
        domains.append(sys.intern(record.domain))
        num_bytes.append(size)
        num_chars.append(len(record.text))
        sha256.append(digest)
        if with_texts:
            texts.append(record.text)
    if not ids:
        raise ValueError(f"{source}: no texts")
    return Corpus(
        ids=tuple(ids),
        domains=tuple(domains),
        num_bytes=np.array(num_bytes, np.int64),
        num_chars=np.array(num_chars, np.int64),
        sha256=tuple(sha256),
        texts=tuple(texts) if with_texts else None,
    )


def _checked(record: _Record) -> tuple[str, str, int]:
    """Returns id, hash and bytes of a text, having checked that it is one."""
    where, text, id_, _ = record
    if not text:
        raise ValueError(f"{where}: the text is empty; remove it")
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: the text is not valid Unicode ({error.reason}); "
            "repair or remove it"
        ) from error
    digest = _hash(raw).hex()
    return digest[:16] if id_ is None else id_, digest, len(raw)


def _refuse_duplicate(
    records: Iterator[_Record], record: _Record, name: str
) -> None:
    """Raises the error, having looked up once more who had the id first."""
    first = next(other for other in records if _checked(other)[0] == name)
    same = "text" if record.id is None else f"id {name!r}"
    raise ValueError(
        f"{record.where}: the same {same} stands at {first.where} already; "
        "give each text an id of its own, or remove one"
    )


def _with_texts(counts: Corpus, start: int, texts: list[str]) -> Corpus:
    chunk = counts.select(range(start, start + len(texts)))
    return dataclasses.replace(chunk, texts=tuple(texts))


def _sampled(counts: Corpus, num_texts_per_domain: int) -> list[int]:
    """Returns the indices of a sample, in order."""
    by_domain: dict[str, list[int]] = {}
    for i in sorted(range(len(counts)), key=lambda i: counts.sha256[i]):
        by_domain.setdefault(counts.domains[i], []).append(i)
    chosen = [i for d in by_domain.values() for i in d[:num_texts_per_domain]]
    return sorted(chosen)


def _record(
    where: str,
    row: dict[str, Any],
    text_column: str,
    id_column: str,
    domain_column: str,
) -> _Record:
    """Returns one row as a record, its columns checked."""
    if text_column not in row:
        raise ValueError(
            f"{where}: no column {text_column!r}; it has "
            f"{', '.join(map(repr, row))}"
        )
    text = row[text_column]
    if not isinstance(text, str):
        raise ValueError(
            f"{where}: {text_column!r} is {type(text).__name__}, not a string"
        )
    id_ = row.get(id_column)
    domain = row.get(domain_column)
    if domain is not None and not isinstance(domain, str):
        kind = type(domain).__name__
        raise ValueError(f"{where}: {domain_column!r} is {kind}, not a string")
    id_ = None if id_ is None else str(id_)
    return _Record(where, text, id_, domain or "")


def _decode(raw: bytes, path: pathlib.Path, first_line: int) -> str:
    """Returns the text of some lines of a file, the first being so numbered."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte 0x{raw[error.start]:02x} at "
            f"offset {error.start}); convert the file to UTF-8"
        ) from error


def _lines(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of a file, numbered from 1, of a packed one as well."""
    open_binary = gzip.open if path.suffix == ".gz" else open
    number = 0
    with open_binary(path, "rb") as file:
        try:
            for number, raw in enumerate(file, start=1):
                yield number, raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}, after line {number}: damaged, not readable as gzip "
                f"({error}); get the file again"
            ) from error


def _jsonl_records(path: pathlib.Path, *columns: str) -> Iterator[_Record]:
    for number, raw in _lines(path):
        where = f"{path}, line {number}"
        line = _decode(raw, path, number)
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: not a JSON object")
        yield _record(where, row, *columns)


def _parquet_batches(
    file: pyarrow.parquet.ParquetFile,
    path: pathlib.Path,
    columns: tuple[str, ...],
) -> Iterator[pyarrow.RecordBatch]:
    names = [name for name in file.schema_arrow.names if name in columns]
    number = 0
    try:
        for batch in file.iter_batches(_PARQUET_ROWS, columns=names):
            yield batch
            number += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}, from row {number}: damaged, not readable as Parquet "
            f"({error}); get the file again"
        ) from error


def _parquet_records(path: pathlib.Path, *columns: str) -> Iterator[_Record]:
    try:
        # Without these a whole row group would be in memory.
        opened = pyarrow.parquet.ParquetFile(
            path, pre_buffer=False, buffer_size=_PARQUET_BUFFER
        )
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not Parquet ({error})") from error
    with opened as file:
        names = file.schema_arrow.names
        if columns[0] not in names:
            raise ValueError(
                f"{path}: no column {columns[0]!r}; it has "
                f"{', '.join(map(repr, names))}"
            )
        number = 0
        for batch in _parquet_batches(file, path, columns):
            for i in range(batch.num_rows):
                where = f"{path}, row {number}"
                try:
                    (row,) = batch.slice(i, 1).to_pylist()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{where}: not UTF-8 (byte "
                        f"0x{error.object[error.start]:02x} at offset "
                        f"{error.start}); convert the file to UTF-8"
                    ) from error
                yield _record(where, row, *columns)
                number += 1


def _text_file_records(folder: pathlib.Path) -> Iterator[_Record]:
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".txt", ".md") or not path.is_file():
            continue
        below = path.relative_to(folder)
        text = _decode(path.read_bytes(), path, 1)
        domain = below.parts[0] if len(below.parts) > 1 else ""
        yield _Record(str(path), text, below.as_posix(), domain)


def _embedded_files() -> Iterator[tuple[str, str, str]]:
    """Yields (domain, file name, content), in a fixed order."""
    for topic, content in sorted(pydoc_data.topics.topics.items()):
        yield "prose", f"pydoc_data/topics/{topic}", content
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    # Tests, tables and what users installed are no text of the library.
    skipped = {"test", "tests", "site-packages", "dist-packages", "encodings"}
    skipped |= {"pydoc_data", "__pycache__", "ensurepip", "idle_test"}
    for path in sorted(library.rglob("*.py")):
        below = path.relative_to(library)
        if skipped.intersection(below.parts):
            continue
        try:
            docstrings, code = _docstrings_and_code(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # Some library files are bad on purpose.
        yield "docstring", below.as_posix(), docstrings
        yield "python", below.as_posix(), code
    headers = pathlib.Path(sysconfig.get_path("include"))
    for path in sorted(headers.rglob("*.h")):
        content = path.read_text("utf-8", errors="ignore")
        yield "c", path.relative_to(headers).as_posix(), content


def _docstrings_and_code(source: str) -> tuple[str, str]:
    """Returns a module's docstrings, joined, and its code without them."""
    lines = source.split("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Old escapes in library code.
        tree = ast.parse(source)
    docstrings = []
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in _statements(tree):
        if isinstance(node, documented | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                docstrings.append(docstring)
                first, last = node.body[0].lineno, node.body[0].end_lineno
                lines[first - 1 : last] = [None] * (last - first + 1)
    code = "\n".join(line for line in lines if line is not None)
    return "\n\n".join(docstrings), code


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields a module and its statements, in the order of `ast.walk`.

    That goes through expressions as well, which takes longer than parsing.
    """
    waiting = collections.deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting.extend(getattr(node, field, ()))


def _cut(content: str, file: str) -> Iterator[tuple[int, str]]:
    """Yields (first byte, text) of texts of 256 to 1,024 bytes of a file."""
    raw = content.encode()
    start = 0
    while len(raw) - start >= _MIN_BYTES:
        draw = int.from_bytes(_hash(f"{file}:{start}".encode())[:4], "big")
        end = start + _MIN_BYTES + draw % (_MAX_BYTES - _MIN_BYTES + 1)
        if end < len(raw):
            line_end = raw.rfind(b"\n", start + _MIN_BYTES, end) + 1
            end = line_end or end
            # Inside a character: back, or on where that is below the minimum.
            step = -1 if end - start > _MIN_BYTES + 2 else 1
            while end < len(raw) and raw[end] & 0xC0 == 0x80:
                end += step
        end = min(end, len(raw))
        text = raw[start:end].decode()
        if text.strip():
            yield start, text
        start = end
