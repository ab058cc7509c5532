"""Texts in memory (`Corpus`) and texts that are read on every pass (`Stream`).

X is the number of texts.
"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mmc_jax.dates import known_dates

# The column of a corpus that says when a text was written.
DATE = "date"


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Texts with stable ids; X is their number.

    Attributes:
      ids: A unique name of each text, [X].
      domains: The domain of each text, [X]; empty where none was given.
      num_bytes: Bytes of the raw text in UTF-8, int64 [X].
      num_chars: Characters (Unicode code points) of the raw text, int64 [X].
      sha256: Hash of the raw text's bytes, hexadecimal, [X].
      texts: The texts, [X], or None where only the counts were kept.
      dates: Date of each text, [X], such as "2023-04-03", "2023-04" or "2023",
        "" where it is not known; None where none is.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    num_bytes: np.ndarray
    num_chars: np.ndarray
    sha256: tuple[str, ...]
    texts: tuple[str, ...] | None
    dates: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> "Corpus":
        """The corpus without the texts themselves."""
        return dataclasses.replace(self, texts=None)

    def chunks(self, num_texts: int) -> Iterator["Corpus"]:
        """Yields the corpus in pieces of at most that many texts, in order."""
        for start in range(0, len(self), num_texts):
            yield self.select(range(start, min(start + num_texts, len(self))))

    def select(self, indices: Iterable[int]) -> "Corpus":
        """Returns the texts at `indices`, in that order."""
        indices = [int(i) for i in indices]
        return Corpus(
            ids=tuple(self.ids[i] for i in indices),
            domains=tuple(self.domains[i] for i in indices),
            num_bytes=self.num_bytes[indices],
            num_chars=self.num_chars[indices],
            sha256=tuple(self.sha256[i] for i in indices),
            texts=self.texts and tuple(self.texts[i] for i in indices),
            dates=self.dates and tuple(self.dates[i] for i in indices),
        )

    def sample(self, num_texts_per_domain: int) -> "Corpus":
        """Returns at most that many texts of each domain, in corpus order.

        The choice goes by the texts' hashes: it is the same on every call, and
        a larger sample contains a smaller one.
        """
        return self.select(_sampled(self, num_texts_per_domain))


class Record(NamedTuple):
    """One text as it was found: `where` names file and line for errors."""

    where: str
    text: str
    id: str | None
    domain: str
    date: str = ""


def record_of_row(
    where: str,
    row: dict[str, Any],
    text_column: str,
    id_column: str,
    domain_column: str,
) -> Record:
    """Returns one row as a record, its columns checked.

    Args:
      where: Place of the row, for errors.
      row: Value of each column.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.

    Raises:
      ValueError: There is no text, or text or domain are no strings.
    """
    if text_column not in row:
        raise ValueError(
            f"{where}: no column {text_column!r}; it has "
            f"{', '.join(map(repr, row))}; name the right one (--text_column)"
        )
    text = row[text_column]
    if not isinstance(text, str):
        raise ValueError(
            f"{where}: {text_column!r} is {type(text).__name__}, not a string"
        )
    id_ = row.get(id_column)
    domain = row.get(domain_column)
    if domain is not None and not isinstance(domain, str):
        kind = type(domain).__name__
        raise ValueError(f"{where}: {domain_column!r} is {kind}, not a string")
    id_ = None if id_ is None else str(id_)
    date = row.get(DATE)
    # Parquet has dates as such, and JSON a year as a number.
    date = "" if date is None else str(date)
    return Record(where, text, id_, domain or "", date)


# Begins to read a source; whenever it is called, from the start.
Records = Callable[[], Iterator[Record]]


class Stream:
    """Texts that stay on disk, or on the hub, and are read on every pass.

    In memory are ids, domains, counts and hashes, and of the texts one chunk.
    The first pass checks everything, as `read` does; each later one makes sure
    that the texts are still those of the first.

    Attributes:
      num_blank: Number of blank texts that were skipped; None before the first
        pass has ended.
    """

    def __init__(
        self, records: Records, source: str, *, skip_blank: bool = False
    ):
        """Nothing is read yet.

        Args:
          records: Begins a pass over the records.
          source: Name of what is read, for errors.
          skip_blank: Whether texts that are empty or white space are left out;
            the first pass warns of their number.
        """
        self._all_records = records
        self._source = source
        self._skip_blank = skip_blank
        self.num_blank: int | None = None

    def _records(self) -> Iterator[Record]:
        num_blank = 0
        for record in self._all_records():
            if self._skip_blank and not record.text.strip():
                num_blank += 1
            else:
                yield record
        if num_blank and self.num_blank is None:
            logging.warning(
                "%s: %d blank texts are skipped", self._source, num_blank
            )
        self.num_blank = num_blank

    def __len__(self) -> int:
        return len(self.counts)

    @functools.cached_property
    def counts(self) -> Corpus:
        """The corpus without the texts themselves; asking is the first pass.

        Raises:
          ValueError: Something that `read` refuses.
        """
        return checked_corpus(self._records, self._source, with_texts=False)

    def chunks(self, num_texts: int) -> Iterator[Corpus]:
        """Yields the corpus in pieces of at most that many texts, in order.

        Raises:
          ValueError: Something that `read` refuses, or a text that is not
            that of the first pass; the message names its place.
        """
        counts = self.counts
        start, texts = 0, []
        for i, record in enumerate(self._records()):
            found = _checked(record)
            there = i < len(counts)
            if not there or found[:2] != (counts.ids[i], counts.sha256[i]):
                raise ValueError(f"{record.where}: {_CHANGED}")
            texts.append(record.text)
            if len(texts) == num_texts:
                yield _with_texts(counts, start, texts)
                start, texts = start + num_texts, []
        end = start + len(texts)
        if end < len(counts):
            missing = counts.ids[end]
            raise ValueError(
                f"{self._source}: text {missing!r} is gone: {_CHANGED}"
            )
        if texts:
            yield _with_texts(counts, start, texts)

    def load(self) -> Corpus:
        """Returns the corpus with all of its texts in memory.

        Raises:
          ValueError: Something that `read` refuses.
        """
        return checked_corpus(self._records, self._source, with_texts=True)

    def select(self, indices: Iterable[int]) -> "Stream":
        """Returns the texts at `indices` as a stream, in corpus order."""
        chosen = frozenset(int(i) for i in indices)

        def records() -> Iterator[Record]:
            for i, record in enumerate(self._records()):
                if i in chosen:
                    yield record

        # Blank texts are gone already: the indices are of those that are left.
        selection = Stream(records, self._source)
        selection.counts = self.counts.select(sorted(chosen))
        return selection

    def sample(self, num_texts_per_domain: int) -> "Stream":
        """Returns the texts that `Corpus.sample` chooses, as a stream."""
        return self.select(_sampled(self.counts, num_texts_per_domain))


_CHANGED = (
    "the corpus is not what it was when it was first read; leave it alone "
    "while it is scored"
)


def checked_corpus(
    records: Records, source: str, *, with_texts: bool
) -> Corpus:
    """Returns the checked corpus of a source, with its texts or without."""
    ids: dict[str, None] = {}
    domains, num_bytes, num_chars, sha256, texts = [], [], [], [], []
    dates = []
    for record in records():
        name, digest, size = _checked(record)
        if name in ids:
            _refuse_duplicate(records(), record, name)
        ids[name] = None
        domains.append(sys.intern(record.domain))
        dates.append(sys.intern(record.date))
        num_bytes.append(size)
        num_chars.append(len(record.text))
        sha256.append(digest)
        if with_texts:
            texts.append(record.text)
    if not ids:
        raise ValueError(f"{source}: no texts")
    known, num_bad = known_dates(dates)
    if num_bad:
        logging.warning(
            "%s: %d cells of the column %r are no dates such as 2023-04-03 and "
            "are left out",
            source,
            num_bad,
            DATE,
        )
    return Corpus(
        ids=tuple(ids),
        domains=tuple(domains),
        num_bytes=np.array(num_bytes, np.int64),
        num_chars=np.array(num_chars, np.int64),
        sha256=tuple(sha256),
        texts=tuple(texts) if with_texts else None,
        dates=known,
    )


def _checked(record: Record) -> tuple[str, str, int]:
    """Returns id, hash and bytes of a text, having checked that it is one."""
    where, text, id_, *_ = record
    if not text:
        raise ValueError(
            f"{where}: the text is empty; remove it, or leave out all blank "
            "texts (--skip_blank)"
        )
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: the text is not valid Unicode ({error.reason}); "
            "repair or remove it"
        ) from error
    digest = hashlib.sha256(raw).hexdigest()
    return digest[:16] if id_ is None else id_, digest, len(raw)


def _refuse_duplicate(
    records: Iterator[Record], record: Record, name: str
) -> None:
    """Raises the error, having looked up once more who had the id first."""
    first = next(other for other in records if _checked(other)[0] == name)
    same = "text" if record.id is None else f"id {name!r}"
    raise ValueError(
        f"{record.where}: the same {same} stands at {first.where} already; "
        "give each text an id of its own, or remove one"
    )


def _with_texts(counts: Corpus, start: int, texts: list[str]) -> Corpus:
    chunk = counts.select(range(start, start + len(texts)))
    return dataclasses.replace(chunk, texts=tuple(texts))


def _sampled(counts: Corpus, num_texts_per_domain: int) -> list[int]:
    """Returns the indices of a sample, in order."""
    by_domain: dict[str, list[int]] = {}
    for i in sorted(range(len(counts)), key=lambda i: counts.sha256[i]):
        by_domain.setdefault(counts.domains[i], []).append(i)
    chosen = [i for d in by_domain.values() for i in d[:num_texts_per_domain]]
    return sorted(chosen)
