"""The largest files and sizes that are read, each with its reason.

Files come from strangers, and a file can state any size. What is above a limit
is refused before memory or time is spent on it. `experiments/LIMITS.md` shows
the same table.
"""

import os
import pathlib
import re
import reprlib
import zipfile
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """The largest size of one thing that is read.

    Attributes:
      what: What is measured, in words.
      most: Largest size that is read.
      unit: Unit of the size, such as "bytes".
      reason: Why it is no larger.
    """

    what: str
    most: int
    unit: str
    reason: str


# No user of a program can follow it.
_ADVICE = re.compile(
    r"[;,] (use sys\.set_int_max_str_digits|consider increasing)[^\n]*"
    r"| \(try to increase block size\?\)"
)
_PUBLISHED = "far above any published model's"

LIMITS = {
    "pool": Limit(
        "pool file (YAML)",
        2**22,
        "bytes",
        "the parser reads 100 kB a second; 161 models take 60 kB",
    ),
    "settings": Limit(
        "config.json, tokenizer_config.json and other settings of a checkpoint",
        2**24,
        "bytes",
        "published ones have 100 kB, with all added tokens 2 MB",
    ),
    "index": Limit(
        "model.safetensors.index.json",
        2**26,
        "bytes",
        "that of 671 billion parameters has 9 MB",
    ),
    "tokenizer": Limit(
        "tokenizer.json, vocabularies, merges and SentencePiece models",
        2**28,
        "bytes",
        "that of 262,144 tokens has 33 MB; it takes ten times its size in "
        "memory",
    ),
    "safetensors_header": Limit(
        "header of a safetensors file",
        100_000_000,
        "bytes",
        "the format's own limit",
    ),
    "gguf_keys": Limit(
        "keys of the metadata of a GGUF file",
        2**16,
        "keys",
        "published files have under 100",
    ),
    "gguf_tensors": Limit(
        "tensors of a GGUF file",
        2**20,
        "tensors",
        "published files have a few thousand",
    ),
    "gguf_values": Limit(
        "values of all arrays of a GGUF file's metadata",
        2**23,
        "values",
        "262,144 tokens and their merges take 1.3 million; each is an object",
    ),
    "layers": Limit("layers of a model", 10_000, "layers", _PUBLISHED),
    "width": Limit(
        "widths, heads and experts of a model", 2**22, "", _PUBLISHED
    ),
    "vocabulary": Limit("vocabulary of a model", 2**26, "tokens", _PUBLISHED),
    "context": Limit("context of a model", 2**31, "positions", _PUBLISHED),
    "integer": Limit(
        "whole numbers in a config", 2**53, "", "what float64 holds exactly"
    ),
    "digits": Limit(
        "number in JSON", 4000, "digits", "time grows with their square"
    ),
    "line": Limit(
        "text of a file of texts (a line of JSONL, a row of Parquet)",
        2**28,
        "bytes",
        "a text is in memory as a whole, several times",
    ),
    "text_file": Limit(
        "file that is one text",
        2**28,
        "bytes",
        "a text is in memory as a whole, several times",
    ),
    "unpacked": Limit(
        "text of a file of scores: CSV, TSV and JSON that is packed or not in "
        "UTF-8, columns of Parquet",
        2**32,
        "bytes",
        "it is in memory as a whole; a few kilobytes may unpack to any size",
    ),
    "columns": Limit(
        "CSV or TSV file of scores",
        2**17,
        "columns",
        "each is a model; a header is looked at by name",
    ),
    "cells": Limit(
        "Parquet file of scores",
        2**31,
        "cells",
        "16 GB as float64; a few kilobytes may unpack to any number",
    ),
    "spreadsheet": Limit(
        "spreadsheet (.xlsx), unpacked",
        2**30,
        "bytes",
        "its sheets hold at most 17 billion cells, and each is an object",
    ),
    "pickle": Limit(
        "pickle of arrays",
        20_000_000,
        "instructions",
        "each is carried out in Python; arrays take one",
    ),
    "member": Limit(
        "member of an archive of logs (.eval), unpacked",
        2**30,
        "bytes",
        "it is in memory as a whole; that of a long transcript has 100 MB",
    ),
    "fold": Limit(
        "archive of logs (.eval), unpacked",
        1000,
        "times its own size",
        "JSON packs to a tenth, and repeated transcripts to a hundredth",
    ),
    "points": Limit(
        "CSV file of points",
        2**28,
        "bytes",
        "a law is fitted to at most thousands of points",
    ),
    "result": Limit(
        "result.json",
        2**28,
        "bytes",
        "that of 7,000 points of 1,000 models has 30 MB",
    ),
    "arrays": Limit(
        "arrays.npz, certificates and other NumPy archives, unpacked",
        2**34,
        "bytes",
        "that of 2,500 windows on 1,000,000 texts has 10 GB",
    ),
    "name": Limit(
        "name of a model",
        200,
        "characters",
        "file systems allow 255 bytes, and endings follow it",
    ),
}


