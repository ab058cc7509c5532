"""Losses of each domain, and the texts at the ends of the scale.

M models, X texts, D domains, K texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.statistics import checked_losses


class DomainLosses(NamedTuple):
    """What models and their ideal choice lose in each domain.

    Attributes:
      domains: Name of each domain, [D], in the order of the alphabet.
      num_texts: Number of texts of each domain, int [D].
      losses: Mean loss of each model in each domain, [D, M].
      oracle: Oracle loss of all models together in each domain, [D].
    """

    domains: tuple[str, ...]
    num_texts: np.ndarray
    losses: np.ndarray
    oracle: np.ndarray


class ExtremeTexts(NamedTuple):
    """The texts that lose the most, and those on which the choice counts most.

    Attributes:
      worst: Texts with the largest least loss of all models, the largest
        first, int [K].
      contested: Texts on which the best model of the text gains the most over
        the model that is best on the mean of all texts, the largest gain first,
        int [K].
      best_model: Model that is best on the mean of all texts.
      gains: Gain on each text over that model, [X].
    """

    worst: np.ndarray
    contested: np.ndarray
    best_model: int
    gains: np.ndarray


def domain_losses(losses: ArrayLike, domains: Sequence[str]) -> DomainLosses:
    """Returns the mean losses of each domain, of the models and the oracle.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      domains: Domain of each text, [X].

    Raises:
      ValueError: Losses that are not finite; not one domain for each text.

    >>> found = domain_losses([[1.0, 4.0, 2.0], [3.0, 2.0, 2.0]], "aab")
    >>> found.domains, found.losses.tolist(), found.oracle.tolist()
    (('a', 'b'), [[2.5, 2.5], [2.0, 2.0]], [1.5, 2.0])
    """
    losses, _ = checked_losses(losses, None)
    if len(domains) != losses.shape[1]:
        raise ValueError(
            f"{len(domains)} domains for {losses.shape[1]} texts: one for each "
            "is needed."
        )
    names = tuple(sorted(set(domains)))
    place = {name: d for d, name in enumerate(names)}
    of_text = np.array([place[domain] for domain in domains])
    rows = [losses[:, of_text == d] for d in range(len(names))]
    return DomainLosses(
        names,
        np.array([row.shape[1] for row in rows]),
        np.array([oracle.exact_means(row) for row in rows]),
        np.array([float(oracle.exact_means(row.min(axis=0))) for row in rows]),
    )


def extreme_texts(losses: ArrayLike, num_texts: int = 10) -> ExtremeTexts:
    """Returns the texts that lose the most, and the most contested ones.

    Texts that are equal stay in the order of the table.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      num_texts: Number K of texts of each kind, at most all.

    Raises:
      ValueError: Losses that are not finite; num_texts below 1.

    >>> found = extreme_texts([[1.0, 4.0, 3.0], [3.0, 2.0, 2.9]], 1)
    >>> found.worst.tolist(), found.contested.tolist(), found.best_model
    ([2], [0], 1)
    """
    losses, _ = checked_losses(losses, None)
    if num_texts < 1:
        raise ValueError(f"num_texts is {num_texts}; at least 1 is needed.")
    least = losses.min(axis=0)
    best_model = int(oracle.exact_means(losses).argmin())
    gains = losses[best_model] - least
    worst, contested = (
        np.argsort(-values, kind="stable")[:num_texts]
        for values in (least, gains)
    )
    return ExtremeTexts(worst, contested, best_model, gains)
