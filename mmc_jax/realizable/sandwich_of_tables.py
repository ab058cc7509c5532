"""The oracle between what exists: single models above it, mixtures too.

M models, X texts, S subsets, F frontier points.

For k models with uniform weights, on every text and however long it is,

    oracle_S(x) <= mix_S(x) <= oracle_S(x) + log k nats.

All models of the subset run, which is what the oracle's cost counts as well. So
a system that knows nothing attains the oracle frontier to within log k nats a
text. It is a theorem of likelihood only: accuracies have no mixture. And it
needs models whose probabilities of all texts sum to 1 at most. Scores of
canonical tokenizations do (each text counts one of its tokenizations), and so
the mixture is a code, too.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from mmc_jax import frontier, law, oracle
from mmc_jax.law.points import spread_places
from mmc_jax.oracle import portable
from mmc_jax.oracle.exact_mixing import mixtures_at_once
from mmc_jax.oracle.subset_minima import minima_of_subsets
from mmc_jax.realizable.held_out_mixtures import (
    HeldOutSystems,
    held_out_systems,
)
from mmc_jax.realizable.weights import FittedWeights, fitted_weights
from mmc_jax.scores import ScoreTable, nll_of_table, summed

# A search of (losses [M, X], costs [M]), such as `frontier.pruned`.
Search = Callable[[np.ndarray, np.ndarray], frontier.Frontier]

# Roundings of a text's number by which a bound may seem to be broken.
_ROUNDINGS = 8 * np.finfo(np.float64).eps

# Texts of all subsets together whose mixtures are worked out to the last bit:
# 6,000 subsets of 20,000 texts, or 134 of a million.
_MOST_NUMBERS = 2**27


class Systems(NamedTuple):
    """What one subset of models reaches, in nats a text, weights of texts 1.

    Attributes:
      models: Names of the subset's models.
      num_texts: Number of texts that the means are over.
      best_single: Least mean nll of a single model of the whole table.
      oracle: Mean over texts of the least nll of the subset.
      uniform: Mean nll of the mixture with uniform weights.
      fitted: Weights fitted to the texts, with their nll and gap.
      largest_overhead: Largest nll of a text under the uniform mixture beyond
        the oracle's; log k at most.
      bound: log k, in nats.
    """

    models: tuple[str, ...]
    num_texts: int
    best_single: float
    oracle: float
    uniform: float
    fitted: FittedWeights
    largest_overhead: float
    bound: float

    @property
    def mean_overhead(self) -> float:
        """Nats a text of the uniform mixture beyond the oracle."""
        return self.uniform - self.oracle

    def gain_share(self, nll_nats: float) -> float:
        """Returns the share of the oracle's gain that a mean nll has.

        NaN where the oracle gains nothing.

        Args:
          nll_nats: Mean nll of a text, in nats.
        """
        gain = self.best_single - self.oracle
        return (self.best_single - nll_nats) / gain if gain else np.nan


class Length(NamedTuple):
    """What all models reach where one choice holds for several rows.

    Attributes:
      num_rows: Largest number of rows that are one text; None for all rows of a
        group.
      mean_rows: Mean number of rows of a text.
      systems: What all models reach on these texts, in nats a text.
    """

    num_rows: int | None
    mean_rows: float
    systems: Systems

    @property
    def pays(self) -> bool:
        """Whether the uniform mixture loses less than the best model."""
        return self.systems.uniform < self.systems.best_single


class Sandwich(NamedTuple):
    """Single models, the oracle and mixtures of one table.

    Attributes:
      table: Scores in nats of all texts.
      normalisation: One of `scores.NORMALISATIONS`, which all losses have.
      cost: Name of the cost.
      single: Frontier of the single models.
      oracle: Frontier of the oracle.
      mixture: Frontier of the mixtures with uniform weights.
      laws: Law of each frontier, by "single", "oracle" and "mixture"; without
        those that cannot be fitted.
      reasons: Why a law was not fitted, by the same names.
      mixed: Mixture loss of each subset of the oracle's frontier, [F]. Where F
        X exceeds 2^27, of as many as that allows, spread evenly over the
        frontier; NaN for the others.
      bounds: Oracle loss of each of these subsets plus log k nats a text, [F].
      mean_overheads: Mean nats of a text beyond the oracle, [F]; NaN as `mixed`
        is.
      largest_overheads: Largest nats of a text beyond the oracle, [F]; NaN as
        `mixed` is.
      systems: What all models reach, and the models of the mixture of the
        least loss.
      held_out: What all models reach on held-out texts; None without these.
      lengths: What all models reach where one choice holds for longer texts;
        empty where that was not asked for.
    """

    table: ScoreTable
    normalisation: str
    cost: str
    single: frontier.Frontier
    oracle: frontier.Frontier
    mixture: frontier.Frontier
    laws: dict[str, law.Fit]
    reasons: dict[str, str]
    mixed: np.ndarray
    bounds: np.ndarray
    mean_overheads: np.ndarray
    largest_overheads: np.ndarray
    systems: tuple[Systems, ...]
    held_out: HeldOutSystems | None
    lengths: tuple[Length, ...]

    @property
    def pays_from(self) -> float | None:
        """Mean rows from which on the uniform mixture pays; None if never.

        At all longer ones of `lengths` it loses less than the best model, too.
        """
        paying = None
        for one in reversed(self.lengths):
            if not one.pays:
                break
            paying = one.mean_rows
        return paying


def sandwich(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: Search = frontier.pruned,
    exhaustive: bool = False,
    held_out: float = 0.0,
    by_domain: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
    lengths: Sequence[Length] = (),
) -> Sandwich:
    """Returns the frontiers of single models, oracle and mixtures.

    Args:
      table: Scores in nats, of full texts.
      normalisation: One of `scores.NORMALISATIONS` that divides a text's nll
        under all models by one number.
      cost: Name of a cost that every model has.
      search: Search of the oracle's frontier.
      exhaustive: Whether the mixtures of all subsets are tried, of up to 20
        models.
      held_out: Share of the texts that choose nothing; 0 for none. The
        frontiers are over all texts.
      by_domain: Whether texts of one domain stay together where texts are held
        out or resampled.
      num_resamples: Number of resamples of the held-out texts.
      seed: Seed of all random choices.
      lengths: What `by_length` returns, where it was asked for.

    Raises:
      ValueError: Scores that are no sums in nats; the table lacks what the
        normalisation or the cost needs.
      ArithmeticError: A mixture outside its bounds, which the theorem excludes.
    """
    nll, costs = nll_of_table(table), table.costs(cost)
    divisors = table.lengths(normalisation)
    losses = table.losses(normalisation)
    away = None
    if held_out:
        away = held_out_systems(table, held_out, by_domain, num_resamples, seed)
    pool = search(losses, costs)
    with tqdm.tqdm(desc="mixing", unit="subset") as bar:
        mixture = frontier.mixture(
            nll,
            costs,
            lengths=divisors,
            starts=pool.masks,
            exhaustive=exhaustive,
            on_progress=bar.update,
        )
    lines = {
        "single": frontier.single_models(losses, costs),
        "oracle": pool,
        "mixture": mixture,
    }
    laws, reasons = law.fit_each(
        {name: (line.costs, line.losses) for name, line in lines.items()}
    )
    laws = {name: found.fit for name, found in laws.items()}
    mixed, mean, largest = _mixtures_of(pool.masks, nll, divisors)
    of_all = np.ones(len(costs), bool)
    best = mixture.masks[-1]
    return Sandwich(
        table=table,
        normalisation=normalisation,
        cost=cost,
        **lines,
        laws=laws,
        reasons=reasons,
        mixed=mixed,
        bounds=pool.losses
        + _log(pool.masks.sum(axis=1))
        * oracle.exact_means(1 / divisors[None])[0],
        mean_overheads=mean,
        largest_overheads=largest,
        systems=tuple(
            systems(table, mask)
            for mask in ([of_all] if best.all() else [of_all, best])
        ),
        held_out=away,
        lengths=tuple(lengths),
    )


def overheads(nll_nats: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the nats of each text beyond the oracle, uniform weights: [X].

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X].
      mask: Models of the subset, bool [M].

    Raises:
      ArithmeticError: One is below 0 or above log k by more than roundings.

    >>> overheads(np.array([[1.0, 9.0], [1.0, 2.0]]), np.array([True, True]))
    array([0.        , 0.69223571])
    """
    return _mixed_and_beyond(nll_nats, mask[None])[1][0]


