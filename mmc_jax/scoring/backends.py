"""Backends of tokenizers: text to token ids and back."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import tokenizers


class Backend(Protocol):
    """Text to token ids and back."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text, no special tokens around them."""

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each list of token ids."""

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, None where there is no such token."""

    def id_to_token(self, id: int) -> str | None:
        """Returns the token of an id, None where there is no such id."""


class FastTokenizer:
    """A backend of the tokenizers library. Special tokens in a text are text.

    Args:
      tokenizer: The tokenizer; truncation and padding are switched off.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        tokenizer.encode_special_tokens = True
        # A file may say both, from the days of its training.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.token_to_id = tokenizer.token_to_id
        self.id_to_token = tokenizer.id_to_token

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text, no special tokens around them."""
        encodings = self.tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each list of token ids."""
        return self.tokenizer.decode_batch(ids, skip_special_tokens=False)

    def put_in_front(self) -> int | None:
        """Returns the token that the post-processor puts before a text.

        None where it puts none there; the last where it puts several.
        """
        plain = self.tokenizer.encode("a", add_special_tokens=False).ids
        processed = self.tokenizer.encode("a").ids
        for start in range(1, len(processed) - len(plain) + 1):
            if processed[start : start + len(plain)] == plain:
                return processed[start - 1]
        return None


class TokenizerFiles(NamedTuple):
    """What the files of a folder say.

    Attributes:
      backend: Text to token ids and back.
      in_front: Id of the token that belongs before every text by the
        tokenizer's own rules; None where they name none.
      bos: Id of the token that begins a text, None where there is none.
      eos: Id of the token that ends a text, None where there is none.
    """

    backend: Backend
    in_front: int | None
    bos: int | None
    eos: int | None
