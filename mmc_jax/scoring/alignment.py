"""Places of a text that its tokenizer has normalised, in the text as it is.

A tokenizer may change a text before it cuts it: it composes accents, replaces
ligatures, drops control characters, makes one space of several. What it makes
of the text is followed piece by piece: a text is cut into small pieces that the
normaliser changes each for itself, which is checked, because put together they
have to be what it makes of the whole. A token ends where a piece does. One that
ends inside a piece that was changed ends where the piece ends.

C pieces, T tokens.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# Pieces of a text, finest first: a character with the marks behind it; equal
# white space that stands together as one; all of that and the word behind it.
_WHITE_SPACE = re.compile(r"(\s)\1*")
_WORDS = re.compile(r"\s+\S*|\S+")


class Pieces(NamedTuple):
    """A text and what its tokenizer makes of it, piece by piece, in bytes.

    Attributes:
      normalised_ends: Where each piece ends in the normalised text, int64 [C].
      raw_ends: Where it ends in the text as it is, int64 [C].
      is_same: Whether the piece was not changed, bool [C].
    """

    normalised_ends: np.ndarray
    raw_ends: np.ndarray
    is_same: np.ndarray

    def raw(self, ends: Sequence[int]) -> list[int] | None:
        """Returns where tokens end in the text as it is, in bytes.

        What the normaliser drops belongs to the token before it; what it drops
        at the end of a text, to the last one.

        Args:
          ends: Where the tokens end in the normalised text, in bytes, [T].
            Those of the last one have to be the text's; else None is returned.
        """
        ends = np.asarray(ends, np.int64)
        total = self.normalised_ends[-1] if len(self.normalised_ends) else 0
        if not len(ends) or ends[-1] != total:
            return None
        # In front of the first piece there is a place as well.
        normalised = np.concatenate([[0], self.normalised_ends])
        raw = np.concatenate([[0], self.raw_ends])
        before = np.searchsorted(normalised, ends, "right") - 1
        inside = ends - normalised[before]
        piece = np.minimum(before, len(self.is_same) - 1)
        found = raw[before] + inside
        is_changed = (inside > 0) & ~self.is_same[piece]
        found[is_changed] = self.raw_ends[piece[is_changed]]
        found[ends == total] = raw[-1]
        return found.tolist()


def pieces(text: str, normalise: Callable[[str], str]) -> Pieces | None:
    r"""Returns how a normaliser changes a text, None where that is not known.

    Args:
      text: The text as it is.
      normalise: Returns what the tokenizer makes of a text.

    >>> found = pieces("cafe\u0301 x", str.upper)
    >>> found.raw_ends.tolist(), found.raw([3, 6, 8])
    ([1, 2, 3, 6, 7, 8], [3, 6, 8])
    """
    expected = normalise(text)
    seen: dict[str, str] = {}
    for cut in (_characters, _with_runs, _WORDS.findall):
        raw = cut(text)
        for piece in raw:
            if piece not in seen:
                seen[piece] = normalise(piece)
        changed = [seen[piece] for piece in raw]
        if "".join(changed) == expected:
            return of_pieces(raw, changed)
    return None


def of_pieces(raw: Sequence[str], normalised: Sequence[str]) -> Pieces:
    """Returns the places of pieces of a text.

    Args:
      raw: The pieces of the text as it is, [C].
      normalised: What the tokenizer makes of each, [C].
    """
    sizes = [
        np.array([len(piece.encode()) for piece in row], np.int64)
        for row in (normalised, raw)
    ]
    same = [a == b for a, b in zip(raw, normalised, strict=True)]
    return Pieces(*map(np.cumsum, sizes), np.array(same, bool))


def _characters(text: str) -> list[str]:
    """Returns each character of a text with the marks that follow it."""
    found: list[str] = []
    for character in text:
        # Vowels and ends of Korean syllables, which are no marks.
        joins = (
            "\u1160" <= character <= "\u11ff"
            or unicodedata.category(character)[0] == "M"
        )
        if found and joins:
            found[-1] += character
        else:
            found.append(character)
    return found


def _with_runs(text: str) -> list[str]:
    """Returns the characters of a text, and runs of white space."""
    found, start = [], 0
    for run in _WHITE_SPACE.finditer(text):
        found += [*_characters(text[start : run.start()]), run.group()]
        start = run.end()
    return found + _characters(text[start:])