def _mixtures_of(
    masks: np.ndarray, nll: np.ndarray, divisors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns losses of mixtures, mean and largest nats beyond the oracle: [F].

    NaN for subsets that are left out because there are too many.
    """
    mixed, mean, largest = np.full((3, len(masks)), np.nan)
    num_texts = nll.shape[1]
    some = spread_places(len(masks), max(2, _MOST_NUMBERS // num_texts))
    with tqdm.tqdm(total=len(some), desc="checking bounds") as bar:
        for places in mixtures_at_once(len(some), num_texts):
            chosen = some[places]
            rows, beyond = _mixed_and_beyond(nll, masks[chosen])
            mixed[chosen] = oracle.exact_means(rows / divisors)
            mean[chosen] = oracle.exact_means(beyond)
            largest[chosen] = beyond.max(axis=1)
            bar.update(len(chosen))
    return mixed, mean, largest


def _mixed_and_beyond(
    nll_nats: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns nll of mixtures, and what they have beyond the oracle's: [S, X].

    Raises:
      ArithmeticError: Nats beyond the oracle that the theorem excludes.
    """
    mixed = oracle.mixture_nll(nll_nats, masks)
    least = minima_of_subsets(nll_nats, masks)
    beyond = mixed - least
    bound = _log(masks.sum(axis=1))[:, None]
    rounding = _ROUNDINGS * (1 + bound + least)
    broken = (beyond < -rounding) | (beyond > bound + rounding)
    if broken.any():
        s, x = np.argwhere(broken)[0]
        raise ArithmeticError(
            f"text {x}: the mixture is {beyond[s, x]} nats beyond the oracle, "
            f"and at most {bound[s, 0]} is possible: a rounding error or a "
            "fault here."
        )
    # Differences of large numbers round to just outside of the bounds.
    return mixed, np.clip(beyond, 0, bound)


def systems(table: ScoreTable, mask: np.ndarray) -> Systems:
    """Returns what a subset's models reach, in nats a text.

    Args:
      table: Scores in nats, of full texts.
      mask: Models of the subset, bool [M].

    Raises:
      ValueError: Scores that are no sums in nats.
      ArithmeticError: A mixture outside its bounds.
    """
    nll = nll_of_table(table)
    return Systems(
        models=tuple(table.models[m].name for m in np.flatnonzero(mask)),
        num_texts=nll.shape[1],
        best_single=float(oracle.exact_means(nll).min()),
        oracle=float(oracle.exact_losses(nll, mask[None])[0]),
        uniform=float(oracle.exact_mixture_losses(nll, mask[None])[0]),
        fitted=fitted_weights(nll[mask]),
        largest_overhead=float(overheads(nll, mask).max()),
        bound=float(_log(mask.sum())),
    )


def by_length(table: ScoreTable, groups: Sequence[str]) -> list[Length]:
    """Returns what all models reach where a choice holds for 1, 2, 4 ... rows.

    The bound of log k nats is for a text, so it is small beside what there is
    to gain on a long one. Rows of a group that follow one another are put
    together, and in the end all of a group.

    Args:
      table: Scores in nats, a row a text, such as the words of sentences.
      groups: Group of each row, [X], such as its sentence or domain.

    Raises:
      ValueError: Scores that are no sums in nats; not one group for each row.
    """
    places, count = [], dict.fromkeys(groups, 0)
    for group in groups:
        places.append(count[group])
        count[group] += 1
    longest = max(count.values())
    sizes = [2**i for i in range(longest.bit_length()) if 2**i < longest]
    of_all = np.ones(len(table.models), bool)
    found = []
    for size in [*sizes, None]:
        names = [
            group if size is None else f"{group}\n{place // size}"
            for group, place in zip(groups, places, strict=True)
        ]
        texts = summed(table, names)
        found.append(
            Length(
                size,
                len(table.texts) / len(texts.texts),
                systems(texts, of_all),
            )
        )
    return found


def _log(count: np.ndarray) -> np.ndarray:
    """Returns the logarithm of counts with the same bits on every machine."""
    return portable.log(count)
