"""Two score tables of the same models and texts, side by side.

M models, X texts.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.scores.table import ScoreTable


class Differences(NamedTuple):
    """How far the scores of one table are from another's.

    Attributes:
      nats_per_token: |nll - nll'| / t with t the tokens that are scored,
        float64 [M, X].
      relative: |nll - nll'| / |nll|, float64 [M, X]; 0 where both are equal.
    """

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
    difference = np.abs(other.losses("nats_per_token") - per_token)
    if not np.array_equal(table.num_scored, other.num_scored):
        m, x = np.argwhere(table.num_scored != other.num_scored)[0]
        raise ValueError(
            f"model {names[m]!r}: text {table.texts.ids[x]!r} has other tokens "
            "in the two tables"
        )
    relative = np.divide(
        difference,
        np.abs(per_token),
        out=np.zeros_like(difference),
        where=difference > 0,
    )
    return Differences(difference, relative)


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
