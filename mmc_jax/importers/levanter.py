"""Scored documents of Levanter and Marin (github.com/marin-community).

One `scored_documents.parquet` a model: each row a document with the loss of
every byte in nats, a token's loss being spread over its bytes, and the bytes at
which tokens begin and end. Where a row states `score_byte_start` and
`score_byte_end`, that span is the text, and what stands before it is context.
A folder holds one file a model, or one folder a model with that file in it.

Or one JSON-lines file of summaries a model: `doc_id, corpus_id, loss,
bits_per_byte`, means over the tokens of a document but the first, which is not
scored. They are read if --value says what to take them as.
"""

import hashlib
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mmc_jax import limits
from mmc_jax.corpus import files
from mmc_jax.importers import documents, json_files
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_FILE = "scored_documents.parquet"
_NEEDED = (
    "dataset_name",
    "text",
    "per_byte_loss",
    "token_byte_starts",
    "token_byte_ends",
    "num_bytes",
)
_OPTIONAL = (
    "shard_name",
    "row_index",
    "request_id",
    "score_byte_start",
    "score_byte_end",
)
_SUMMARY = frozenset(("doc_id", "corpus_id", "loss", "bits_per_byte"))
_ROWS_AT_ONCE = 256
# Largest difference between a document's loss and its tokens' sum, relative.
_TOLERANCE = 1e-6
_CAVEAT = (
    "means over all tokens of a document but the first, as Levanter writes "
    "them: the first token's loss is missing"
)


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a path holds scored documents or summaries of them."""
    if path.is_dir():
        return any(path.glob(f"*/{_FILE}")) or any(
            _is_scored(file) for file in sorted(path.glob("*.parquet"))[:1]
        )
    return _is_scored(path) or _is_summary(path)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the nll of documents, and where their tokens end.

    Args:
      path: File of one model, or folder of several.
      options: `value` is needed for summaries: "bits_per_byte"; of documents
        it is None or "nll_nats".

    Raises:
      ValueError: A file is damaged or lacks a column, two models have other
        texts under one name, or summaries without a word on what to take them
        as.
    """
    if path.is_file() and _is_summary(path):
        return _summaries(path, options)
    if options.value not in (None, "nll_nats"):
        raise ValueError(
            f"{path}: --value={options.value}, but the losses of scored "
            "documents are in nats; leave --value out"
        )
    found = []
    for name, file in _files(path).items():
        files.refuse_pointer(file)
        scored = list(_documents(file, options))
        found.append((ScoredModel(name), scored))
    provenance = {"source": "Levanter", "format": _FILE}
    return documents.joined(path, found, "nll_nats", options, provenance)


