"""Text to tokens: the checkpoint's own tokenizer, and nothing added to it."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax.scoring import backends, token_ends, tokenizer_files

# Texts on which tokenizers are known to lose something: spaces and line ends,
# accents in two forms, wide and joined characters, control characters, and
# the marks that tokenizers use themselves.
TRICKY_TEXTS = (
    "plain words",
    " one leading space",
    "two  spaces   three",
    "trailing space ",
    "line\n\n\nends\r\nof two kinds\n",
    "\tif x:\n\t\treturn  y\n",
    "    four_spaces = 1\n",
    "MixedCase ALLCAPS",
    "1234567 3.14 1,000",
    "it's don't we'll I'D",
    "a , b . c ? d ! e 'm",
    "caf\u00e9 and cafe\u0301",
    "\ufb01ne \u2163 \uff21\uff22 \u00bd",
    "\u6f22\u5b57\u3068\u304b\u306a\u3002",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\U0001f600 \U0001f469\u200d\U0001f4bb \U0001f3f3\ufe0f",
    "no\u00a0break\u2003em\u3000wide\u200bzero",
    "bell\x07 null\x00 delete\x7f",
    "\u2581under \u0120mark \u010a",
    "<s> </s> <unk> <|endoftext|> <0x0A>",
    "\U0010ffff\ue000",
)


class Prefix(NamedTuple):
    """The token that stands before every window and is never scored.

    Attributes:
      policy: "bos" or "eos" if it is that token; "post_processor" if it is
        another that the tokenizer puts before every text; "none" where there is
        none: then the first token of a text has no score.
      token: Its id, None for "none".
    """

    policy: str
    token: int | None


class Tokenizer(NamedTuple):
    """A checkpoint's tokenizer.

    Attributes:
      backend: Text to tokens and back.
      prefix: The token that stands before a text.
    """

    backend: backends.Backend
    prefix: Prefix


class Encoded(NamedTuple):
    """The texts of a corpus as tokens.

    Attributes:
      tokens: The tokens of each text, int32 [num_tokens] each.
      round_trips: Whether decoding gives the text back unchanged, bool [X].
      end_bytes: Where the tokens of each text end in its bytes, int32
        [num_tokens] each, None for a text where that is not known; None where
        it was not asked for.
    """

    tokens: list[np.ndarray]
    round_trips: np.ndarray
    end_bytes: list[np.ndarray | None] | None = None


def load(folder: pathlib.Path, prefix: str = "own") -> Tokenizer:
    """Returns the tokenizer of a checkpoint folder.

    Its tokens are those that transformers 4.57 reads from the folder's files. A
    special token that is spelled out in a text is read as text, not as the
    special token.

    Args:
      folder: Folder of the checkpoint, or its GGUF file.
      prefix: What stands before a text, one of `settings.PREFIXES`. "own" is
        the token that the tokenizer's own post-processor puts there, else BOS,
        else EOS.

    Raises:
      ValueError: The folder has none that can be read, or the tokenizer has no
        such token as the prefix.
    """
    files = tokenizer_files.read(folder)
    candidates = {
        "own": (files.in_front, files.bos, files.eos),
        "bos": (files.bos,),
        "eos": (files.eos,),
        "none": (),
    }[prefix]
    token = next((id for id in candidates if id is not None), None)
    if token is None and prefix in ("bos", "eos"):
        raise ValueError(
            f"{folder}: the tokenizer names no {prefix.upper()} token, which "
            f"the prefix {prefix!r} asks for"
        )
    policy = {files.eos: "eos", files.bos: "bos", None: "none"}.get(
        token, "post_processor"
    )
    return Tokenizer(files.backend, Prefix(policy, token))


def lost_texts(tokenizer: Tokenizer) -> list[str]:
    """Returns the texts of `TRICKY_TEXTS` that decoding does not give back.

    On such texts the tokens stand for another text, so that losses per byte of
    the raw text are not the model's.
    """
    decoded = tokenizer.backend.decode(tokenizer.backend.encode(TRICKY_TEXTS))
    return [a for a, b in zip(TRICKY_TEXTS, decoded, strict=True) if a != b]


def num_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Returns how many tokens each text has, without special tokens."""
    return [len(ids) for ids in tokenizer.backend.encode(texts)]


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    text_ids: Sequence[str],
    vocab_size: int,
    follower: token_ends.Follower | None = None,
) -> Encoded:
    """Returns the texts as tokens, without special tokens.

    Args:
      tokenizer: Tokenizer that `load` returns.
      texts: The texts, [X].
      text_ids: Their names for errors, [X].
      vocab_size: Number of tokens that the model knows.
      follower: Says where the tokens end; None where nobody asks.

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
    ids = tokenizer.backend.encode(texts)
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
    decoded = tokenizer.backend.decode(ids)
    same = [a == b for a, b in zip(decoded, texts, strict=True)]
    end_bytes = follower and follower.ends(texts, ids)
    return Encoded(tokens, np.array(same, bool), end_bytes)
