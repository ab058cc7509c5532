"""What a file of scores says of itself, and whether it is what was written."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

_METADATA = b"provenance"
# Over what a file says of itself and all columns. Files of earlier versions
# have none.
_DIGEST = b"sha256"
# What the facts of every file hold, and of what type.
_FIELDS = {"name": str, "corpus_sha256": str}


def with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """Returns the table with the facts as JSON, and a digest, as metadata."""
    text = json.dumps(
        facts, sort_keys=True, allow_nan=False, default=lambda v: v.item()
    )
    return with_digest(table, {_METADATA: text.encode()})


def read_facts(table: pa.Table, file: pathlib.Path) -> dict[str, Any]:
    """Returns the facts of a table that was read from a file.

    Raises:
      ValueError: There are none, or table or facts are not what was written.
    """
    text = checked_text(table, _METADATA, file)
    if text is None:
        raise ValueError(f"{file}: no provenance in its metadata")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}: its provenance is not readable as JSON ({error})"
        ) from error
    for field, type_ in _FIELDS.items():
        if not isinstance(facts, dict) or not isinstance(
            facts.get(field), type_
        ):
            raise ValueError(
                f"{file}: its provenance names no {field}; it is not a file "
                "of scores that mmc_jax wrote"
            )
    return facts


def with_digest(table: pa.Table, metadata: Mapping[bytes, bytes]) -> pa.Table:
    """Returns the table with one text at most, and a digest, as metadata.

    Args:
      table: The table to write.
      metadata: The text by its name, or nothing.
    """
    text = b"".join(metadata.values())
    return table.replace_schema_metadata(
        {**metadata, _DIGEST: _digest(table, text)}
    )


def checked_text(
    table: pa.Table, name: bytes, file: pathlib.Path
) -> bytes | None:
    """Returns the text that `with_digest` has put beside a table, if any.

    Args:
      table: The table as it was read.
      name: Name of the text in the metadata.
      file: The file that it was read from, for errors.

    Raises:
      ValueError: Table or text are not what was written.
    """
    metadata = table.schema.metadata or {}
    text, written = metadata.get(name), metadata.get(_DIGEST)
    try:
        # Also that strings are in UTF-8, which nothing else looks at.
        table.validate(full=True)
        is_same = written is None or written == _digest(
            table, text or b""
        ).encode("ascii")
    except pa.ArrowException:
        is_same = False
    if not is_same:
        raise ValueError(
            f"{file}: damaged, its content is not what was written; delete it "
            "and score again: only what it held is missing then"
        )
    return text


def _digest(table: pa.Table, text: bytes) -> str:
    """Returns the SHA-256 of a table's values and of its text."""
    digest = hashlib.sha256(text)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"\n{name} {column.type} {len(column)}\n".encode())
        digest.update(column.is_null().to_numpy().tobytes())
        if pa.types.is_string(column.type):
            for chunk in column.chunks:
                digest.update(_with_lengths(chunk))
        elif pa.types.is_list(column.type):
            lengths = pyarrow.compute.list_value_length(column).fill_null(0)
            values = pyarrow.compute.list_flatten(column)
            digest.update(lengths.to_numpy().tobytes())
            digest.update(values.to_numpy().tobytes())
        else:
            filled = column.fill_null(pa.scalar(0).cast(column.type))
            digest.update(filled.to_numpy().tobytes())
    return digest.hexdigest()


def _with_lengths(strings: pa.StringArray) -> bytes:
    """Returns strings in one, each as "5:bytes"; a null as "4:None"."""
    strings = strings.fill_null("None").cast(pa.large_string())
    lengths = pa.compute.binary_length(strings).cast(pa.large_string())
    joined = pa.compute.binary_join_element_wise(
        lengths, strings, pa.scalar(":", pa.large_string())
    )
    _, offsets, data = joined.buffers()
    ends = memoryview(offsets).cast("q")
    first, last = ends[joined.offset], ends[joined.offset + len(joined)]
    return memoryview(data)[first:last].tobytes() if last else b""
