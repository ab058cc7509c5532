"""Corpora from files and folders."""

import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterator

import pyarrow
import pyarrow.parquet
from absl import logging

from mmc_jax import limits
from mmc_jax.corpus import files
from mmc_jax.corpus.container import (
    DATE,
    Corpus,
    Record,
    Stream,
    record_of_row,
)

# Rows of a Parquet file, and bytes of a column, that are in memory at a time.
_PARQUET_ROWS = 256
_FEWEST_PARQUET_ROWS = 4
_PARQUET_BYTES = 2**29
_PARQUET_BUFFER = 2**20


_TEXT_SUFFIXES = (".md", ".txt")


def read(
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus:
    """Returns the texts of a file or folder.

    A field "date", if there is one, says when a text was written.

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


def _jsonl_records(path: pathlib.Path, *columns: str) -> Iterator[Record]:
    for number, raw in files.lines(path):
        where = f"{path}, line {number}"
        line = files.decoded(raw, path, number)
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=_integer)
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
        yield record_of_row(where, row, *columns)


def _integer(digits: str) -> int:
    if len(digits) > limits.LIMITS["digits"].most:
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
        rows = _rows_at_once(file.metadata)
        for batch in file.iter_batches(rows, columns=names):
            yield batch
            number += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}, from row {number}: damaged, not readable as Parquet "
            f"({error}); get the file again"
        ) from error


def _rows_at_once(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Returns how many rows fit in memory, each as long as their group may be.

    One long text that stands in many rows is written once, in a dictionary.
    """
    # Not by columns: Arrow ends the process where what is said of one is odd.
    longest = max(
        (
            metadata.row_group(i).total_byte_size
            for i in range(metadata.num_row_groups)
        ),
        default=0,
    )
    rows = max(_FEWEST_PARQUET_ROWS, _PARQUET_BYTES // max(1, longest))
    return min(rows, _PARQUET_ROWS)


def _parquet_records(path: pathlib.Path, *columns: str) -> Iterator[Record]:
    files.refuse_pointer(path)
    try:
        # Without these a whole row group would be in memory.
        opened = pyarrow.parquet.ParquetFile(
            path,
            pre_buffer=False,
            buffer_size=_PARQUET_BUFFER,
            page_checksum_verification=True,
        )
        names = opened.schema_arrow.names
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not Parquet ({limits.reason(error)})"
        ) from error
    with opened as file:
        if columns[0] not in names:
            raise ValueError(
                f"{path}: no column {columns[0]!r}; it has "
                f"{', '.join(map(repr, names))}; name the right one "
                "(--text_column)"
            )
        number = 0
        for batch in _parquet_batches(file, path, (*columns, DATE)):
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
                if isinstance(text := row.get(columns[0]), str):
                    limits.check("line", len(text), where)
                yield record_of_row(where, row, *columns)
                number += 1


def _text_file_records(
    folder: pathlib.Path, paths: list[pathlib.Path]
) -> Iterator[Record]:
    for path in paths:
        below = path.relative_to(folder)
        limits.check_file("text_file", path)
        raw = files.without_mark(path.read_bytes(), path)
        text = files.decoded(raw, path, 1)
        domain = below.parts[0] if len(below.parts) > 1 else ""
        yield Record(str(path), text, below.as_posix(), domain)
