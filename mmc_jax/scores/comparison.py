"""Scores of the same texts side by side: of two tables, or of two models.

M models, X texts.
"""

from typing import NamedTuple

import numpy as np
from absl import logging

from mmc_jax.scores.table import ScoreTable


class Differences(NamedTuple):
    """How far some scores are from others, which they are compared with.

    Attributes:
      increase: (nll' - nll) / t with t the tokens that are scored, float64
        [M, X]: nats per token by which nll' is worse; below 0 where it is
        better.
      nats_per_token: |nll - nll'| / t with t the tokens that are scored,
        float64 [M, X].
      relative: |nll - nll'| / |nll|, float64 [M, X]; 0 where both are equal.
    """

    increase: np.ndarray
    nats_per_token: np.ndarray
    relative: np.ndarray


class Distribution(NamedTuple):
    """How a value is distributed over the texts, for each of M models.

    Attributes:
      mean: Mean over the texts, float64 [M].
      median: Median over the texts, float64 [M].
      percentile_95: What 95 percent of the texts do not exceed, float64 [M].
      max: Largest value of a text, float64 [M].
    """

    mean: np.ndarray
    median: np.ndarray
    percentile_95: np.ndarray
    max: np.ndarray


class Agreement(NamedTuple):
    """How far two tables agree on the models and texts that both have.

    Attributes:
      models: Names of the common models, [M].
      text_ids: Ids of the common texts, [X].
      bias: Mean of the other table's scores minus this one's, float64 [M].
      spread: Standard deviation of that difference over the texts, float64
        [M].
      largest: Largest difference of a text, without its sign, float64 [M].
      ranks: Place of each model by its mean score in this table, 1 for the
        least, int64 [M]; equal means share the better place.
      other_ranks: Place of each model in the other table, int64 [M].
      difference: The other table's scores minus this one's, float64 [M, X].
    """

    models: tuple[str, ...]
    text_ids: tuple[str, ...]
    bias: np.ndarray
    spread: np.ndarray
    largest: np.ndarray
    ranks: np.ndarray
    other_ranks: np.ndarray
    difference: np.ndarray

    def worst_texts(self, num_texts: int) -> list[tuple[str, str, float]]:
        """Returns text, model and difference where the tables differ most.

        Args:
          num_texts: Number of texts to return, at most; each stands there with
            the model that it differs most under.
        """
        size = np.abs(self.difference)
        models = size.argmax(axis=0)
        largest = size.max(axis=0)
        return [
            (
                self.text_ids[x],
                self.models[models[x]],
                float(self.difference[models[x], x]),
            )
            for x in np.argsort(-largest, kind="stable")[:num_texts]
        ]


def agreement(table: ScoreTable, other: ScoreTable) -> Agreement:
    """Returns how far two tables agree; texts are matched by their ids.

    Models and texts that one table has alone are left out, with a warning.

    Args:
      table: Scores that the differences are relative to.
      other: Scores of the same texts and models, made at another time, in
        another dtype or by another tool.

    Raises:
      ValueError: The tables have other units or only one says its unit, no
        common model or text, or other texts under one id.
    """
    if None not in (table.unit, other.unit) and table.unit != other.unit:
        raise ValueError(
            f"the tables have other units, {table.unit} and {other.unit}"
        )
    if (table.unit is None) != (other.unit is None):
        raise ValueError(
            f"the unit of one table is {table.unit or other.unit}, and that of "
            "the other is not said; say it by --value"
        )
    names, other_names = (
        [model.name for model in t.models] for t in (table, other)
    )
    models = _common("model", names, other_names)
    text_ids = _common("text", table.texts.ids, other.texts.ids)
    places = [
        {text_id: x for x, text_id in enumerate(t.texts.ids)}
        for t in (table, other)
    ]
    rows = [[place[text_id] for text_id in text_ids] for place in places]
    for text_id, x, y in zip(text_ids, *rows, strict=True):
        hashes = {table.texts.sha256[x], other.texts.sha256[y]} - {""}
        if len(hashes) > 1:
            raise ValueError(f"the text {text_id!r} is another in each table")
    first, second = (
        t.select(models=models, texts=of).nll_nats
        for t, of in zip((table, other), rows, strict=True)
    )
    difference = second - first
    return Agreement(
        models=tuple(models),
        text_ids=tuple(text_ids),
        bias=difference.mean(axis=1),
        spread=difference.std(axis=1),
        largest=np.abs(difference).max(axis=1),
        ranks=_ranks(first.mean(axis=1)),
        other_ranks=_ranks(second.mean(axis=1)),
        difference=difference,
    )


