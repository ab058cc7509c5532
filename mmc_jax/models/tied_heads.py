"""Heads that a config ties to the embedding, as the files have them.

transformers ties the two where the files hold one of them, or both with equal
values. Where both are there and differ it does not, whatever the config says
(`PreTrainedModel.tie_weights` since version 5).
"""

import functools
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import safetensors
import transformers
from absl import logging

from mmc_jax.models import attributes, tensors, weight_files

# Names, sizes and times of a folder's weights: the cache of answers has another
# entry when they change.
_Stamp = tuple[tuple[str, int, int], ...]


def as_in_files(
    config: transformers.PreTrainedConfig, folder: pathlib.Path
) -> transformers.PreTrainedConfig:
    """Returns the config, untied where head and embedding differ in the files.

    Where the weights are not there, or cannot be read, it stays as it is:
    whoever needs them says so.

    Args:
      config: The config of a text model that has a port.
      folder: The checkpoint folder.
    """
    if not config.tie_word_embeddings:
        return config
    try:
        stamp = tuple(
            (file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for file in weight_files.find(folder)
        )
        head = _differing_head(folder, config.model_type, stamp)
    except (OSError, ValueError):
        return config
    if head is not None:
        config.tie_word_embeddings = False
    return config


def _holds_head(file: pathlib.Path) -> bool:
    """Returns whether a file holds a head, by its list of names alone."""
    try:
        with safetensors.safe_open(file, "np") as opened:
            names = opened.keys()
        return any(name.endswith(tensors.HEADS) for name in names)
    except safetensors.SafetensorError:
        return False


@functools.lru_cache(maxsize=256)
def _differing_head(
    folder: pathlib.Path, model_type: str, stamp: _Stamp
) -> str | None:
    """Returns the head of the files if it is no embedding table of theirs."""
    if not any(_holds_head(folder / name) for name, _, _ in stamp):
        return None
    with tensors.Tensors(folder, attributes.FAMILIES[model_type]) as opened:
        for head in sorted(opened.names.intersection(tensors.HEADS)):
            shape = opened.shape(head)
            tables = [
                name
                for name in sorted(opened.names - {head})
                if opened.shape(name) == shape
            ]
            region = tuple(map(range, shape))
            if tables and not any(
                opened.equal(head, table, region) for table in tables
            ):
                logging.warning(
                    "%s: tie_word_embeddings is true, but %s differs from the "
                    "embedding; they are not tied here, nor in transformers",
                    folder,
                    head,
                )
                return head
    return None


def use_as_embedding(
    opened: Any,
    tied: Collection[str],
    names: Mapping[str, tensors.TensorNames],
    params: Mapping[str, Any],
) -> None:
    """Lets a tied head be the embedding where a file holds the head alone.

    Args:
      opened: Tensors of the checkpoint.
      tied: Names that a tied head may have.
      names: The tensors of each parameter, by its path.
      params: Parameters with their shapes, by the same paths.
    """
    for path, param in params.items():
        table = names[path].all[0]
        if not path.endswith(".embedding") or table in opened.names:
            continue
        for head in opened.names.intersection(tied):
            if opened.shape(head) == param.shape:
                opened.alias(table, head)
