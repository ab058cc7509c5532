"""Texts in: files that users bring, and the corpus that comes with Python.

A text is the unit that the oracle decides on. Bytes and characters are counted
on the raw text, before any tokenizer sees it.
"""

import ast
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import pydoc_data.topics
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

# The embedded corpus: texts of 256 to 1,024 bytes, one file in five held out.
_MIN_BYTES = 256
_MAX_BYTES = 1024
_HELD_OUT_ONE_IN = 5
_EMBEDDED_DOMAINS = ("prose", "docstring", "python", "c")


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
        by_domain: dict[str, list[int]] = {}
        for i in sorted(range(len(self)), key=lambda i: self.sha256[i]):
            by_domain.setdefault(self.domains[i], []).append(i)
        chosen = [
            i for d in by_domain.values() for i in d[:num_texts_per_domain]
        ]
        return self.select(sorted(chosen))


class _Record(NamedTuple):
    """One text as it was found: `where` names file and line for errors."""

    where: str
    text: str
    id: str | None
    domain: str


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
        missing column, a line that is not JSON, no texts at all, or a kind of
        file that is not read; the message names the file and the line.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such corpus file or folder")
    columns = (text_column, id_column, domain_column)
    if path.is_dir():
        records = _text_file_records(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        records = _jsonl_records(path, *columns)
    elif path.suffix == ".parquet":
        records = _parquet_records(path, *columns)
    else:
        raise ValueError(
            f"{path}: not a kind of corpus that is read; give a .jsonl, "
            ".jsonl.gz or .parquet file, or a folder of .txt or .md files"
        )
    return _corpus(records, str(path))


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
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading {name!r} needs the package datasets: pip install datasets"
        ) from error
    rows = datasets.load_dataset(name, subset, split=split)
    where = f"{name} ({split})"
    columns = (text_column, id_column, domain_column)
    records = (
        _record(f"{where}, row {i}", row, *columns)
        for i, row in enumerate(rows)
    )
    return _corpus(records, where)


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
    return _corpus(records, f"embedded corpus ({split})")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _corpus(records: Iterable[_Record], source: str) -> Corpus:
    """Returns the checked corpus of some records."""
    ids: dict[str, str] = {}
    domains, texts, num_bytes, sha256 = [], [], [], []
    for where, text, id_, domain in records:
        if not text:
            raise ValueError(f"{where}: the text is empty; remove it")
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{where}: the text is not valid Unicode ({error.reason}); "
                "repair or remove it"
            ) from error
        sha256.append(_hash(raw).hex())
        name = sha256[-1][:16] if id_ is None else id_
        if name in ids:
            same = "text" if id_ is None else f"id {name!r}"
            raise ValueError(
                f"{where}: the same {same} stands at {ids[name]} already; give "
                "each text an id of its own, or remove one"
            )
        ids[name] = where
        domains.append(domain)
        texts.append(text)
        num_bytes.append(len(raw))
    if not ids:
        raise ValueError(f"{source}: no texts")
    return Corpus(
        ids=tuple(ids),
        domains=tuple(domains),
        num_bytes=np.array(num_bytes, np.int64),
        num_chars=np.array([len(text) for text in texts], np.int64),
        sha256=tuple(sha256),
        texts=tuple(texts),
    )


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


def _jsonl_records(path: pathlib.Path, *columns: str) -> Iterator[_Record]:
    open_binary = gzip.open if path.suffix == ".gz" else open
    with open_binary(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
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


def _parquet_records(path: pathlib.Path, *columns: str) -> Iterator[_Record]:
    try:
        opened = pyarrow.parquet.ParquetFile(path)
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
        for batch in file.iter_batches(
            columns=[name for name in names if name in columns]
        ):
            for row in batch.to_pylist():
                yield _record(f"{path}, row {number}", row, *columns)
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
    for node in ast.walk(tree):
        if isinstance(node, documented | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                docstrings.append(docstring)
                first, last = node.body[0].lineno, node.body[0].end_lineno
                lines[first - 1 : last] = [None] * (last - first + 1)
    code = "\n".join(line for line in lines if line is not None)
    return "\n\n".join(docstrings), code


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
