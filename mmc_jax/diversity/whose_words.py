"""Whose words: which families win which kinds of segments.

M models, Y segments.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax import corpus
from mmc_jax.scores import ScoreTable

# Tried in this order, on a segment without the white space around it. None goes
# back in a segment: a million digits may stand in a row.
_RULES = (
    ("number", re.compile(r"[+-]?(?=[.,_]*+\d)[\d.,_]++(?:[eE][+-]?\d+)?[%]?")),
    ("marks", re.compile(r"[^\w\s]+")),
    ("identifier", re.compile(r"(?=\w*?(?:_|\d|[a-z][A-Z]|[A-Z]{2}))\w++")),
    ("named thing", re.compile(r"[A-Z][a-z]+\w*")),
    ("word", re.compile(r"[^\W\d_]+")),
)
KINDS = ("indentation", "white space", *(name for name, _ in _RULES), "other")


class Winner(NamedTuple):
    """The family that wins most of a kind of segments.

    Attributes:
      domain: Domain of the texts; "" for all of them.
      kind: Kind of the segments, one of `KINDS`.
      num_segments: Number of such segments.
      shares: Share of them that each family wins, by its name; 1 in sum. Models
        that are equally good share a segment.
      losses: Mean loss of each family's best model on them, by its name, in
        nats per byte.
    """

    domain: str
    kind: str
    num_segments: int
    shares: dict[str, float]
    losses: dict[str, float]


class Span(NamedTuple):
    """One segment of a text, and who wins it.

    Attributes:
      text: Characters of the segment.
      kind: Its kind, one of `KINDS`.
      family: Family of the model of least loss.
      model: Name of that model.
      margin: Nats per byte that the best model of another family is behind; 0
        where there is no other family.
    """

    text: str
    kind: str
    family: str
    model: str
    margin: float


def kind_of_segment(text: str, *, begins_line: bool) -> str:
    """Returns the kind of a segment, one of `KINDS`, by simple rules.

    Args:
      text: Characters of the segment, with the white space around it.
      begins_line: Whether it is the first of its line.

    >>> kind_of_segment("    ", begins_line=True)
    'indentation'
    >>> kind_of_segment(" x_1", begins_line=False)
    'identifier'
    >>> kind_of_segment(" Paris", begins_line=False)
    'named thing'
    """
    core = text.strip()
    if not core:
        is_indented = bool(re.search(r"[ \t]\Z", text))
        in_front = begins_line or "\n" in text
        return "indentation" if is_indented and in_front else "white space"
    for name, pattern in _RULES:
        if pattern.fullmatch(core):
            return name
    return "other"


def texts_of_segments(
    cut: ScoreTable, texts: corpus.Corpus
) -> tuple[list[str], list[str]]:
    """Returns the characters of each segment, and its kind: [Y] each.

    Bytes of a cut character are shown as U+FFFD.

    Args:
      cut: A table of segments.
      texts: Corpus with the texts themselves.

    Raises:
      ValueError: The table's rows are texts; a text is missing.
    """
    if cut.places is None or texts.texts is None:
        raise ValueError("segments and the texts themselves are needed")
    raw = dict(zip(texts.ids, texts.texts, strict=True))
    found, kinds = [], []
    encoded: tuple[str, bytes] = ("", b"")
    end, begins = 0, True
    for id_, start, size in zip(
        cut.places.text_ids,
        cut.places.start_bytes.tolist(),
        cut.texts.num_bytes.tolist(),
        strict=True,
    ):
        if id_ not in raw:
            raise ValueError(f"the corpus has no text {id_!r}, which is scored")
        if encoded[0] != id_:
            encoded, end = (id_, raw[id_].encode()), -1
        if start != end:
            begins = start == 0 or encoded[1][start - 1 : start] == b"\n"
        piece = encoded[1][start : start + size].decode(errors="replace")
        found.append(piece)
        kinds.append(kind_of_segment(piece, begins_line=begins))
        # Whether there is nothing but white space on the line so far.
        _, line_end, line = piece.rpartition("\n")
        begins = (begins or bool(line_end)) and not line.strip()
        end = start + size
    return found, kinds


def winners(cut: ScoreTable, texts: corpus.Corpus) -> list[Winner]:
    """Returns who wins each kind of segments, of all texts and by domain.

    Args:
      cut: A table of segments, such as words.
      texts: Corpus with the texts themselves.

    Raises:
      ValueError: What `texts_of_segments` refuses.
    """
    _, kinds = texts_of_segments(cut, texts)
    of_kind = np.array(kinds)
    families = _families(cut)
    names = sorted(set(families))
    wins = cut.nll_nats == cut.nll_nats.min(axis=0)
    shares = wins / wins.sum(axis=0)
    of_family = np.array(
        [shares[np.array(families) == name].sum(axis=0) for name in names]
    )
    domains = np.array(cut.texts.domains)
    found = []
    for domain in ("", *sorted(set(cut.texts.domains) - {""})):
        inside = (domains == domain) | (domain == "")
        for kind in KINDS:
            rows = inside & (of_kind == kind)
            if not rows.any():
                continue
            per_byte = cut.nll_nats[:, rows].sum(axis=1)
            per_byte /= cut.texts.num_bytes[rows].sum()
            found.append(
                Winner(
                    domain,
                    kind,
                    int(rows.sum()),
                    dict(
                        zip(
                            names,
                            of_family[:, rows].mean(axis=1).tolist(),
                            strict=True,
                        )
                    ),
                    {
                        name: float(per_byte[np.array(families) == name].min())
                        for name in names
                    },
                )
            )
    return found


def spans(cut: ScoreTable, texts: corpus.Corpus, text_id: str) -> list[Span]:
    """Returns the segments of one text with their winners, in order.

    Args:
      cut: A table of segments, such as words.
      texts: Corpus with the texts themselves.
      text_id: Id of the text.

    Raises:
      ValueError: The table has no such text; what `texts_of_segments` refuses.
    """
    rows = np.array([id_ == text_id for id_ in cut.places.text_ids])
    if not rows.any():
        raise ValueError(
            f"no segments of the text {text_id!r}; its tokens may not be "
            "followed by all models"
        )
    cut = cut.select(texts=rows)
    pieces, kinds = texts_of_segments(cut, texts)
    families = np.array(_families(cut))
    found = []
    for y, (piece, kind) in enumerate(zip(pieces, kinds, strict=True)):
        nll = cut.nll_nats[:, y]
        best = int(nll.argmin())
        others = nll[families != families[best]]
        behind = others.min() - nll[best] if len(others) else 0.0
        found.append(
            Span(
                piece,
                kind,
                str(families[best]),
                cut.models[best].name,
                float(behind / cut.texts.num_bytes[y]),
            )
        )
    return found


def _families(cut: ScoreTable) -> Sequence[str]:
    """Returns the family of each model; its name where there is none."""
    return [model.family or model.name for model in cut.models]
