"""The scores of single tokens, beside those of the texts.

    tokens/<name>.parquet   text_id, nll_nats, end_bytes, in the order of the
                            corpus; a list for each text

They are there where scoring was asked to keep them. Each token has its negative
log-likelihood in nats, NaN where it is not scored, and the place where it ends,
in bytes of the raw text. Where the tokens cannot be followed through the bytes
of a text, its `end_bytes` is null.

N tokens of all texts, X texts.
"""

import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from mmc_jax.scores import files
from mmc_jax.scores.table import ScoreTable

SCHEMA = pa.schema(
    [
        ("text_id", pa.string()),
        ("nll_nats", pa.list_(pa.field("element", pa.float32()))),
        ("end_bytes", pa.list_(pa.field("element", pa.int32()))),
    ]
)
# Random mantissas do not compress, but exponents do, and ends grow by little.
_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": False,
    "column_encoding": {
        "nll_nats.list.element": "BYTE_STREAM_SPLIT",
        "end_bytes.list.element": "DELTA_BINARY_PACKED",
    },
}
# Largest relative difference between a text's score and its tokens' sum.
_TOLERANCE = 1e-6


class TokenScores(NamedTuple):
    """The tokens of all texts under one model.

    Attributes:
      starts: Index of the first token of each text, and N at the end, int64
        [X + 1].
      nll_nats: Negative log-likelihood of each token, in nats, float32 [N];
        NaN where it is not scored.
      end_bytes: Bytes of the raw text up to the end of each token, int32 [N].
        They never fall within a text. What they are is not defined for a text
        that is not followed.
      is_followed: Whether the ends of a text's tokens are known, bool [X].
    """

    starts: np.ndarray
    nll_nats: np.ndarray
    end_bytes: np.ndarray
    is_followed: np.ndarray

    def of_text(self, x: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns nll in nats and ends in bytes of one text's tokens."""
        chosen = slice(self.starts[x], self.starts[x + 1])
        return self.nll_nats[chosen], self.end_bytes[chosen]

    def select(self, texts: np.ndarray) -> "TokenScores":
        """Returns the tokens of some texts; indices, [X']."""
        lengths = np.diff(self.starts)[texts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(starts[-1]) + np.repeat(
            self.starts[:-1][texts] - starts[:-1], lengths
        )
        return TokenScores(
            starts,
            self.nll_nats[index],
            self.end_bytes[index],
            self.is_followed[texts],
        )


def token_scores(
    nll_nats: Sequence[np.ndarray], end_bytes: Sequence[np.ndarray | None]
) -> TokenScores:
    """Returns the tokens of some texts as one array of each kind.

    Args:
      nll_nats: Negative log-likelihood of each token of each text, in nats.
      end_bytes: Where each token ends in the raw text, in bytes; None for a
        text whose tokens cannot be followed.

    Raises:
      ValueError: A text has another number of ends than of tokens.

    >>> two = token_scores([[1.0, 2.0], [3.0]], [[1, 4], None])
    >>> two.starts.tolist(), two.end_bytes.tolist()
    ([0, 2, 3], [1, 4, 0])
    >>> two.is_followed.tolist()
    [True, False]
    """
    lengths = [len(values) for values in nll_nats]
    for i, ends in enumerate(end_bytes):
        if ends is not None and len(ends) != lengths[i]:
            raise ValueError(
                f"text {i} of these has {lengths[i]} tokens and {len(ends)} "
                "ends of tokens"
            )
    known = [
        np.zeros(length, np.int32) if ends is None else ends
        for length, ends in zip(lengths, end_bytes, strict=True)
    ]
    return TokenScores(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.concatenate([[], *nll_nats]).astype(np.float32),
        np.concatenate([[], *known]).astype(np.int32),
        np.array([ends is not None for ends in end_bytes], bool),
    )


def token_file(path: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file of a model's tokens."""
    return path / "tokens" / f"{urllib.parse.quote(name, safe='')}.parquet"


def keeps_tokens(path: str | os.PathLike[str], name: str) -> bool:
    """Returns whether the tokens of a finished model were kept.

    Args:
      path: Folder of the table.
      name: Name of the model.
    """
    return token_file(pathlib.Path(path), name).exists()


def tokens_table(text_ids: Sequence[str], found: TokenScores) -> pa.Table:
    """Returns the tokens of some texts as Arrow columns."""
    starts = pa.array(found.starts.astype(np.int32))
    ends = pa.ListArray.from_arrays(
        starts, pa.array(found.end_bytes, pa.int32())
    )
    # A null has no values beneath it, so that a file is read as written.
    known = found.select(np.flatnonzero(found.is_followed))
    if not found.is_followed.all():
        lengths = np.diff(found.starts) * found.is_followed
        ends = pa.ListArray.from_arrays(
            pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
            pa.array(known.end_bytes, pa.int32()),
            mask=pa.array(~found.is_followed),
        )
    nll = pa.ListArray.from_arrays(
        starts, pa.array(found.nll_nats, pa.float32(), from_pandas=False)
    )
    columns = [pa.array(text_ids, pa.string()), nll, ends]
    return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)


def write_tokens(
    table: pa.Table, facts: Mapping[str, Any], file: pathlib.Path
) -> None:
    """Writes tokens with their facts, as `files.write_atomically` does."""
    files.write_atomically(files.with_facts(table, facts), file, **_OPTIONS)


def write_all_tokens(table: ScoreTable, path: pathlib.Path) -> None:
    """Writes the tokens of a table's models beside their scores.

    Args:
      table: A table with tokens, which is written already.
      path: Folder of the table.
    """
    sha256 = files.corpus_sha256(table.texts)
    for model in table.models:
        if model.name not in table.tokens:
            continue
        facts = {
            "name": model.name,
            "corpus_sha256": sha256,
            "key": model.provenance.get("key"),
        }
        columns = tokens_table(table.texts.ids, table.tokens[model.name])
        write_tokens(columns, facts, token_file(path, model.name))


def read_tokens(file: pathlib.Path) -> tuple[pa.Table, dict[str, Any]]:
    """Returns tokens and facts of a model's file or of a part of one.

    Raises:
      ValueError: The file is damaged, or another's.
    """
    table = files.read_parquet(file, SCHEMA)
    facts = files.read_facts(table, file)
    return table.replace_schema_metadata(None), facts


def _of_table(table: pa.Table) -> TokenScores:
    """Returns the tokens that Arrow columns hold."""
    nll, ends = table.column("nll_nats"), table.column("end_bytes")
    lengths = pyarrow.compute.list_value_length(nll).to_numpy()
    is_followed = ~ends.is_null().to_numpy()
    end_bytes = np.zeros(int(lengths.sum()), np.int32)
    flat = pyarrow.compute.list_flatten(ends).to_numpy()
    end_bytes[np.repeat(is_followed, lengths)] = flat
    return TokenScores(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        pyarrow.compute.list_flatten(nll).to_numpy(),
        end_bytes,
        is_followed,
    )


class TokenFiles(Mapping[str, TokenScores]):
    """The tokens of a folder's models, read when they are asked for.

    A model's are checked against its scores: their sum is the text's nll, and
    their numbers are `num_tokens` and `num_scored`.
    """

    def __init__(self, path: pathlib.Path, table: ScoreTable):
        """Nothing is read yet.

        Args:
          path: Folder of the score table.
          table: All texts of the folder, with the scores to check against.
        """
        self._path = path
        self._table = table
        self._rows = {
            model.name: m
            for m, model in enumerate(table.models)
            if token_file(path, model.name).exists()
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __getitem__(self, name: str) -> TokenScores:
        """Returns the tokens of a model.

        Raises:
          KeyError: They were not kept.
          ValueError: The file is damaged, of other texts or of other scores.
        """
        row, texts = self._rows[name], self._table.texts
        file = token_file(self._path, name)
        table, facts = read_tokens(file)
        same = table.column("text_id").to_pylist() == list(texts.ids)
        if not same or facts["corpus_sha256"] != files.corpus_sha256(texts):
            raise ValueError(
                f"{file}: tokens of other texts than corpus.parquet; delete it "
                "and the model's scores, and score again with --keep_tokens"
            )
        found = _of_table(table)
        self._check(found, row, file)
        return found

    def _check(self, found: TokenScores, row: int, file: pathlib.Path) -> None:
        """Raises a ValueError where tokens are not those of the scores."""
        table = self._table
        sums = sums_of_texts(found)
        nll = table.nll_nats[row]
        good = np.abs(sums - nll) <= _TOLERANCE * np.abs(nll)
        if table.num_tokens is not None:
            good &= np.diff(found.starts) == table.num_tokens[row]
        for x in np.flatnonzero(~good)[:1]:
            raise ValueError(
                f"{file}: the tokens of text {table.texts.ids[x]!r} sum to "
                f"{sums[x]} nats, its score is {nll[x]}; delete the file and "
                "the model's scores, and score again with --keep_tokens"
            )


def sums_of_texts(found: TokenScores) -> np.ndarray:
    """Returns the nll of each text over its scored tokens, float64 [X].

    >>> sums_of_texts(token_scores([[1.5, 2], [], [3]], [None] * 3)).tolist()
    [3.5, 0.0, 3.0]
    """
    totals = np.zeros(len(found.starts) - 1)
    has_tokens = np.diff(found.starts) > 0
    # Empty texts have no first token to add from.
    firsts = found.starts[:-1][has_tokens]
    values = np.nan_to_num(found.nll_nats.astype(np.float64), nan=0.0)
    if len(firsts):
        totals[has_tokens] = np.add.reduceat(values, firsts)
    return totals
