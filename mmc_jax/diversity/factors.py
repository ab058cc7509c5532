"""What makes models complement each other: pairs by what they differ in.

M models, X texts, R seeds, B resamples of the texts.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from jax.typing import ArrayLike

from mmc_jax.diversity.gains import pair_gains
from mmc_jax.statistics.estimates import Estimate
from mmc_jax.statistics.inputs import checked_losses
from mmc_jax.statistics.resampling import resampled_counts
from mmc_jax.statistics.sums import weighted_sums

_MIN_SEEDS = 3  # The jackknife leaves one out, and two make a pair.
_SEED_ALONE = ("seed",)


class PairMean(NamedTuple):
    """The mean of a quantity over the pairs of a group.

    Attributes:
      estimate: The mean with its interval over seeds and texts.
      seed_error: Standard error from the choice of seeds.
      text_error: Standard error from the choice of texts.
    """

    estimate: Estimate
    seed_error: float
    text_error: float


class PairGroup(NamedTuple):
    """The pairs that differ in the same factors, and in nothing else.

    Attributes:
      factors: Factors in which the two models of a pair differ, the seed
        included.
      num_pairs: Number of pairs in the group.
      better_loss: Mean loss of the better model of a pair, mean over the pairs.
      other_loss: Mean loss of the other model of a pair, mean over the pairs.
      bonus: Gain of a pair over its better model, as in `pair_gains`.
      relative: The bonus as a fraction of the better model's loss.
      by_domain: Gain of a pair that chooses one model for each domain.
      centred: The bonus if both models were equally good. Each model's mean
        loss is subtracted first, which makes it E|d - E d| / 2 of the
        difference d of the two losses of a text.
      above_seed: `centred` less that of pairs that differ in the seed alone;
        None for these pairs, and where there are none.
      bonus_by_seed: Mean bonus of the pairs with a model of a seed, by seed.
      centred_by_seed: Mean of `centred` over the same pairs, by seed.
    """

    factors: tuple[str, ...]
    num_pairs: int
    better_loss: float
    other_loss: float
    bonus: PairMean
    relative: PairMean
    by_domain: PairMean
    centred: PairMean
    above_seed: PairMean | None
    bonus_by_seed: dict[str, float]
    centred_by_seed: dict[str, float]


class _Quantities(NamedTuple):
    """Four quantities of each pair, [M, M], or of all resamples, [B, M, M]."""

    bonus: np.ndarray
    relative: np.ndarray
    by_domain: np.ndarray
    centred: np.ndarray


def similarity(
    losses: ArrayLike,
    levels: Mapping[str, Sequence[str]],
    domains: Sequence[str],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[PairGroup, ...]:
    """Returns the gains of pairs, grouped by the factors they differ in.

    The groups are in the order of the number of their factors, without the
    seed.

    The interval covers other seeds and other texts. Its variance has two
    terms: v_seed of the jackknife that leaves one seed out (pairs that share a
    model depend on each other), and v_text of the bootstrap over texts,

      value +- t sqrt(v_seed + v_text), t of Student's distribution with
      (v_seed + v_text)^2 / (v_seed^2 / (R - 1) + v_text^2 / (X - 1))
      degrees of freedom.

    The interaction of seeds and texts is in both terms, so that the interval is
    rather too wide.

    Args:
      losses: Loss of each text under each model, above 0, [M, X].
      levels: Level of each model, [M], by factor; one factor is "seed".
      domains: Domain of each text, [X].
      num_resamples: Number of resamples B of the texts.
      seed: Seed of the random resamples.
      level: Share of the distribution in an interval.

    Raises:
      ValueError: Arguments that do not fit, with the place; a loss that is
        not above 0; no seeds or fewer than 3; two models with the same levels;
        a group of which all pairs, or none, have a model of one seed.

    Source: Efron and Stein 1981 (the jackknife of a statistic of pairs);
    Satterthwaite 1946 (degrees of freedom).

    >>> losses = [[1.0, 4.0], [4.0, 1.0]] * 3
    >>> levels = {"mixture": "ababab", "seed": "001122"}
    >>> levels = {factor: list(of) for factor, of in levels.items()}
    >>> for group in similarity(losses, levels, ["prose", "prose"]):
    ...     print(group.factors, group.num_pairs, group.bonus.estimate.value)
    ('seed',) 6 0.0
    ('mixture',) 3 1.5
    ('mixture', 'seed') 6 1.5
    """
    losses, levels = _checked(losses, levels, domains)
    num_texts = losses.shape[1]
    index = np.unique(np.array(domains), return_inverse=True)[1]
    found = _quantities(losses, index, np.ones(num_texts))
    resamples = [
        _quantities(losses, index, row)
        for counts in resampled_counts(num_texts, None, num_resamples, seed)
        for row in counts
    ]
    resampled = _Quantities(*map(np.array, zip(*resamples, strict=True)))

    by_factors = _pairs(levels)
    shares = {
        factors: _shares(pairs, levels["seed"], factors)
        for factors, pairs in by_factors.items()
    }
    means = losses.mean(axis=1)
    return tuple(
        _group(
            factors,
            pairs,
            shares,
            means,
            _of_seeds(pairs, levels["seed"]),
            found,
            resampled,
            functools.partial(_pair_mean, num_texts=num_texts, level=level),
        )
        for factors, pairs in by_factors.items()
    )


def _group(
    factors: tuple[str, ...],
    pairs: np.ndarray,
    shares: Mapping[tuple[str, ...], np.ndarray],
    means: np.ndarray,
    of_seed: Mapping[str, np.ndarray],
    found: _Quantities,
    resampled: _Quantities,
    pair_mean: Callable[..., PairMean],
) -> PairGroup:
    """Returns the group of the pairs that differ in some factors."""
    i, j = np.nonzero(pairs)
    quantities = {
        name: pair_mean(*values, shares[factors])
        for name, *values in zip(
            _Quantities._fields, found, resampled, strict=True
        )
    }
    above_seed = None
    if factors != _SEED_ALONE and _SEED_ALONE in shares:
        above_seed = pair_mean(
            found.centred,
            resampled.centred,
            shares[factors] - shares[_SEED_ALONE],
        )
    return PairGroup(
        factors=factors,
        num_pairs=len(i),
        better_loss=float(np.minimum(means[i], means[j]).mean()),
        other_loss=float(np.maximum(means[i], means[j]).mean()),
        **quantities,
        above_seed=above_seed,
        bonus_by_seed={
            name: float(found.bonus[chosen].mean())
            for name, chosen in of_seed.items()
        },
        centred_by_seed={
            name: float(found.centred[chosen].mean())
            for name, chosen in of_seed.items()
        },
    )


def _checked(
    losses: ArrayLike,
    levels: Mapping[str, Sequence[str]],
    domains: Sequence[str],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns losses in float64 and levels as arrays, if they fit."""
    losses, _ = checked_losses(losses, None)
    if losses.min() <= 0:
        m, x = np.unravel_index(losses.argmin(), losses.shape)
        raise ValueError(
            f"losses[{m}, {x}] is {losses[m, x]}; losses above 0 are needed, "
            "as gains are fractions of them."
        )
    levels = {
        factor: np.array(of_models, str) for factor, of_models in levels.items()
    }
    _check_levels(levels, len(losses))
    if len(domains) != losses.shape[1]:
        raise ValueError(
            f"{len(domains)} domains for {losses.shape[1]} texts: one for each "
            "is needed."
        )
    return losses, levels


