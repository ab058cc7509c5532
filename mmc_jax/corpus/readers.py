"""Corpora from files, folders and Hugging Face data sets."""

import gzip
import json
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.parquet

from mmc_jax.corpus.container import Corpus, Record, Stream
from mmc_jax.corpus.embedded_texts import embedded

# Rows of a Parquet file, and bytes of a column, that are in memory at a time.
_PARQUET_ROWS = 256
_PARQUET_BUFFER = 2**20


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


def _record(
    where: str,
    row: dict[str, Any],
    text_column: str,
    id_column: str,
    domain_column: str,
) -> Record:
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
    return Record(where, text, id_, domain or "")


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


def _jsonl_records(path: pathlib.Path, *columns: str) -> Iterator[Record]:
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


def _parquet_records(path: pathlib.Path, *columns: str) -> Iterator[Record]:
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


def _text_file_records(folder: pathlib.Path) -> Iterator[Record]:
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".txt", ".md") or not path.is_file():
            continue
        below = path.relative_to(folder)
        text = _decode(path.read_bytes(), path, 1)
        domain = below.parts[0] if len(below.parts) > 1 else ""
        yield Record(str(path), text, below.as_posix(), domain)