def check(limit: str, size: int, where: str | os.PathLike[str]) -> None:
    """Refuses what is above a limit.

    Args:
      limit: Key of the limit in LIMITS.
      size: Size that was found, in the unit of the limit.
      where: File, and place in it, for the message.

    Raises:
      ValueError: The size is above the limit; the message says why there is
        one.

    >>> check("name", 12, "pool.yaml")
    >>> check("name", 300, "pool.yaml")
    Traceback (most recent call last):
    ...
    ValueError: pool.yaml: name of a model: 300 characters; at most 200 are \
read (file systems allow 255 bytes, and endings follow it)
    """
    what, most, unit, reason = LIMITS[limit]
    if size > most:
        raise ValueError(
            f"{os.fspath(where)}: {what}: {' '.join([f'{size:,}', unit])}; "
            f"at most {most:,} are read ({reason})"
        )


def refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Refuses a pipe or a device: opening it may wait for ever.

    Args:
      path: Any path; what is not there passes.

    Raises:
      ValueError: Neither a file nor a folder is there.
    """
    path = pathlib.Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"{path}: a pipe or a device, which can be read once or never "
            "ends; write its content to a file, and give that"
        )


def check_file(limit: str, path: pathlib.Path) -> None:
    """Refuses a file of more bytes than a limit.

    Args:
      limit: Key of the limit in LIMITS.
      path: File whose size is looked at.

    Raises:
      ValueError: The file is too large, or no file.
      OSError: Nothing is there.
    """
    refuse_pipe(path)
    check(limit, path.stat().st_size, path)


def check_archive(limit: str, path: pathlib.Path) -> None:
    """Refuses a ZIP file, such as .npz or .xlsx, that unpacks to too much.

    A file that is no ZIP file passes: its reader says so.

    Args:
      limit: Key of the limit in LIMITS.
      path: File whose directory is looked at. Nothing is unpacked, and no
        reader unpacks more of a member than the directory says.

    Raises:
      ValueError: Its members together are too large; it is no file.
      OSError: The file cannot be read.
    """
    refuse_pipe(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return
    check(limit, size, path)


def shown(value: Any) -> str:
    """Returns a value as it stands in an error: not all of a large one.

    A few lines of YAML with aliases make a value that no memory holds as text.

    Args:
      value: What a file of a stranger holds.

    >>> shown([1, "x" * 1000])[:20]
    "[1, 'xxxxxxxxxxxxxxx"
    >>> len(shown([1, "x" * 1000])) < 100
    True
    """
    short = reprlib.Repr()
    short.maxlevel = 2
    short.maxstring = short.maxother = short.maxlong = 80
    try:
        return short.repr(value)
    except ValueError:  # A whole number of 5,000 digits, written in base 16.
        return "a number of too many digits"


def reason(error: BaseException) -> str:
    """Returns what a library says of a file, without advice to programmers.

    Args:
      error: What was raised.

    >>> reason(OSError("too deeply nested, consider increasing the limit"))
    'too deeply nested'
    """
    return _ADVICE.sub("", str(error))


def page() -> str:
    """Returns the table of all limits in Markdown.

    `python -c "from mmc_jax import limits; print(limits.page())"` prints it.
    """
    lines = ["| what | at most | why |", "| --- | ---: | --- |"]
    for what, most, unit, reason in LIMITS.values():
        size = f"{most:,} {unit}".strip()
        lines.append(f"| {what} | {size} | {reason} |")
    return "\n".join(lines)
