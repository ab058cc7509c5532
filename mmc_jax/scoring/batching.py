"""Windows to batches of a bounded set of shapes. B batch, T position."""

import bisect
import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# The shortest bucket, in tokens: below it padding costs less than a compile.
_SHORTEST = 64
# Buckets in each doubling of the length are such multiples of its sixteenth:
# 576, 640, 768, 896, 1024. Padding is at most 1 in 6, on average 1 in 15, and
# the lengths are multiples of large powers of two, as devices' tiles are.
_SIXTEENTHS = (9, 10, 12, 14, 16)
# With fewer batches than this, compiling all of those takes longer than padding
# to one length in each doubling.
_MANY_BATCHES = 100
# Where all batches take less time than so many compilations, each program that
# is not needed saves more than padding to a longer length takes.
_MANY_PROGRAMS = 10
# Bytes of a token in most tokenizers' English; the decision needs no more.
_BYTES_PER_TOKEN = 4


class Row(NamedTuple):
    """One window, ready for the model.

    Attributes:
      text: The text that the window is of, as the caller knows it.
      inputs: Tokens that the model sees, int32 [T].
      targets: Tokens that it predicts, int32 [T].
      first: First position whose score counts.
      scored_from: Index in the text of the token that it predicts.
    """

    text: Any
    inputs: np.ndarray
    targets: np.ndarray
    first: int
    scored_from: int = 0


class Batch(NamedTuple):
    """Rows, padded at the right to one shape.

    Attributes:
      rows: Rows that the batch holds, at least 1 and at most B.
      inputs: Tokens that the model sees, int32 [B, T].
      targets: Tokens that it predicts, int32 [B, T].
    """

    rows: Sequence[Row]
    inputs: np.ndarray
    targets: np.ndarray

    def split(self, num_rows: int) -> Iterator["Batch"]:
        """Yields the batch in pieces of `num_rows`, without empty ones."""
        for start in range(0, len(self.rows), num_rows):
            rows = self.rows[start : start + num_rows]
            yield _padded(rows, num_rows, self.inputs.shape[1])


