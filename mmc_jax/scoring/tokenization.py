"""Text to tokens: the checkpoint's own tokenizer, and nothing added to it."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tokenizers
import transformers

# One of these makes a tokenizer; with none, transformers makes an empty one.
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model")
# What tokens and prefix may depend on, in a checkpoint folder.
FILES = (
    "*.model",
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer*",
    "vocab*",
)


class Prefix(NamedTuple):
    """The token that stands before every window and is never scored.

    Attributes:
      policy: "bos" or "eos", whichever the tokenizer has first; "none" where it
        has neither: then the first token of a text has no score.
      token: Its id, None for "none".
    """

    policy: str
    token: int | None


class Tokenizer(NamedTuple):
    """A checkpoint's tokenizer.

    Attributes:
      backend: Text to tokens and back.
      prefix: What stands before a text.
    """

    backend: tokenizers.Tokenizer
    prefix: Prefix


class Encoded(NamedTuple):
    """The texts of a corpus as tokens.

    Attributes:
      tokens: The tokens of each text, int32 [num_tokens] each.
      round_trips: Whether decoding gives the text back unchanged, bool [X].
    """

    tokens: list[np.ndarray]
    round_trips: np.ndarray


def load(folder: pathlib.Path) -> Tokenizer:
    """Returns the tokenizer of a checkpoint folder.

    Its tokens are those of tokenizer.json to the letter. A special token that
    is spelled out in a text is read as text, not as the special token.

    Raises:
      ValueError: The folder has none that can be read.
    """
    if not any(file for name in _VOCABULARIES for file in folder.glob(name)):
        raise ValueError(
            f"{folder}: no tokenizer; tokenizer.json and tokenizer_config.json "
            "must lie beside the weights"
        )
    file = folder / "tokenizer.json"
    try:
        # Knows BOS and EOS also where only the tokenizer's class names them.
        wrapper = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
        # Not the wrapper's own: transformers 5 puts another pre-tokenizer and
        # normaliser into some classes (its issues 45488 and 45920).
        backend = (
            tokenizers.Tokenizer.from_file(str(file))
            if file.is_file()
            else wrapper.backend_tokenizer
        )
    except Exception as error:
        raise ValueError(
            f"{folder}: its tokenizer cannot be loaded "
            f"({type(error).__name__}: {error})"
        ) from error
    backend.encode_special_tokens = True
    # A file may say both, from the days of its training.
    backend.no_truncation()
    backend.no_padding()
    return Tokenizer(backend, _prefix(backend, wrapper))


def _prefix(
    backend: tokenizers.Tokenizer, wrapper: transformers.PreTrainedTokenizerBase
) -> Prefix:
    """Returns what stands before a text: BOS, else EOS, else nothing."""
    for policy in ("bos", "eos"):
        name = getattr(wrapper, f"{policy}_token")
        token = None if name is None else backend.token_to_id(name)
        if token is not None:
            return Prefix(policy, token)
    return Prefix("none", None)


def encode(
    tokenizer: Tokenizer,
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
      ValueError: A text has no tokens, or one that the model does not know, or
        the model does not know the prefix.
    """
    policy, token = tokenizer.prefix
    if token is not None and token >= vocab_size:
        raise ValueError(
            f"the {policy} token is {token}, the model's vocabulary ends at "
            f"{vocab_size - 1}; the tokenizer is not this model's"
        )
    encodings = tokenizer.backend.encode_batch_fast(
        list(texts), add_special_tokens=False
    )
    tokens = [np.array(encoding.ids, np.int32) for encoding in encodings]
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
    decoded = tokenizer.backend.decode_batch(
        [encoding.ids for encoding in encodings], skip_special_tokens=False
    )
    same = [a == b for a, b in zip(decoded, texts, strict=True)]
    return Encoded(tokens, np.array(same, bool))