def _is_scored(path: pathlib.Path) -> bool:
    if path.suffix.lower() not in (".parquet", ".pq"):
        return False
    try:
        names = set(pyarrow.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False
    return set(_NEEDED) <= names


def _is_summary(path: pathlib.Path) -> bool:
    if path.suffix.lower() != ".jsonl":
        return False
    with path.open("rb") as opened:
        try:
            first = json_files.parsed(opened.readline(), path)
        except ValueError:
            return False
    return isinstance(first, dict) and _SUMMARY <= first.keys()


def _files(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the files by the names of their models."""
    if path.is_file():
        name = path.parent.name if path.name == _FILE else path.stem
        return {name or path.stem: path}
    found = {file.parent.name: file for file in sorted(path.glob(f"*/{_FILE}"))}
    for file in sorted(path.glob("*.parquet")):
        if file.stem in found:
            raise ValueError(
                f"{file}: a second file of the model {file.stem!r}; the first "
                f"is {found[file.stem]}"
            )
        found[file.stem] = file
    return found


def _documents(
    file: pathlib.Path, options: Options
) -> Iterator[documents.Document]:
    """Yields the documents of one model."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            there = set(opened.schema_arrow.names)
            missing = [name for name in _NEEDED if name not in there]
            if missing:
                raise ValueError(f"{file}: no column {missing[0]!r}")
            names = [n for n in (*_NEEDED, *_OPTIONAL) if n in there]
            number = 0
            for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{file}, row {number}"
                    yield _document(row, where, number, options)
    # Of texts that are not UTF-8, the error of Python names no file.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file}: damaged, not readable as Parquet ({limits.reason(error)})"
        ) from error


def _document(
    row: dict[str, Any], where: str, number: int, options: Options
) -> documents.Document:
    """Returns one document: the span that is scored is its text."""
    for name in _NEEDED:
        if row[name] is None:
            raise ValueError(f"{where}: {name} is missing")
    raw = str(row["text"]).encode()
    if row["num_bytes"] != len(raw):
        raise ValueError(
            f"{where}: num_bytes is {row['num_bytes']}, the text has "
            f"{len(raw)} bytes"
        )
    start, end = row.get("score_byte_start"), row.get("score_byte_end")
    start, end = 0 if start is None else start, len(raw) if end is None else end
    if not 0 <= start < end <= len(raw):
        raise ValueError(
            f"{where}: the scored bytes are {start} to {end} of {len(raw)}"
        )
    losses = np.array(row["per_byte_loss"], np.float64)
    if len(losses) == len(raw):
        losses = losses[start:end]
    if len(losses) != end - start or not np.isfinite(losses).all():
        raise ValueError(
            f"{where}: per_byte_loss has {len(losses)} numbers, or one that is "
            f"not finite; {end - start} bytes are scored"
        )
    nll, ends = _tokens(row, where, losses, start, end)
    identity = row.get("request_id") or "/".join(
        str(row[name])
        for name in ("dataset_name", "shard_name", "row_index")
        if row.get(name) is not None
    )
    span = raw[start:end]
    text = span.decode(errors="replace")
    return documents.Document(
        text_id=str(identity),
        value=math.fsum(losses.tolist()),
        where=where,
        domain=str(row["dataset_name"]),
        order=number if row.get("row_index") is None else row["row_index"],
        prompt=hashlib.sha256(raw[:start]).hexdigest(),
        num_bytes=len(span),
        num_chars=len(text),
        num_tokens=len(nll),
        num_scored=len(nll),
        sha256=hashlib.sha256(span).hexdigest(),
        text=text if options.keep_texts else None,
        tokens=(nll, ends),
    )


def _tokens(
    row: dict[str, Any],
    where: str,
    losses: np.ndarray,
    start: int,
    end: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns nll and ends of the tokens of the span; ends may be None.

    Tokens without bytes, such as one that begins the text, have no loss.
    """
    starts = np.array(row["token_byte_starts"], np.int64)
    ends = np.array(row["token_byte_ends"], np.int64)
    if starts.shape != ends.shape:
        raise ValueError(
            f"{where}: {len(starts)} token_byte_starts and {len(ends)} "
            "token_byte_ends"
        )
    inside = (ends > starts) & (starts < end) & (ends > start)
    starts = np.clip(starts[inside], start, end) - start
    ends = np.clip(ends[inside], start, end) - start
    before = np.concatenate([[0], np.cumsum(losses)])
    nll = before[ends] - before[starts]
    total = before[-1]
    follows = (
        len(ends) > 0
        and starts[0] == 0
        and ends[-1] == end - start
        and bool((starts[1:] == ends[:-1]).all())
    )
    if not follows or abs(nll.sum() - total) > _TOLERANCE * abs(total):
        # Tokens that share bytes, or leave some out: never guessed.
        return np.array([total]), None
    return nll, ends


def _summaries(path: pathlib.Path, options: Options) -> Imported:
    """Returns what a file of summaries says, taken as --value says."""
    if options.value != "bits_per_byte":
        raise ValueError(
            f"{path}: its losses are {_CAVEAT}. If they are to be taken as "
            "they are, all the same, say --value=bits_per_byte"
        )
    scored = []
    with path.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            row = json_files.parsed(line, where)
            if not isinstance(row, dict) or not row.keys() >= _SUMMARY:
                raise ValueError(
                    f"{where}: {', '.join(sorted(_SUMMARY))} are needed"
                )
            value = row["bits_per_byte"]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{where}: bits_per_byte is {value!r}")
            scored.append(
                documents.Document(
                    text_id=f"{row['corpus_id']}/{row['doc_id']}",
                    value=float(value),
                    where=where,
                    domain=str(row["corpus_id"]),
                    order=number,
                )
            )
    provenance = {"source": "Levanter", "format": "JSONL summaries"}
    provenance["caveats"] = [_CAVEAT]
    return documents.joined(
        path,
        [(ScoredModel(path.stem), scored)],
        "bits_per_byte",
        options,
        provenance,
    )
