"""Hashes of a checkpoint's files, and of values. It imports no model."""

import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterable

from absl import logging

from mmc_jax import at_once

# A file that changed so lately may change again without a trace in its times.
_SETTLED_SECONDS = 2.0


def file_hashes(
    files: Iterable[str | os.PathLike[str]],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> dict[str, str]:
    """Returns the SHA-256 of each file, by its name without the folder.

    Args:
      files: Paths of files whose names differ.
      cache_dir: Folder where hashes are remembered, with the size and the times
        of their files; a file that has not changed is not read again. None to
        read every file.

    Raises:
      OSError: A file cannot be read.
    """
    return {
        file.name: _sha256(file, cache_dir) for file in map(pathlib.Path, files)
    }


def _sha256(
    file: pathlib.Path, cache_dir: str | os.PathLike[str] | None
) -> str:
    stat = file.stat()
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    memory = None
    if cache_dir is not None:
        name = hashlib.sha256(bytes(file.resolve())).hexdigest()
        memory = pathlib.Path(cache_dir, "hashes", f"{name}.json")
        try:
            *remembered, digest, check = json.loads(memory.read_text())
            if remembered == state and check == json_sha256([*state, digest]):
                return digest
        except (OSError, ValueError, TypeError, RecursionError):
            pass  # There is none, or it is no use: the file itself tells.
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_SECONDS * 1e9
    if memory is not None and settled:
        content = [*state, digest, json_sha256([*state, digest])]
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            with at_once.replaced(memory) as new:
                new.write_text(json.dumps(content))
        except OSError as error:
            logging.warning("%s: the hash is not kept: %s", memory, error)
    return digest


def json_sha256(value: object) -> str:
    """Returns the SHA-256 of a value as JSON.

    Args:
      value: Any value that JSON can hold; the order of keys does not count.
    """
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
