"""Where tokens end in the bytes of the raw text.

Three ways, all of them checked:

1. Each token stands for some bytes: those of byte-level BPE, of a SentencePiece
   piece, of a byte fallback, of a character. Put together they are the text's
   bytes, or the way does not hold for this text. A space that the tokenizer has
   put before the text takes no bytes.
2. Else they are the bytes of what the tokenizer's normaliser makes of the text,
   which is followed back piece by piece (`alignment`).
3. Else the tokenizer itself says which characters each token is from, as for
   WordPiece, which leaves spaces out. White space between two tokens belongs to
   the second. Tokens that share a character all end where it does.

A text for which none of them holds is not followed at all. Whether a text comes
back from its tokens does not matter here: `round_trips` says that.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mmc_jax.scoring import backends


class _Surfaces(dict):
    """The bytes of each token id, looked up once."""

    def __init__(self, surface: Callable[[int], bytes]):
        super().__init__()
        self._surface = surface

    def __missing__(self, id: int) -> bytes:
        self[id] = found = self._surface(id)
        return found


class Follower:
    """Follows the tokens of one tokenizer through the bytes of texts."""

    def __init__(self, backend: backends.Backend):
        """Nothing is looked up yet.

        Args:
          backend: The tokenizer that makes the tokens.
        """
        self._backend = backend
        self._surfaces = _Surfaces(backend.surface)

    def ends(
        self,
        texts: Sequence[str],
        ids: Sequence[Sequence[int]],
    ) -> list[np.ndarray | None]:
        """Returns where the tokens of each text end, in bytes: int32 [T] each.

        None stands for a text whose tokens cannot be followed.

        Args:
          texts: Raw texts, as they were tokenized.
          ids: Token ids of each text.
        """
        return list(map(self._ends, texts, ids))

    def _ends(self, text: str, ids: Sequence[int]) -> np.ndarray | None:
        if not ids:
            return None
        surfaces = list(map(self._surfaces.__getitem__, ids))
        raw, joined = text.encode(), b"".join(surfaces)
        ends = np.fromiter(
            itertools.accumulate(map(len, surfaces)), np.int32, len(ids)
        )
        if joined == raw:
            return ends
        if joined == b" " + raw:
            return ends - 1 if ends[0] > 0 else None
        return _checked(self._backend.ends(text, ids), len(raw))


def _checked(ends: Sequence[int] | None, num_bytes: int) -> np.ndarray | None:
    """Returns ends that lead to the end of a text, None of others."""
    if not ends or ends[0] < 0 or ends[-1] != num_bytes:
        return None
    found = np.array(ends, np.int32)
    return found if (np.diff(found) >= 0).all() else None
