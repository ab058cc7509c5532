"""Corpora from files, folders and Hugging Face data sets."""

import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.parquet
from absl import logging

from mmc_jax.corpus import files
from mmc_jax.corpus.container import Corpus, Record, Stream
from mmc_jax.corpus.embedded_texts import embedded

# Rows of a Parquet file, and bytes of a column, that are in memory at a time.
_PARQUET_ROWS = 256
_PARQUET_BUFFER = 2**20


_TEXT_SUFFIXES = (".md", ".txt")

# hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT; a split may be train[:100].
_DATA_SET = re.compile(
    r"hf:(?P<name>[^:]+)(:(?P<config>[^:\[\]]+))?"
    r":(?P<split>[^:\[\]]+(\[[^\]]*\])?)"
)

# Digits of a number in a file; Python refuses longer ones by advice of its own.
_MAX_DIGITS = 1000


def read(
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus:
    """Returns the texts of a file or folder.

    Args:
      path: A `.jsonl` file, which may be packed by gzip, a `.parquet` file, or
        a folder of text files (`.txt`, `.md`, searched through, links
        followed). The id of a text in a folder is its path below the folder,
        its domain the first folder of that path. Files of other kinds are
        skipped and named in a warning.
      text_column: The field that holds the text.
      id_column: The field that holds the id; a text without one is named by the
        first 16 hexadecimal digits of its hash.
      domain_column: The field that holds the domain; may be missing.
      skip_blank: Whether texts that are empty or white space are left out.

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
        skip_blank=skip_blank,
    ).load()


def stream(
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Stream:
    """Returns the texts of a file or folder, not held in memory.

    Args:
      path: A file or folder of one of the kinds that `read` takes.
      text_column: The field that holds the text.
      id_column: The field that holds the id.
      domain_column: The field that holds the domain.
      skip_blank: Whether texts that are empty or white space are left out.

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
        found, others = files.text_files(path, _TEXT_SUFFIXES)
        _say_what_is_skipped(path, found, others)
        return Stream(
            lambda: _text_file_records(path, found),
            str(path),
            skip_blank=skip_blank,
        )
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        records = _jsonl_records
    elif name.endswith(".parquet"):
        records = _parquet_records
    else:
        raise ValueError(
            f"{path}: not a kind of corpus that is read; give a .jsonl, "
            ".jsonl.gz or .parquet file, or a folder of .txt or .md files"
        )
    return Stream(
        lambda: records(path, *columns), str(path), skip_blank=skip_blank
    )


def hugging_face(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus:
    """Returns the texts of a Hugging Face data set.

    Args:
      name: A data set's hub id, or a local folder that `datasets` can load.
      split: Such as "test" or "train[:1000]".
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.
      skip_blank: Whether texts that are empty or white space are left out.

    Raises:
      ImportError: The package `datasets` is not installed.
      ValueError: A row without a text, an empty text, a duplicate id or no rows
        at all; the message names the row.
    """
    return hugging_face_stream(
        name,
        split=split,
        subset=subset,
        text_column=text_column,
        id_column=id_column,
        domain_column=domain_column,
        skip_blank=skip_blank,
    ).load()


def hugging_face_stream(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
    on_disk: bool = True,
) -> Stream:
    """Returns the texts of a Hugging Face data set, not held in memory.

    Args:
      name: A data set's hub id, or a local folder that `datasets` can load.
      split: Such as "test"; a part of it, "train[:1000]", only on disk.
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id.
      domain_column: The column that holds the domain.
      skip_blank: Whether texts that are empty or white space are left out.
      on_disk: Whether the data set is fetched once into the cache of
        `datasets`. Otherwise it takes no disk and comes over the network on
        every pass: the first one, and one for each model.

    Raises:
      ImportError: The package `datasets` is not installed.
      ValueError: The data set has several configurations, and `subset` names
        none of them.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading {name!r} needs the package datasets: pip install datasets"
        ) from error
    try:
        rows = datasets.load_dataset(
            name, subset, split=split, streaming=not on_disk
        )
    except ValueError as error:
        if "onfig name" in str(error):
            raise ValueError(
                f"{name}: has several configurations; name one in the corpus "
                f"as hf:{name}:CONFIG:{split} ({error})"
            ) from error
        raise
    where = f"{name} ({split})"
    columns = (text_column, id_column, domain_column)
    return Stream(
        lambda: (
            _record(f"{where}, row {i}", row, *columns)
            for i, row in enumerate(rows)
        ),
        where,
        skip_blank=skip_blank,
    )


def named(
    name: str,
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus | Stream:
    """Returns the corpus that a name on a command line stands for.

    Args:
      name: `embedded` for the held-out texts that come with Python,
        `hf:NAME:SPLIT` or `hf:NAME:CONFIG:SPLIT` for a Hugging Face data set,
        else the path of a file or folder. All but the first are streams.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.
      skip_blank: Whether texts that are empty or white space are left out.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ImportError: The package `datasets` is needed and not installed.
      ValueError: A kind of file that is not read, or a data set without a
        split.
    """
    if name == "embedded":
        return embedded("held_out")
    options = {
        "text_column": text_column,
        "id_column": id_column,
        "domain_column": domain_column,
        "skip_blank": skip_blank,
    }
    if name.startswith("hf:"):
        match = _DATA_SET.fullmatch(name)
        if match is None:
            raise ValueError(
                f"corpus {name!r}: write it as hf:NAME:SPLIT or "
                "hf:NAME:CONFIG:SPLIT"
            )
        return hugging_face_stream(
            match["name"],
            split=match["split"],
            subset=match["config"],
            **options,
        )
    return stream(name, **options)


def _say_what_is_skipped(
    folder: pathlib.Path,
    found: list[pathlib.Path],
    others: list[pathlib.Path],
) -> None:
    """Warns of files that are no texts; without texts they are an error."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in others)
    said = ", ".join(f"{n} of {kind}" for kind, n in kinds.most_common())
    if others and not found:
        raise ValueError(
            f"{folder}: no texts: no .txt or .md file, but files {said}; give "
            "a .jsonl or .parquet file itself"
        )
    if others:
        names = [str(path.relative_to(folder)) for path in others[:5]]
        names += ["..."] if len(others) > len(names) else []
        logging.warning(
            "%s: %d texts; files that are not .txt or .md are skipped (%s): %s",
            folder,
            len(found),
            said,
            ", ".join(names),
        )


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
            f"{', '.join(map(repr, row))}; name the right one (--text_column)"
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


def _jsonl_records(path: pathlib.Path, *columns: str) -> Iterator[Record]:
    for number, raw in files.lines(path):
        where = f"{path}, line {number}"
        line = files.decoded(raw, path, number)
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=_whole_number)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error.msg})") from error
        except RecursionError as error:
            raise ValueError(
                f"{where}: lists or objects are nested too deeply"
            ) from error
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: not a JSON object")
        yield _record(where, row, *columns)


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(
            f"a number of {len(digits):,} digits; write it as a string"
        )
    return int(digits)


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
    files.refuse_pointer(path)
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
                f"{', '.join(map(repr, names))}; name the right one "
                "(--text_column)"
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


def _text_file_records(
    folder: pathlib.Path, paths: list[pathlib.Path]
) -> Iterator[Record]:
    for path in paths:
        below = path.relative_to(folder)
        raw = files.without_mark(path.read_bytes(), path)
        text = files.decoded(raw, path, 1)
        domain = below.parts[0] if len(below.parts) > 1 else ""
        yield Record(str(path), text, below.as_posix(), domain)