def bucket_lengths(
    context: int,
    num_batches: float = float("inf"),
    num_programs: float = float("inf"),
) -> list[int]:
    """Returns the lengths T that batches may have, longest first.

    The context, and below it five lengths in each doubling, down to 64: a
    bounded number of programs to compile, whatever the texts. For few batches
    it is one in each doubling, and where all of them take no longer than a few
    compilations, every second of those. The texts do not count: a text has the
    same length beside other texts.

    Args:
      context: The longest length, in tokens.
      num_batches: About how many batches there will be, from
        `expected_batches`.
      num_programs: About how many programs could be compiled in the time that
        all batches take.

    >>> bucket_lengths(300)
    [300, 288, 256, 224, 192, 160, 144, 128, 112, 96, 80, 72, 64]
    >>> bucket_lengths(300, num_batches=20)
    [300, 256, 128, 64]
    >>> bucket_lengths(300, num_batches=20, num_programs=1)
    [300, 256, 64]
    """
    sixteenths = _SIXTEENTHS if num_batches >= _MANY_BATCHES else (16,)
    factor = 2
    if num_batches < _MANY_BATCHES and num_programs < _MANY_PROGRAMS:
        factor = 4
    lengths, multiplied = {context, _SHORTEST}, factor * _SHORTEST
    while multiplied < factor * context:
        lengths.update(multiplied // 16 * part for part in sixteenths)
        multiplied *= factor
    return sorted((T for T in lengths if T <= context), reverse=True)


def lengths_of_rows(
    num_rows: Mapping[int, float], context: int, tokens_per_program: float
) -> list[int]:
    """Returns the lengths T at which rows take least time, longest first.

    Of the lengths of `bucket_lengths` those with the least sum of tokens,
    padding included, and of what their programs take to compile.

    Args:
      num_rows: How many rows have each length.
      context: The longest length, in tokens.
      tokens_per_program: Tokens that are scored in the time that compiling a
        program takes.

    >>> rows = {100: 500, 120: 10, 250: 500}
    >>> lengths_of_rows(rows, context=300, tokens_per_program=5000)
    [256, 112]
    >>> lengths_of_rows(rows, context=300, tokens_per_program=100_000)
    [256]
    """
    of_bucket = bucket_lengths(context)[::-1]
    rows_of: collections.Counter = collections.Counter()
    for length, num in num_rows.items():
        rows_of[of_bucket[bisect.bisect_left(of_bucket, length)]] += num
    lengths = sorted(rows_of)
    before = [0, *itertools.accumulate(rows_of[T] for T in lengths)]
    # Of the rows up to each length: the least cost, and the lengths for it.
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end, T in enumerate(lengths, start=1):
        costs = [
            best[start][0] + T * (before[end] - before[start])
            for start in range(end)
        ]
        start = min(range(end), key=costs.__getitem__)
        best.append((costs[start] + tokens_per_program, [T, *best[start][1]]))
    return best[-1][1]


def expected_batches(
    num_bytes: int, tokens_per_batch: int, num_data: int = 1
) -> float:
    """Returns about how many batches a corpus makes, from its bytes alone.

    It is the same for what is left of the corpus after a kill, and so are the
    shapes of its batches.

    Args:
      num_bytes: Bytes of all texts.
      tokens_per_batch: Token budget of one device's share of a batch.
      num_data: Devices that a batch is spread over.
    """
    return num_bytes / (_BYTES_PER_TOKEN * tokens_per_batch * num_data)


def rows_per_batch(
    length: int, tokens_per_batch: int, num_data: int = 1
) -> int:
    """Returns the rows B of a bucket's batches: `num_data` equal shares.

    Args:
      length: The bucket's T.
      tokens_per_batch: The token budget of a share, padding included; one row
        is taken where even that exceeds it.
      num_data: Devices that a batch is spread over.

    >>> rows_per_batch(300, tokens_per_batch=1000, num_data=2)
    6
    """
    return num_data * max(1, tokens_per_batch // length)


def batches(
    rows: Iterable[Row],
    lengths: Sequence[int],
    tokens_per_batch: int,
    num_data: int = 1,
) -> Iterator[Batch]:
    """Yields the rows in batches, each as soon as it is full.

    A row waits in the shortest bucket that it fits in, so that what is in
    memory depends on the buckets and not on how many rows there are. The shape
    of a bucket is always [rows_per_batch, T]: its last batch, which comes at
    the end, has rows of padding.

    Args:
      rows: Rows in any order. Rows of one bucket keep their order.
      lengths: Lengths T of the buckets. No row may be longer than the longest.
      tokens_per_batch: Token budget of one device's share of a batch.
      num_data: Devices that a batch is spread over.
    """
    lengths = sorted(lengths)
    waiting: dict[int, list[Row]] = {length: [] for length in lengths}
    for row in rows:
        length = lengths[bisect.bisect_left(lengths, len(row.inputs))]
        bucket = waiting[length]
        bucket.append(row)
        num_rows = rows_per_batch(length, tokens_per_batch, num_data)
        if len(bucket) == num_rows:
            yield _padded(bucket, num_rows, length)
            waiting[length] = []
    for length in reversed(lengths):
        num_rows = rows_per_batch(length, tokens_per_batch, num_data)
        if waiting[length]:
            yield _padded(waiting.pop(length), num_rows, length)


def _padded(rows: Sequence[Row], num_rows: int, length: int) -> Batch:
    """Returns the rows as a batch of the shape [num_rows, length]."""
    inputs = np.zeros((num_rows, length), np.int32)
    targets = np.zeros((num_rows, length), np.int32)
    for i, row in enumerate(rows):
        inputs[i, : len(row.inputs)] = row.inputs
        targets[i, : len(row.targets)] = row.targets
    return Batch(rows, inputs, targets)