def _check_levels(levels: Mapping[str, np.ndarray], num_models: int) -> None:
    for factor, of_models in levels.items():
        if of_models.shape != (num_models,):
            raise ValueError(
                f"levels[{factor!r}] has the shape {of_models.shape}; "
                f"[{num_models}], one for each model, is needed."
            )
    if "seed" not in levels:
        raise ValueError(f"no seed among the factors {', '.join(levels)}.")
    num_seeds = len(set(levels["seed"]))
    if num_seeds < _MIN_SEEDS:
        raise ValueError(
            f"{num_seeds} seeds; intervals over seeds need {_MIN_SEEDS}."
        )


def _pairs(
    levels: Mapping[str, np.ndarray],
) -> dict[tuple[str, ...], np.ndarray]:
    """Returns the pairs i < j of each set of factors, bool [M, M]."""
    differ = {f: of[:, None] != of for f, of in levels.items()}
    num_models = len(levels["seed"])
    above = np.triu(np.ones((num_models, num_models), bool), 1)
    same = above & ~np.any(list(differ.values()), axis=0)
    if same.any():
        i, j = np.argwhere(same)[0]
        raise ValueError(f"models {i} and {j} have the same level everywhere.")
    others = [factor for factor in levels if factor != "seed"]
    by_factors = {}
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(others, size):
            for factors in (chosen, (*chosen, "seed")):
                pairs = above.copy()
                for factor, of_pair in differ.items():
                    pairs &= of_pair == (factor in factors)
                if pairs.any():
                    by_factors[factors] = pairs
    return by_factors


