"""Where a checkpoint is: a local folder, or a repository of the hub."""

import functools
import os
import pathlib
import re

import huggingface_hub

from mmc_jax import pool

# Files of a hub repository that scoring needs: no weights but safetensors, no
# code.
_FILES = ("*.json", "tokenizer*", "*.model", "*.txt")
_WEIGHT_FILES = ("*.safetensors",)
# Where the hub's cache keeps the files of a commit.
_SNAPSHOT = re.compile(r"snapshots/([0-9a-f]{40})$")


def resolve(
    checkpoint: str | os.PathLike[str],
    revision: str | None = None,
    *,
    with_weights: bool = True,
) -> pathlib.Path:
    """Returns the local folder or GGUF file; a hub id is fetched.

    Args:
      checkpoint: A local folder, a GGUF file or a hub id.
      revision: The branch, tag or commit of a hub id; None for its main branch.
      with_weights: Whether the weights of a hub id are fetched as well.

    Raises:
      FileNotFoundError: The checkpoint is no folder and cannot be fetched.
      ValueError: A local folder is given with a revision.
    """
    folder = pathlib.Path(checkpoint)
    if folder.is_dir() or pool.is_gguf(folder):
        if revision is not None:
            raise ValueError(
                f"{folder}: a local checkpoint has no revision {revision!r}"
            )
        return folder
    fetch = functools.partial(
        huggingface_hub.snapshot_download,
        str(checkpoint),
        revision=revision,
        allow_patterns=[*_FILES, *(_WEIGHT_FILES if with_weights else ())],
    )
    try:
        try:
            fetched = fetch()
        except huggingface_hub.errors.OfflineModeIsEnabled:
            # Some versions ask for the list of files of a commit all the same.
            fetched = fetch(local_files_only=True)
    except Exception as error:
        raise FileNotFoundError(
            f"{checkpoint}: no such folder, and not fetched from the hub "
            f"({type(error).__name__}: {error})"
        ) from error
    return pathlib.Path(fetched)


def resolved_revision(folder: pathlib.Path) -> str | None:
    """Returns the commit that a hub id was resolved to; None for other folders.

    A branch or a tag may move on. The commit says for good what was scored.

    Args:
      folder: The folder that `resolve` returned.
    """
    snapshot = _SNAPSHOT.search(folder.as_posix())
    return snapshot and snapshot[1]
