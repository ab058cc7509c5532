"""A checkpoint as scoring needs it: tokenizer and window plan, no weights."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import transformers

from mmc_jax.models import hashes, hub, loading, shapes
from mmc_jax.scoring import (
    token_ends,
    tokenization,
    tokenizer_files,
    windows,
)
from mmc_jax.scoring.settings import Settings

# Positions of a window for a model whose config states no limit (a state-space
# model, one with linear biases), where the pool file states none either.
_CONTEXT = 4096


class Checkpoint(NamedTuple):
    """All of a checkpoint but its weights.

    Attributes:
      folder: Where its files are.
      config: Hugging Face's config of the text model.
      tokenizer: Tokenizer of the checkpoint.
      context: Positions of a window.
      context_source: What says so: the config, the pool file or a setting.
      stride: Tokens by which windows move on.
    """

    folder: pathlib.Path
    config: transformers.PreTrainedConfig
    tokenizer: tokenization.Tokenizer
    context: int
    context_source: str
    stride: int

    def encoded(
        self,
        texts: Sequence[str],
        text_ids: Sequence[str],
        follower: token_ends.Follower | None = None,
    ) -> tokenization.Encoded:
        """Returns the texts as tokens; raises as `tokenization.encode`."""
        return tokenization.encode(
            self.tokenizer, texts, text_ids, self.config.vocab_size, follower
        )

    def windows(self, num_tokens: int) -> list[windows.Window]:
        """Returns the windows of a text of so many tokens."""
        has_prefix = self.tokenizer.prefix.token is not None
        return windows.plan(
            num_tokens, self.context, self.stride, has_prefix=has_prefix
        )

    def row_lengths(self, num_tokens: int) -> list[int]:
        """Returns the positions of each window of a text of so many tokens."""
        # As in `windows.model_input`: without a prefix, what is predicted first
        # stands second.
        fewer = self.tokenizer.prefix.token is None
        return [
            window.end - window.start - fewer
            for window in self.windows(num_tokens)
        ]


def open(
    checkpoint: str | os.PathLike[str],
    revision: str | None,
    settings: Settings,
    *,
    context: int | None = None,
) -> Checkpoint:
    """Returns a checkpoint; a hub id is fetched.

    Args:
      checkpoint: A folder or a hub id.
      revision: A branch, tag or commit of the hub id.
      settings: Settings of scoring, which may limit windows and set a stride.
      context: Positions of a window, from the pool file; None for what the
        config states.

    Raises:
      FileNotFoundError: The checkpoint is not there.
      ValueError: Its family is not ported, it has no tokenizer, the tokenizer
        lacks the prefix, or the stride does not suit the windows.
    """
    folder = hub.resolve(checkpoint, revision)
    config = shapes.checked_config(folder).get_text_config()
    source = "pool file: context"
    if context is None:
        context = windows.native_context(config)
        source = f"config.json: {windows.context_attribute(config)}"
    if context is None:
        context, source = _CONTEXT, "default: the config states none"
    if settings.max_context is not None and settings.max_context < context:
        context, source = settings.max_context, "settings: max_context"
    stride = settings.stride
    if stride is None:
        stride = max(1, context // 2)
    if context < 1 or not 1 <= stride <= context:
        raise ValueError(
            f"stride {stride} and window of {context} positions: a stride is "
            "at least 1 and at most the window"
        )
    return Checkpoint(
        folder,
        config,
        tokenization.load(folder, settings.prefix),
        context,
        source,
        stride,
    )


def file_hashes(
    folder: pathlib.Path, cache_dir: str | os.PathLike[str] | None = None
) -> dict[str, str]:
    """Returns the SHA-256 of each file that a score depends on.

    Args:
      folder: Folder of the checkpoint.
      cache_dir: Folder of the cache, as `models.hashes.file_hashes` takes it.
    """
    files = loading.model_files(folder)
    for pattern in tokenizer_files.FILES:
        files += filter(pathlib.Path.is_file, sorted(folder.glob(pattern)))
    return hashes.file_hashes(files, cache_dir=cache_dir)
