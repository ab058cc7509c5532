"""Score tables whose rows are segments of texts, cut at common boundaries.

A common boundary is a byte of the raw text at which a token ends under every
model. Segments are cut nowhere else, so that no token is shared out and the
segments of a text sum to its score. X texts, Y segments, N tokens.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from mmc_jax import corpus
from mmc_jax.scores.table import ScoreTable
from mmc_jax.scores.tokens import TokenScores

KINDS = ("text", "line", "sentence", "word", "token", "bytes:N")

_LINES = re.compile(r"\n")
# A mark that ends a sentence, what closes behind it, and then white space; or
# an empty line. Each run of marks is looked at once: texts hold rows of a
# million dots.
_SENTENCES = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]++[\"')\\]\u201d\u2019]*+(?=\\s)|"
    "[\u3002\uff01\uff1f]+[\u300d\u300f\uff09]*|\\n(?=[^\\S\\n]*+\\n)"
)
# A run of letters and digits, or of other marks, with the white space before;
# what indents a line is a segment of its own.
_WORDS = re.compile(r"\w+|[^\w\s]+|\n")
# Indentation, and what of it many tokenizers cut off: all but the last space,
# which they put before the word.
_INDENTATION = (
    re.compile(r"^[ \t]+", re.MULTILINE),
    re.compile(r"^[ \t]+(?=[ \t])", re.MULTILINE),
)
_PATTERNS = {
    "line": (_LINES,),
    "word": (_WORDS, *_INDENTATION),
    "sentence": (_SENTENCES,),
}
_NOWHERE = np.zeros(0, np.int64)
# Texts that a warning names.
_NUM_NAMED = 3


class Places(NamedTuple):
    """Where the rows of a table are in their texts.

    Attributes:
      text_ids: Id of the text that each row is a segment of, [Y].
      start_bytes: Where each segment begins in its text, in bytes, int64 [Y].
      shares: Share of its text's bytes, above 0, float64 [Y]; the segments of
        a text sum to 1.
      num_chars: Characters of each segment, float64 [Y]: its text's, by its
        share, because a token may end inside a character. None where the
        text's are not known.
    """

    text_ids: tuple[str, ...]
    start_bytes: np.ndarray
    shares: np.ndarray
    num_chars: np.ndarray | None

    def select(self, rows: np.ndarray) -> "Places":
        """Returns the places of some rows; indices, [Y']."""
        return Places(
            tuple(self.text_ids[row] for row in rows),
            self.start_bytes[rows],
            self.shares[rows],
            None if self.num_chars is None else self.num_chars[rows],
        )


def checked_kind(kind: str) -> tuple[str, int]:
    """Returns a kind of segments, and its number of bytes or 0.

    Args:
      kind: One of `KINDS`, with a number of at least 1 for N.

    Raises:
      ValueError: It is none of them.
    """
    name, _, number = kind.partition(":")
    if name == "bytes" and re.fullmatch("[1-9][0-9]{0,8}", number):
        return name, int(number)
    if kind in KINDS and name != "bytes":
        return kind, 0
    raise ValueError(
        f"no segments {kind!r}; there are {', '.join(KINDS)}, where N is a "
        "number such as 64"
    )


def unfollowed_texts(table: ScoreTable) -> dict[str, list[str]]:
    """Returns the texts whose tokens some model does not follow.

    They are in no table of segments. The names of those models stand beside
    each text's id.

    Args:
      table: A table with tokens of every model.

    Raises:
      ValueError: The tokens of a model were not kept.
    """
    found: dict[str, list[str]] = {}
    for name, tokens in _tokens_of(table):
        for x in np.flatnonzero(~tokens.is_followed):
            found.setdefault(table.texts.ids[x], []).append(name)
    return found


def segments(
    table: ScoreTable, kind: str, texts: corpus.Corpus | None = None
) -> ScoreTable:
    """Returns the table of the segments of all texts, in order.

    Texts that some model does not follow are left out, with a warning. Where a
    model does not score the first token of a text, the text begins at the first
    common boundary behind it, for all models.

    Args:
      table: A table of texts, with tokens of every model.
      kind: Where to cut, at common boundaries alone: "text" nowhere; "line",
        "sentence" and "word" where those end, "word" where indentation does as
        well; "bytes:64" at the first one at or
        behind each 64 bytes, "token" at all of them.
      texts: Corpus with the texts themselves, in any order; for lines,
        sentences and words, where the table does not hold them.

    Raises:
      ValueError: A kind that is none; tokens were not kept; the texts are
        missing, or others; no text can be followed; no text has a common
        boundary inside it.
    """
    name, num_bytes = checked_kind(kind)
    if table.places is not None:
        raise ValueError("the table's rows are segments already; cut its texts")
    # Read once: files are opened, checked and selected each time.
    table = _followed(
        dataclasses.replace(table, tokens=dict(_tokens_of(table)))
    )
    common = _common_boundaries(table)
    if name == "text":
        cuts = common.ends
    elif name == "token":
        cuts = common.inner
    elif name == "bytes":
        cuts = _each_bytes(common, num_bytes)
    else:
        raw = _raw_texts(table, texts)
        cuts = _where_matches_end(common, raw, _PATTERNS[name])
    return _cut(table, common, np.union1d(cuts, common.ends))


class _Common(NamedTuple):
    """The common boundaries of all texts, one behind the other.

    Each text has its bytes and one more, so that where it ends is not where
    the next begins.

    Attributes:
      bases: Where each text begins, int64 [X].
      ends: Where each text ends, int64 [X].
      inner: All common boundaries, the ends too, sorted, int64.
      firsts: Where what all models score begins, int64 [X].
      of_tokens: For each model, where its tokens end, int64 [N].
    """

    bases: np.ndarray
    ends: np.ndarray
    inner: np.ndarray
    firsts: np.ndarray
    of_tokens: list[np.ndarray]


def _tokens_of(table: ScoreTable) -> Iterator[tuple[str, TokenScores]]:
    """Yields each model's name and tokens."""
    for model in table.models:
        if table.tokens is None or model.name not in table.tokens:
            raise ValueError(
                f"model {model.name!r}: its tokens were not kept, and segments "
                "are made of them; score with --keep_tokens (and --rescore, "
                "where there are scores)"
            )
        yield model.name, table.tokens[model.name]


def _followed(table: ScoreTable) -> ScoreTable:
    """Returns the texts that all models follow."""
    left_out = unfollowed_texts(table)
    if not left_out:
        return table
    if len(left_out) == len(table.texts):
        raise ValueError(
            "no text can be cut into segments: of each there is a model whose "
            "tokens cannot be followed through its bytes (leave models out "
            "with --only_models); the first is " + _named(left_out)
        )
    logging.warning(
        "%d of %d texts are left out of the segments, for a model's tokens "
        "cannot be followed through their bytes: %s",
        len(left_out),
        len(table.texts),
        _named(left_out),
    )
    return table.select(
        texts=np.array([id_ not in left_out for id_ in table.texts.ids])
    )


def _named(left_out: dict[str, list[str]]) -> str:
    first = itertools.islice(left_out.items(), _NUM_NAMED)
    return ", ".join(f"{id_!r} (by {names[0]})" for id_, names in first)


def _common_boundaries(table: ScoreTable) -> _Common:
    num_bytes = np.zeros(len(table.texts), np.int64)
    read = [tokens for _, tokens in _tokens_of(table)]
    for tokens in read:
        has_tokens = np.diff(tokens.starts) > 0
        last = tokens.starts[1:][has_tokens] - 1
        num_bytes[has_tokens] = tokens.end_bytes[last]
    bases = np.concatenate([[0], np.cumsum(num_bytes + 1)[:-1]])
    ends, inner, firsts, of_tokens = bases + num_bytes, None, bases, []
    for (name, _), tokens in zip(_tokens_of(table), read, strict=True):
        lengths = np.diff(tokens.starts)
        places = np.repeat(bases, lengths) + tokens.end_bytes
        of_text = np.repeat(np.arange(len(lengths)), lengths)
        damaged = lengths == 0
        last = tokens.starts[1:][~damaged] - 1
        damaged[~damaged] = places[last] != ends[~damaged]
        falls = (np.diff(places) < 0) & (np.diff(of_text) == 0)
        damaged[of_text[places < bases[of_text]]] = True
        damaged[of_text[1:][falls]] = True
        for x in np.flatnonzero(damaged)[:1]:
            raise ValueError(
                f"model {name!r}: the tokens of text {table.texts.ids[x]!r} do "
                "not lead to its end byte by byte, as those of other models "
                "do; score it again"
            )
        # A space that a tokenizer puts before a text ends where it begins.
        mine = np.setdiff1d(places, bases)
        inner = mine if inner is None else np.intersect1d(inner, mine, True)
        # Where the unscored tokens at the front of a text end.
        unscored = np.isnan(tokens.nll_nats)
        behind = bases.copy()
        np.maximum.at(behind, of_text[unscored], places[unscored])
        firsts = np.maximum(firsts, behind)
        of_tokens.append(places)
    if (num_bytes > 1).any() and np.isin(inner, ends).all():
        logging.warning(
            "the tokenizers of these models share no boundary inside any text: "
            "each text is one segment"
        )
    # The first common boundary there or behind: the end of the text at last.
    firsts = np.where(
        firsts > bases,
        inner[np.minimum(np.searchsorted(inner, firsts), len(inner) - 1)],
        bases,
    )
    return _Common(bases, ends, inner, firsts, of_tokens)


def _each_bytes(common: _Common, num_bytes: int) -> np.ndarray:
    """Returns the first common boundary at or behind each n bytes."""
    wanted = [
        np.arange(base + num_bytes, end, num_bytes)
        for base, end in zip(common.bases, common.ends, strict=True)
    ]
    places = np.searchsorted(common.inner, np.concatenate([_NOWHERE, *wanted]))
    return np.unique(common.inner[places])


def _where_matches_end(
    common: _Common, raw: Sequence[str], patterns: Sequence[re.Pattern]
) -> np.ndarray:
    """Returns the common boundaries at which a pattern's match ends."""
    wanted = []
    for base, text in zip(common.bases, raw, strict=True):
        ends = [m.end() for p in patterns for m in p.finditer(text)]
        if not ends:
            continue
        before = np.array(ends)
        if not text.isascii():
            points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            sizes = 1 + sum((points >= at) for at in (0x80, 0x800, 0x10000))
            before = np.concatenate([[0], np.cumsum(sizes)])[before]
        wanted.append(base + before)
    return np.intersect1d(np.concatenate([_NOWHERE, *wanted]), common.inner)


def _raw_texts(table: ScoreTable, texts: corpus.Corpus | None) -> list[str]:
    """Returns the texts of a table, which are checked by their hashes."""
    texts = table.texts if texts is None else texts
    if texts.texts is None:
        raise ValueError(
            "lines, sentences and words need the texts themselves, which the "
            "table does not hold; give their corpus (--corpus)"
        )
    index = {id_: i for i, id_ in enumerate(texts.ids)}
    found = []
    for id_, sha256 in zip(table.texts.ids, table.texts.sha256, strict=True):
        if id_ not in index:
            raise ValueError(f"the corpus has no text {id_!r}, which is scored")
        i = index[id_]
        if sha256 and texts.sha256[i] != sha256:
            raise ValueError(
                f"text {id_!r} of the corpus is not the one that was scored"
            )
        found.append(texts.texts[i])
    return found


def _cut(table: ScoreTable, common: _Common, cuts: np.ndarray) -> ScoreTable:
    """Returns the table of the segments that end at the cuts."""
    skipped = common.firsts > common.bases
    cuts = np.union1d(cuts, common.firsts[skipped])
    of_text = np.searchsorted(common.ends, cuts)
    starts = np.maximum(np.concatenate([[0], cuts[:-1]]), common.bases[of_text])
    # What some model does not score is no segment.
    kept = np.flatnonzero(cuts > common.firsts[of_text])
    if not kept.size:
        raise ValueError("no text has a segment that all models score")
    shape = len(table.models), len(cuts)
    nll = np.empty(shape)
    num_tokens, num_scored = np.empty((2, *shape), np.int64)
    for m, (_, tokens) in enumerate(_tokens_of(table)):
        row = np.searchsorted(cuts, common.of_tokens[m])
        # In order, in float64: the same bits on every machine.
        scored = ~np.isnan(tokens.nll_nats)
        values = np.where(scored, tokens.nll_nats.astype(np.float64), 0.0)
        nll[m] = np.bincount(row, values, len(cuts))
        num_tokens[m] = np.bincount(row, minlength=len(cuts))
        num_scored[m] = np.bincount(row, scored, len(cuts))
    of_text, starts, cuts = of_text[kept], starts[kept], cuts[kept]
    sizes = cuts - starts
    num_bytes = common.ends - np.maximum(common.firsts, common.bases)
    shares = sizes / num_bytes[of_text]
    start_bytes = starts - common.bases[of_text]
    num_chars = None
    if (table.texts.num_chars > 0).all():
        # By all bytes: the ratio is that of the text as it is.
        ratios = table.texts.num_chars / (common.ends - common.bases)
        num_chars = sizes * ratios[of_text]
    text_ids = tuple(table.texts.ids[x] for x in of_text)
    return ScoreTable(
        models=table.models,
        texts=corpus.Corpus(
            ids=tuple(
                f"{id_}[{start}:{start + size}]"
                for id_, start, size in zip(
                    text_ids, start_bytes, sizes, strict=True
                )
            ),
            domains=tuple(table.texts.domains[x] for x in of_text),
            num_bytes=sizes,
            num_chars=np.zeros(len(sizes), np.int64),
            sha256=("",) * len(sizes),
            texts=None,
            dates=table.texts.dates
            and tuple(table.texts.dates[x] for x in of_text),
        ),
        nll_nats=nll[:, kept],
        num_tokens=num_tokens[:, kept],
        num_scored=num_scored[:, kept],
        chars_per_token=table.chars_per_token,
        places=Places(text_ids, start_bytes, shares, num_chars),
    )
