"""What mixtures reach on texts that chose neither a model nor weights.

M models, X texts.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax import oracle
from mmc_jax.realizable.weights import fitted_weights
from mmc_jax.scores import ScoreTable, nll_of_table
from mmc_jax.statistics import (
    Estimate,
    estimate,
    held_out_texts,
    resampled_means,
)


class HeldOutSystems(NamedTuple):
    """What all models reach on texts that chose nothing, in nats a text.

    Attributes:
      num_chosen_on: Number of texts that chose the single model and the
        weights.
      num_held_out: Number of texts that all numbers are of.
      best_single: Mean nll of the model that the other texts chose.
      oracle: Mean over texts of the least nll.
      uniform: Mean nll of the mixture with uniform weights.
      fitted: Mean nll of the mixture with weights of the other texts.
      uniform_share: Share of the oracle's gain over the single model that
        uniform weights have, with an interval over texts. None where the oracle
        gains nothing, in a resample or in all texts.
      fitted_share: Share that fitted weights have, or None.
    """

    num_chosen_on: int
    num_held_out: int
    best_single: float
    oracle: float
    uniform: float
    fitted: float
    uniform_share: Estimate | None
    fitted_share: Estimate | None


def held_out_systems(
    table: ScoreTable,
    share: float,
    by_domain: bool,
    num_resamples: int,
    seed: int,
) -> HeldOutSystems:
    """Returns what all models reach on texts that chose nothing.

    Args:
      table: Scores in nats, of full texts.
      share: Share of the texts that choose nothing.
      by_domain: Whether texts of one domain stay together where texts are held
        out or resampled.
      num_resamples: Number of resamples of the held-out texts.
      seed: Seed of all random choices.

    Raises:
      ValueError: Scores that are no sums in nats; fewer than 2 texts or
        domains on a side; a share outside (0, 1).
    """
    nll = nll_of_table(table)
    clusters = np.array(table.texts.domains) if by_domain else None
    away = held_out_texts(nll.shape[1], clusters, share, seed)
    chosen_on, seen = nll[:, ~away], nll[:, away]
    of_all = np.ones((1, len(nll)), bool)
    best = int(oracle.exact_means(chosen_on).argmin())
    with np.errstate(divide="ignore"):
        logs = np.log(fitted_weights(chosen_on).weights)
    rows = np.stack(
        [
            seen[best],
            seen.min(axis=0),
            oracle.mixture_nll(seen, of_all)[0],
            oracle.mixture_nll(seen, of_all, logs)[0],
        ]
    )
    means = oracle.exact_means(rows)
    resampled = resampled_means(
        rows,
        None,
        clusters=None if clusters is None else clusters[away],
        num_resamples=num_resamples,
        seed=seed,
    )

    return HeldOutSystems(
        chosen_on.shape[1],
        seen.shape[1],
        *map(float, means),
        *_gain_shares(means, resampled),
    )


def _gain_shares(
    means: np.ndarray, resampled: np.ndarray
) -> tuple[Estimate | None, Estimate | None]:
    """Returns the mixtures' shares of the oracle's gain, [4] and [R, 4]."""
    rows = np.concatenate([means[None], resampled])
    gains = rows[:, 0] - rows[:, 1]
    if not (gains > 0).all():
        return None, None
    uniform, fitted = ((rows[:, :1] - rows[:, 2:]) / gains[:, None]).T
    return estimate(uniform[0], uniform[1:]), estimate(fitted[0], fitted[1:])
