"""Text to tokens: the checkpoint's own tokenizer, and nothing added to it."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import transformers


class Prefix(NamedTuple):
    """The token that stands before every window and is never scored.

    Attributes:
      policy: "bos" or "eos", whichever the tokenizer has first; "none" where it
        has neither: then the first token of a text has no score.
      token: Its id, None for "none".
    """

    policy: str
    token: int | None


class Encoded(NamedTuple):
    """The texts of a corpus as tokens.

    Attributes:
      tokens: The tokens of each text, int32 [num_tokens] each.
      round_trips: Whether decoding gives the text back unchanged, bool [X].
    """

    tokens: list[np.ndarray]
    round_trips: np.ndarray


def load(folder: pathlib.Path) -> transformers.PreTrainedTokenizerBase:
    """Returns the tokenizer of a checkpoint folder.

    A special token that is spelled out in a text is read as text, not as the
    special token.

    Raises:
      ValueError: The folder has none that can be read.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, split_special_tokens=True
        )
    except Exception as error:
        raise ValueError(
            f"{folder}: its tokenizer cannot be loaded "
            f"({type(error).__name__}: {error}); tokenizer.json and "
            "tokenizer_config.json must lie beside the weights"
        ) from error


def prefix(tokenizer: transformers.PreTrainedTokenizerBase) -> Prefix:
    """Returns what stands before a text: BOS, else EOS, else nothing."""
    if tokenizer.bos_token_id is not None:
        return Prefix("bos", tokenizer.bos_token_id)
    if tokenizer.eos_token_id is not None:
        return Prefix("eos", tokenizer.eos_token_id)
    return Prefix("none", None)


def encode(
    tokenizer: transformers.PreTrainedTokenizerBase,
    texts: Sequence[str],
    text_ids: Sequence[str],
    vocab_size: int,
) -> Encoded:
    """Returns the texts as tokens, without special tokens.

    Args:
      tokenizer: As `load` returns it.
      texts: The texts, [X].
      text_ids: Their names for errors, [X].
      vocab_size: Of the model.

    Raises:
      ValueError: A text has no tokens, or one that the model does not know.
    """
    ids = tokenizer(
        list(texts), add_special_tokens=False, verbose=False
    ).input_ids
    decoded = tokenizer.batch_decode(
        ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    tokens = [np.array(row, np.int32) for row in ids]
    for row, text_id in zip(tokens, text_ids, strict=True):
        if not row.size:
            raise ValueError(
                f"text {text_id!r} has no tokens; leave it out of the corpus"
            )
        if row.max() >= vocab_size:
            raise ValueError(
                f"text {text_id!r} has the token {row.max()}, the model's "
                f"vocabulary ends at {vocab_size - 1}; the tokenizer is not "
                "this model's"
            )
    same = [a == b for a, b in zip(decoded, texts, strict=True)]
    return Encoded(tokens, np.array(same, bool))