def _common(kind: str, names: list[str], others: list[str]) -> list[str]:
    """Returns the names that both have, in the order of the first."""
    there = set(others)
    common = [name for name in names if name in there]
    if not common:
        raise ValueError(
            f"the tables have no common {kind}: {', '.join(names[:3])}, ... "
            f"and {', '.join(others[:3])}, ..."
        )
    alone = len(names) - len(common), len(others) - len(common)
    if any(alone):
        logging.warning(
            "%d %ss of the first table and %d of the second are left out: the "
            "other table does not have them",
            alone[0],
            kind,
            alone[1],
        )
    return common


def _ranks(means: np.ndarray) -> np.ndarray:
    """Returns the place of each mean, 1 for the least, int64 [M]."""
    return 1 + (means[None, :] < means[:, None]).sum(axis=1)


def differences(table: ScoreTable, other: ScoreTable) -> Differences:
    """Returns the differences of a table's scores from another's.

    Args:
      table: Scores that the differences are relative to.
      other: Scores of the same texts under the same models and tokenizers, made
        in another way.

    Raises:
      ValueError: Other models or texts, other tokens of a text, no token counts
        or a text of which a model scored no token.
    """
    names, other_names = (
        [model.name for model in t.models] for t in (table, other)
    )
    if names != other_names:
        raise ValueError(
            f"the tables have other models: {', '.join(names)} and "
            f"{', '.join(other_names)}"
        )
    if (table.texts.ids, table.texts.sha256) != (
        other.texts.ids,
        other.texts.sha256,
    ):
        raise ValueError(
            f"the tables have other texts, {len(table.texts)} and "
            f"{len(other.texts)}"
        )
    per_token = table.losses("nats_per_token")
    other_per_token = other.losses("nats_per_token")
    if not np.array_equal(table.num_scored, other.num_scored):
        m, x = np.argwhere(table.num_scored != other.num_scored)[0]
        raise ValueError(
            f"model {names[m]!r}: text {table.texts.ids[x]!r} has other tokens "
            "in the two tables"
        )
    return _between(per_token, other_per_token)


def pair_differences(table: ScoreTable, first: str, second: str) -> Differences:
    """Returns the differences of one model's scores from another's: [1, X].

    What quantisation costs on some texts, say: the first model is a checkpoint
    and the second its quantised file.

    Args:
      table: Scores of both models.
      first: Name of the model that the differences are relative to.
      second: Name of the model that is compared with it.

    Raises:
      ValueError: No such model, no token counts, a text of which a model scored
        no token, or a text with other tokens under the two.
    """
    names = [model.name for model in table.models]
    for name in (first, second):
        if name not in names:
            raise ValueError(
                f"no model {name!r} in the table; it has {', '.join(names)}"
            )
    a, b = ([names.index(name)] for name in (first, second))
    per_token = table.losses("nats_per_token")
    other_tokens = table.num_scored[a] != table.num_scored[b]
    if other_tokens.any():
        text = table.texts.ids[np.argwhere(other_tokens)[0][1]]
        raise ValueError(
            f"{first!r} and {second!r}: text {text!r} has other tokens under "
            "the two, so that losses per token do not compare; they are not "
            "one model in two files"
        )
    return _between(per_token[a], per_token[b])


def _between(per_token: np.ndarray, other: np.ndarray) -> Differences:
    increase = other - per_token
    difference = np.abs(increase)
    relative = np.divide(
        difference,
        np.abs(per_token),
        out=np.zeros_like(difference),
        where=difference > 0,
    )
    return Differences(increase, difference, relative)


def distribution(values: np.ndarray) -> Distribution:
    """Returns how values are distributed over the texts, of each model.

    Args:
      values: Value of each text under each model, [M, X].

    >>> distribution(np.array([[1.0, 2.0, 6.0]])).median.tolist()
    [2.0]
    """
    median, percentile_95 = np.percentile(values, (50, 95), axis=1)
    return Distribution(
        values.mean(axis=1), median, percentile_95, values.max(axis=1)
    )
