"""What a file of scores says of itself, and whether it is what was written."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_METADATA = b"provenance"
# Over the facts and all columns. Files of earlier versions have none.
_DIGEST = b"sha256"


def with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """Returns the table with the facts as JSON, and a digest, as metadata."""
    text = json.dumps(
        facts, sort_keys=True, allow_nan=False, default=lambda v: v.item()
    )
    digest = _digest(table, text.encode())
    return table.replace_schema_metadata({_METADATA: text, _DIGEST: digest})


def read_facts(table: pa.Table, file: pathlib.Path) -> dict[str, Any]:
    """Returns the facts of a table that was read from a file.

    Raises:
      ValueError: There are none, or table or facts are not what was written.
    """
    metadata = table.schema.metadata or {}
    if _METADATA not in metadata:
        raise ValueError(f"{file}: no provenance in its metadata")
    text = metadata[_METADATA]
    written = metadata.get(_DIGEST)
    if written is not None and written.decode(errors="replace") != _digest(
        table, text
    ):
        raise ValueError(
            f"{file}: damaged, its content is not what was written; delete it "
            "and score again: only what it held is missing then"
        )
    return json.loads(text)


def _digest(table: pa.Table, text: bytes) -> str:
    """Returns the SHA-256 of a table's values and of its facts."""
    digest = hashlib.sha256(text)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"\n{name} {column.type} {len(column)}\n".encode())
        digest.update(column.is_null().to_numpy().tobytes())
        if pa.types.is_string(column.type):
            ids = [str(value).encode() for value in column.to_pylist()]
            digest.update(b"".join(b"%d:%b" % (len(id_), id_) for id_ in ids))
        else:
            filled = column.fill_null(pa.scalar(0).cast(column.type))
            digest.update(filled.to_numpy().tobytes())
    return digest.hexdigest()
