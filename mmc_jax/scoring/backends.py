"""Backends of tokenizers: text to token ids and back."""

import functools
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tokenizers
from tokenizers import normalizers

from mmc_jax.scoring import alignment

# How SentencePiece spells a space, and a byte that has no piece.
_SPACE = "\u2581"
_IS_BYTE = re.compile("<0x[0-9A-F]{2}>")


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

    def surface(self, id: int) -> bytes:
        """Returns the bytes that a token stands for, whatever is around it."""

    def ends(self, text: str, ids: Sequence[int]) -> list[int] | None:
        """Returns where each token of a text ends, in bytes.

        It is asked where the tokens' surfaces are not the text. None where that
        is not known.
        """


def _byte_of_character() -> dict[str, int]:
    """Returns the byte that each character of byte-level tokenizers stands for.

    Printable characters of Latin-1 stand for themselves, the first ones from
    256 on for the other bytes (Radford et al. 2019, GPT-2).
    """
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    found = {chr(byte): byte for byte in own}
    return found | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_of_character()


class FastTokenizer:
    """A backend of the tokenizers library. Special tokens in a text are text.

    Args:
      tokenizer: The tokenizer; truncation, padding and dropout of merges, which
        would give other tokens on every call, are switched off.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        tokenizer.encode_special_tokens = True
        # A file may say all three, from the days of its training.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
        self.tokenizer = tokenizer
        self.token_to_id = tokenizer.token_to_id
        self.id_to_token = tokenizer.id_to_token

    @functools.cached_property
    def _decoders(self) -> str:
        """What turns tokens into text, as JSON."""
        state = json.loads(self.tokenizer.to_str())
        return json.dumps(state.get("decoder"), ensure_ascii=False)

    def surface(self, id: int) -> bytes:
        """Returns the bytes that a token stands for, whatever is around it.

        It does as the kinds of decoders do that are found in published files;
        who asks has to check that the bytes of a text's tokens are the text's.
        """
        token = self.id_to_token(id) or ""
        if '"ByteLevel"' in self._decoders:
            if all(character in _BYTES for character in token):
                return bytes(_BYTES[character] for character in token)
            return token.encode()
        if '"ByteFallback"' in self._decoders and _IS_BYTE.fullmatch(token):
            return bytes([int(token[3:5], 16)])
        if _SPACE in self._decoders:
            token = token.replace(_SPACE, " ")
        return token.encode()

    def ends(self, text: str, ids: Sequence[int]) -> list[int] | None:
        """Returns where each token of a text ends, in bytes.

        What the normaliser makes of the text is followed back to it. In there,
        tokens are at their bytes; or the library says which characters a token
        is from: then white space that it leaves out belongs to the token behind
        it, at the text's end to the last one, and tokens of one character end
        where it does.
        """
        found = alignment.pieces(text, self._normalised)
        if found is None:
            return None
        normalised = self._normalised(text)
        surfaces = list(map(self.surface, ids))
        joined, raw = b"".join(surfaces), normalised.encode()
        in_front = 0 if joined == raw else 1
        if joined == b" " * in_front + raw:
            ends = itertools.accumulate(map(len, surfaces))
            return found.raw([max(end - in_front, 0) for end in ends])
        encoding = self._of_normalised.encode(
            normalised, add_special_tokens=False
        )
        if encoding.ids != list(ids):
            return None
        sizes = (len(character.encode()) for character in normalised)
        before = [0, *itertools.accumulate(sizes)]
        ends = [end for _, end in encoding.offsets]
        if not normalised[ends[-1] :].strip():
            ends[-1] = len(normalised)
        return found.raw([before[end] for end in ends])

    @functools.cached_property
    def _steps(self) -> tuple[list[Any], list[Any]]:
        """Steps of the normaliser that change a text, and that mark spaces."""
        state = json.loads(self.tokenizer.to_str())["normalizer"]
        waiting, changing, marking = [state] if state else [], [], []
        while waiting:
            step = waiting.pop(0)
            if step["type"] == "Sequence":
                waiting = step["normalizers"] + waiting
            elif _SPACE in (step.get("prepend"), step.get("content")):
                marking.append(step)
            else:
                changing.append(step)
        return changing, marking

    @functools.cached_property
    def _normaliser(self) -> normalizers.Normalizer | None:
        """What changes a text, but for the marks of spaces."""
        changing, _ = self._steps
        if not changing:
            return None
        empty = tokenizers.Tokenizer(tokenizers.models.BPE())
        return _with_steps(empty, changing).normalizer

    @functools.cached_property
    def _of_normalised(self) -> tokenizers.Tokenizer:
        """The tokenizer of texts that are normalised already."""
        changing, marking = self._steps
        if not changing:
            return self.tokenizer
        found = _with_steps(self.tokenizer, marking)
        found.encode_special_tokens = True
        return found

    def _normalised(self, text: str) -> str:
        """Returns what the normaliser makes of a text, with plain spaces."""
        if self._normaliser is not None:
            text = self._normaliser.normalize_str(text)
        marks = _SPACE in self._decoders and '"ByteLevel"' not in self._decoders
        return text.replace(_SPACE, " ") if marks else text

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


def _with_steps(
    tokenizer: tokenizers.Tokenizer, steps: list[Any]
) -> tokenizers.Tokenizer:
    """Returns a tokenizer with another normaliser, of such steps."""
    state = json.loads(tokenizer.to_str())
    state["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return tokenizers.Tokenizer.from_str(json.dumps(state))


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
