"""What sets of routing know of their texts: the prompts. X texts."""

import ast
import hashlib
import re
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

_HALVES = re.compile("[\ud800-\udfff]").search
# Longer ones are taken as they are: parsing them takes gigabytes.
_MOST_CHARS = 1_000_000


class PromptFacts(TypedDict):
    """Fields of `Imported` that follow from prompts.

    Attributes:
      texts: The prompts, [X].
      sha256: Hash of each prompt in UTF-8, [X].
      num_bytes: Bytes of each prompt in UTF-8, int64 [X]; None if one is empty.
      num_chars: Characters of each prompt, int64 [X]; None if one is empty.
    """

    texts: tuple[str, ...]
    sha256: tuple[str, ...]
    num_bytes: np.ndarray | None
    num_chars: np.ndarray | None


def facts(prompts: Sequence[str]) -> PromptFacts:
    """Returns what follows from the prompts.

    Args:
      prompts: The prompts, [X].

    >>> facts(["é"])["num_bytes"].tolist()
    [2]
    """
    # Halves of characters, as JSON may hold them, have no place in UTF-8.
    prompts = [
        prompt.encode(errors="replace").decode() if _HALVES(prompt) else prompt
        for prompt in prompts
    ]
    raw = [prompt.encode() for prompt in prompts]
    counts = [
        np.array([len(text) for text in texts], np.int64)
        if all(texts)
        else None
        for texts in (raw, prompts)
    ]
    return PromptFacts(
        texts=tuple(prompts),
        sha256=tuple(hashlib.sha256(text).hexdigest() for text in raw),
        num_bytes=counts[0],
        num_chars=counts[1],
    )


def joined_turns(cell: str) -> str:
    """Returns a prompt that is written as a Python list of turns, in lines.

    Args:
      cell: What stands in the file; it is returned if it is no such list.

    >>> joined_turns("['Is 7 prime?', 'Why?']").splitlines()
    ['Is 7 prime?', 'Why?']
    """
    if not cell.startswith("[") or len(cell) > _MOST_CHARS:
        return cell
    try:
        turns = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
    if isinstance(turns, list) and all(isinstance(t, str) for t in turns):
        return "\n".join(turns)
    return cell