def _of_seeds(pairs: np.ndarray, seeds: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the pairs with a model of each seed, bool [M, M] each."""
    return {
        str(name): pairs & ((seeds == name)[:, None] | (seeds == name))
        for name in dict.fromkeys(seeds)
    }


def _shares(
    pairs: np.ndarray, seeds: np.ndarray, factors: tuple[str, ...]
) -> np.ndarray:
    """Returns each pair's share in the mean, of all and without each seed.

    [1 + R, M, M]
    """
    kept = [pairs]
    for name, of_seed in _of_seeds(pairs, seeds).items():
        kept.append(pairs & ~of_seed)
        if not of_seed.any() or not kept[-1].any():
            raise ValueError(
                f"of the pairs that differ in {', '.join(factors)}, all or "
                f"none have a model of seed {name}; train the same models with "
                "each of at least 3 seeds."
            )
    return np.array([chosen / chosen.sum() for chosen in kept])


def _quantities(
    losses: np.ndarray, domain_index: np.ndarray, counts: np.ndarray
) -> _Quantities:
    means = weighted_sums(losses, counts) / counts.sum()
    gains = pair_gains(losses, counts)
    in_domain = np.eye(domain_index.max() + 1)[domain_index]  # [X, domains]
    of_domain = weighted_sums(in_domain.T, counts)
    # A domain without a text in the resample has the weight 0.
    domain_means = np.stack(
        [weighted_sums(losses, counts * domain) for domain in in_domain.T],
        axis=1,
    ) / np.maximum(of_domain, 1)
    return _Quantities(
        bonus=gains,
        relative=gains / np.minimum(means[:, None], means),
        by_domain=pair_gains(domain_means, of_domain),
        centred=pair_gains(losses - means[:, None], counts),
    )


def _flat(matrices: np.ndarray) -> np.ndarray:
    """Returns each matrix [R, M, M] as a row: [R, M * M]."""
    return matrices.reshape(len(matrices), -1)


def _pair_mean(
    values: np.ndarray,
    resampled: np.ndarray,
    shares: np.ndarray,
    *,
    num_texts: int,
    level: float,
) -> PairMean:
    """Returns the mean over pairs with its interval over seeds and texts.

    Args:
      values: Quantity of each pair, [M, M].
      resampled: Quantity of each pair in each resample of the texts, [B, M, M].
      shares: Share of each pair in the mean: of all pairs and without each
        seed, [1 + R, M, M].
      num_texts: Number of texts X.
      level: Share of the distribution in the interval.
    """
    value, *left_out = weighted_sums(_flat(shares), values.ravel())
    num_seeds = len(left_out)
    v_seed = (num_seeds - 1) * np.var(left_out)
    v_text = weighted_sums(_flat(resampled), shares[0].ravel()).var()
    variance = v_seed + v_text
    half = 0.0
    if variance > 0:
        freedom = variance**2 / (
            v_seed**2 / (num_seeds - 1) + v_text**2 / (num_texts - 1)
        )
        # The quantile of Student's t. Importing scipy.stats takes a second.
        quantile = scipy.special.stdtrit(freedom, (1 + level) / 2)
        half = quantile * variance**0.5
    return PairMean(
        Estimate(*map(float, (value, value - half, value + half)), level),
        float(v_seed**0.5),
        float(v_text**0.5),
    )
