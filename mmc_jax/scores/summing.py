"""Texts put together: the scores of longer texts out of those of shorter ones.

M models, X texts, G groups.
"""

from collections.abc import Sequence

import numpy as np

from mmc_jax import corpus
from mmc_jax.scores.table import ScoreTable


def summed(table: ScoreTable, groups: Sequence[str]) -> ScoreTable:
    """Returns the table whose texts are the groups, in order of appearance.

    A group's nll, tokens, bytes and characters are the sums of its texts'. The
    nll of a full text is such a sum where each score is of a piece given all
    before it, as surprisals of words are. For texts that were scored alone it
    is the nll of choosing once for several texts. A group's domain is that of
    its texts, "" where they differ.

    Args:
      table: Sums in nats of each text.
      groups: Name of the group of each text, [X].

    Raises:
      ValueError: Not one group for each text; scores that are no sums in nats.
    """
    if len(groups) != len(table.texts):
        raise ValueError(
            f"{len(groups)} groups for {len(table.texts)} texts: one for each "
            "is needed."
        )
    nll_of_table(table)
    names = list(dict.fromkeys(groups))
    numbers = {name: i for i, name in enumerate(names)}
    index = np.array([numbers[name] for name in groups])
    domains: list[str | None] = [None] * len(names)
    for i, domain in zip(index, table.texts.domains, strict=True):
        domains[i] = domain if domains[i] in (None, domain) else ""

    def sums(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        found = np.zeros((*values.shape[:-1], len(names)), values.dtype)
        # Text after text: the same sums on every machine.
        np.add.at(found, (..., index), values)
        return found

    return ScoreTable(
        models=table.models,
        texts=corpus.Corpus(
            ids=tuple(names),
            domains=tuple(domain or "" for domain in domains),
            num_bytes=sums(table.texts.num_bytes),
            num_chars=sums(table.texts.num_chars),
            sha256=("",) * len(names),
            texts=None,
            dates=_common_dates(table.texts.dates, index, len(names)),
        ),
        nll_nats=sums(table.nll_nats),
        num_tokens=sums(table.num_tokens),
        num_scored=sums(table.num_scored),
        chars_per_token=table.chars_per_token,
        unit=table.unit,
        query_costs=sums(table.query_costs),
    )


def _common_dates(
    dates: tuple[str, ...] | None, index: np.ndarray, number: int
) -> tuple[str, ...] | None:
    """Returns the date that all texts of a sum have, "" where they differ."""
    if dates is None:
        return None
    found: list[str | None] = [None] * number
    for i, date in zip(index, dates, strict=True):
        found[i] = date if found[i] in (None, date) else ""
    return tuple(date or "" for date in found)


def nll_of_table(table: ScoreTable) -> np.ndarray:
    """Returns the nll in nats of each text, [M, X], if the scores are that.

    Args:
      table: Scores of any unit.

    Raises:
      ValueError: The scores are something else, or nothing says what they are;
        a score below 0, which no likelihood of a text has.
    """
    if table.unit != "nll_nats":
        what = table.unit or "of no stated unit"
        raise ValueError(
            f"the scores are {what}; a mixture adds probabilities, so it needs "
            "sums in nats (--value=nll_nats if these are)"
        )
    bad = table.nll_nats < 0
    if bad.any():
        m, x = np.argwhere(bad)[0]
        raise ValueError(
            f"model {table.models[m].name!r}: the score of text "
            f"{table.texts.ids[x]!r} is {table.nll_nats[m, x]:g}; an nll is "
            "not negative, so these scores are no sums in nats"
        )
    return table.nll_nats
