"""Windows to batches of a bounded set of shapes. B batch, T position."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# The shortest bucket, in tokens: below it padding costs less than a compile.
_SHORTEST = 64


class Row(NamedTuple):
    """One window, ready for the model.

    Attributes:
      text: Index of its text.
      inputs: Tokens that the model sees, int32 [T].
      targets: Tokens that it predicts, int32 [T].
      first: First position whose score counts.
    """

    text: int
    inputs: np.ndarray
    targets: np.ndarray
    first: int


class Batch(NamedTuple):
    """Rows, padded at the right to one shape.

    Attributes:
      rows: What the batch holds, at most B.
      inputs: int32 [B, T].
      targets: int32 [B, T].
    """

    rows: Sequence[Row]
    inputs: np.ndarray
    targets: np.ndarray


def bucket_lengths(context: int) -> list[int]:
    """Returns the lengths T that batches may have, longest first.

    The context, its half, its quarter, ..., down to 64: few programs to
    compile, and the same for every corpus, so that a text's score does not
    depend on what else is scored.

    >>> bucket_lengths(300)
    [300, 150, 75]
    """
    lengths = [context]
    while lengths[-1] // 2 >= _SHORTEST:
        lengths.append(lengths[-1] // 2)
    return lengths


def batches(
    rows: Sequence[Row], lengths: Sequence[int], tokens_per_batch: int
) -> Iterator[Batch]:
    """Yields the rows in batches, the longest bucket first.

    The shape of a bucket is always [tokens_per_batch // T or 1, T]: the last
    batch of a bucket has rows of padding.

    Args:
      rows: In any order; inside a bucket it is kept.
      lengths: As `bucket_lengths` returns them.
      tokens_per_batch: The token budget, padding included.
    """
    by_length: dict[int, list[Row]] = {length: [] for length in lengths}
    for row in rows:
        fits = [length for length in lengths if length >= len(row.inputs)]
        by_length[min(fits)].append(row)
    for length, of_length in by_length.items():
        size = max(1, tokens_per_batch // length)
        for start in range(0, len(of_length), size):
            chosen = of_length[start : start + size]
            inputs = np.zeros((size, length), np.int32)
            targets = np.zeros((size, length), np.int32)
            for i, row in enumerate(chosen):
                inputs[i, : len(row.inputs)] = row.inputs
                targets[i, : len(row.targets)] = row.targets
            yield Batch(chosen, inputs, targets)
