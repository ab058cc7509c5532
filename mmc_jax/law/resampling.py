"""What a law would have been with other texts, models or points.

The points of a frontier are nested subsets of the same models on the same
texts: they are not independent, and a bootstrap over them gives intervals that
mean nothing. What was sampled is the texts, so these are drawn anew; and what
was chosen is the models, so these are left out one by one.

M models, X texts, F frontier points, R resamples, C clusters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier
from mmc_jax.frontier import Frontier, Search, pruned
from mmc_jax.frontier.generalisation.bootstrap import (
    resampled_frontiers,
    resampled_losses,
)
from mmc_jax.law import fitting
from mmc_jax.law.fitting import HUBER_DELTA, Fits
from mmc_jax.law.forms import FORMS
from mmc_jax.statistics.resampling import halves


class Bootstrap(NamedTuple):
    """The laws of resampled texts.

    Attributes:
      laws: One for each resample, R.
      all_models: [R], the loss of all models together.
    """

    laws: Fits
    all_models: np.ndarray


class Jackknife(NamedTuple):
    """The laws of the whole chain without one model, or one family.

    Attributes:
      labels: What was left out, in the order of the laws.
      laws: One for each label that leaves a law.
      not_fitted: Labels without which no law can be fitted, and why.
    """

    labels: tuple[str, ...]
    laws: Fits
    not_fitted: dict[str, str]


class HeldOut(NamedTuple):
    """A law where its subsets were chosen, and the same subsets elsewhere.

    Attributes:
      costs: [F], of the subsets.
      in_sample: [F], their losses on the texts that chose them.
      held_out: [F], their losses on the other texts.
      in_sample_law: Of the first.
      held_out_law: Of the second.
    """

    costs: np.ndarray
    in_sample: np.ndarray
    held_out: np.ndarray
    in_sample_law: fitting.Fit
    held_out_law: fitting.Fit


def text_bootstrap(
    losses: ArrayLike,
    costs: ArrayLike,
    masks: ArrayLike,
    *,
    clusters: Sequence[str] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Bootstrap:
    """Returns the laws of resampled texts, the frontier's subsets fixed.

    The same seed, texts and clusters draw the same resamples, so two frontiers
    are compared in pairs.

    Args:
      losses: [M, X], above 0 in the mean.
      costs: [F], of the subsets.
      masks: [F, M] of booleans.
      clusters: The source, domain or document of each text, [X], if texts of
        one are alike: then whole clusters are drawn.
      num_resamples: R.
      seed: Of the draws.
      delta: As for `fit`.
      num_starts: Of each fit.

    Raises:
      ValueError: As `fit_batch`; fewer than 2 texts or clusters; clusters or
        masks of a wrong shape; num_resamples below 1.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap.
    """
    losses = np.asarray(losses, np.float64)
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.shape[1] != len(losses):
        raise ValueError(
            f"masks has shape {masks.shape}; [F, {len(losses)}] is needed."
        )
    resampled = resampled_losses(
        losses,
        np.concatenate([masks, np.ones((1, len(losses)), bool)]),
        clusters,
        num_resamples,
        seed,
    )
    laws = fitting.fit_batch(
        costs, resampled[:, :-1], delta=delta, num_starts=num_starts
    )
    return Bootstrap(laws, resampled[:, -1])


def full_bootstrap(
    losses: ArrayLike,
    costs: ArrayLike,
    *,
    search: Search = pruned,
    clusters: Sequence[str] | None = None,
    num_resamples: int = 100,
    seed: int = 0,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Bootstrap:
    """Returns the laws of resampled texts, each with a frontier of its own.

    As `text_bootstrap`, with the search for subsets in every resample: what
    the choice of the subsets adds. Takes as long as R searches.

    Args:
      losses: [M, X].
      costs: [M], of the models.
      search: Finds the frontier: `frontier.pruned`, `frontier.exhaustive`, ...
      clusters: As for `text_bootstrap`, and so are the rest.
      num_resamples: R.
      seed: Of the draws.
      delta: As for `fit`.
      num_starts: Of each fit.
    """
    losses = np.asarray(losses, np.float64)
    costs = np.asarray(costs, np.float64)
    lines, all_models = [], []
    for line, counts in resampled_frontiers(
        losses, costs, search, clusters, num_resamples, seed
    ):
        lines.append(line)
        all_models.append(np.average(losses.min(axis=0), weights=counts))
    laws = _fits_of(lines, delta, num_starts)
    return Bootstrap(laws, np.array(all_models))


def jackknife(
    losses: ArrayLike,
    costs: ArrayLike,
    groups: Sequence[str],
    *,
    search: Search = pruned,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> Jackknife:
    """Returns the laws of the whole chain without each group of models.

    Args:
      losses: [M, X].
      costs: [M].
      groups: What each model belongs to, [M]: its own name to leave out one
        model, its family to leave out one family.
      search: As for `full_bootstrap`.
      delta: As for `fit`.
      num_starts: Of each fit.

    Raises:
      ValueError: groups of a wrong length, or no group leaves a law.
    """
    losses = np.asarray(losses, np.float64)
    costs = np.asarray(costs, np.float64)
    if len(groups) != len(losses):
        raise ValueError(
            f"{len(groups)} groups for {len(losses)} models: one for each is "
            "needed."
        )
    of_model = np.array(groups)
    lines, labels, not_fitted = [], [], {}
    for label in dict.fromkeys(groups):
        stays = of_model != label
        try:
            line = search(losses[stays], costs[stays], None)
            fitting.checked_points(
                FORMS["power_law"], line.costs, line.losses, None
            )
        except ValueError as error:
            not_fitted[label] = str(error)
            continue
        lines.append(line)
        labels.append(label)
    if not lines:
        raise ValueError(
            "no law is left without any one of "
            f"{', '.join(map(repr, not_fitted))}."
        )
    laws = _fits_of(lines, delta, num_starts)
    return Jackknife(tuple(labels), laws, not_fitted)


def standard_error(values: ArrayLike) -> float:
    """Returns the jackknife's standard error of a parameter.

    sqrt((n - 1) / n sum_i (v_i - mean v)^2)

    Args:
      values: [n], the parameter without each of n groups.

    Source: Efron and Tibshirani 1993, eq. 11.5.

    >>> standard_error([1.0, 2.0, 3.0])
    1.1547005383792515
    """
    values = np.asarray(values, np.float64)
    return float(np.sqrt((len(values) - 1) * values.var()))


def held_out(
    losses: ArrayLike,
    costs: ArrayLike,
    *,
    search: Search = pruned,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    delta: float = HUBER_DELTA,
) -> HeldOut:
    """Returns the law on half of the texts, and its subsets' on the rest.

    In the minimum over many subsets each text's luck counts: losses on the
    texts that chose the subsets flatter.

    Args:
      losses: [M, X].
      costs: [M].
      search: As for `full_bootstrap`.
      clusters: As for `text_bootstrap`: a cluster is never split.
      seed: Of the halves.
      delta: As for `fit`.

    Raises:
      ValueError: As `fit`; fewer than 2 texts or clusters.
    """
    losses = np.asarray(losses, np.float64)
    costs = np.asarray(costs, np.float64)
    (chooses,) = halves(losses.shape[1], clusters, 1, seed)
    line = search(losses[:, chooses], costs, None)
    elsewhere = frontier.held_out(line.masks, losses[:, ~chooses], costs).losses
    return HeldOut(
        line.costs,
        line.losses,
        elsewhere,
        fitting.fit(line.costs, line.losses, delta=delta),
        fitting.fit(line.costs, elsewhere, delta=delta),
    )


def residual_bootstrap(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    num_starts: int = 64,
) -> Fits:
    """Returns the least-squares laws of points drawn around that of the points.

    L* = L(P) exp(e*), e* drawn from the residuals sqrt(X / (X - 3)) e

    For points whose texts are not at hand. It takes them as independent, which
    those of a frontier are not: there `text_bootstrap` is the one to believe.

    Args:
      costs: [X].
      losses: [X].
      num_resamples: R.
      seed: Of the draws.
      num_starts: Of each fit.

    Raises:
      ValueError: As `fit`.

    Source: Efron and Tibshirani 1993, section 9.4.
    """
    losses = np.asarray(losses, np.float64)
    best = fitting.fit(costs, losses, delta=fitting.LEAST_SQUARES)
    predicted = fitting.loss(best, costs)
    residuals = np.log(losses / predicted)
    residuals -= residuals.mean()
    residuals *= np.sqrt(len(residuals) / (len(residuals) - 3))
    draws = np.random.default_rng(seed).choice(
        residuals, (num_resamples, len(residuals))
    )
    return fitting.fit_batch(
        costs,
        predicted * np.exp(draws),
        delta=fitting.LEAST_SQUARES,
        num_starts=num_starts,
    )


def _fits_of(lines: list[Frontier], delta: float, num_starts: int) -> Fits:
    """Returns the laws of frontiers of different lengths."""
    length = max(len(line.costs) for line in lines)
    costs, losses, weights = np.ones((3, len(lines), length))
    for row, line in enumerate(lines):
        size = len(line.costs)
        costs[row, :size], losses[row, :size] = line.costs, line.losses
        weights[row, size:] = 0
    return fitting.fit_batch(
        costs, losses, weights, delta=delta, num_starts=num_starts
    )
