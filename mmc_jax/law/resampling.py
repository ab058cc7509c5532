"""What a law would have been with other texts, models or points.

The points of a frontier are nested subsets of the same models on the same
texts: they are not independent, and a bootstrap over them gives intervals that
mean nothing. What was sampled is the texts, so these are resampled; and what
was chosen is the models, so these are left out one by one. All of it stays in
one file, so that what is resampled, and why, is read in one place.

M models, X texts, F frontier points, R resamples, C clusters.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier, stages
from mmc_jax.frontier import Frontier, Search, pruned
from mmc_jax.frontier.generalisation.bootstrap import (
    resampled_frontiers,
    resampled_losses,
)
from mmc_jax.law import elementary
from mmc_jax.law.batches import Fits, fit_batch, usable
from mmc_jax.law.evaluation import loss
from mmc_jax.law.fitting import Fit, fit
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA, LEAST_SQUARES
from mmc_jax.law.points import checked_points, spread_places
from mmc_jax.statistics import Estimate, attempt, estimate, percentile_interval
from mmc_jax.statistics.inputs import checked_losses
from mmc_jax.statistics.resampling import halves

# The least share of resamples that must have a law for an interval.
_LEAST_SHARE = 0.5


class ResampledFit(NamedTuple):
    """The law of one set of points, and those of its resamples.

    Attributes:
      fit: Law of the points as they are.
      resampled: Laws of R resamples; None where none were asked for.
    """

    fit: Fit
    resampled: Fits | None

    def interval(self, parameter: str) -> Estimate:
        """Returns a parameter with the interval of its resamples.

        Args:
          parameter: Name of the parameter: "A", "alpha" or "L_inf".
        """
        return estimate_answer(operator.attrgetter(parameter), self)


class Bootstrap(NamedTuple):
    """The laws of resampled texts.

    Attributes:
      laws: Law of each of R resamples.
      all_models: Loss of all models together on each resample, [R].
    """

    laws: Fits
    all_models: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Which resamples have a law, bool [R]."""
        return usable(self.laws)

    def interval(self, parameter: str) -> Estimate:
        """Returns the percentile interval of a parameter, without a value.

        Args:
          parameter: Name of the parameter: "A", "alpha" or "L_inf".

        Raises:
          ValueError: No resample has a law.
        """
        found = getattr(self.laws, parameter)[self.usable]
        return Estimate(math.nan, *percentile_interval(found))

    @property
    def all_models_interval(self) -> Estimate:
        """Percentile interval of the loss of all models, without a value."""
        return Estimate(math.nan, *percentile_interval(self.all_models))


class Jackknife(NamedTuple):
    """The laws of a pool without one model, or without one family.

    Attributes:
      labels: Name of the model or family that each law is without.
      laws: Law without each label, in their order.
      not_fitted: Reason why there is no law without a label, by the label.
    """

    labels: tuple[str, ...]
    laws: Fits
    not_fitted: dict[str, str]


class SplitLaw(NamedTuple):
    """The laws of the same subsets on two halves of the texts.

    Attributes:
      costs: Cost of each subset, [F].
      in_sample: Loss of each subset on the half that selected it, [F].
      held_out: Loss of each subset on the other half, [F].
      in_sample_law: Law of the losses on the half that selected.
      held_out_law: Law of the losses on the other half.
    """

    costs: np.ndarray
    in_sample: np.ndarray
    held_out: np.ndarray
    in_sample_law: Fit
    held_out_law: Fit


def fit_each(
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    resampled: Callable[[str], Fits] | None = None,
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
) -> tuple[dict[str, ResampledFit], dict[str, str]]:
    """Returns the law of each set of points, and why a set has none.

    All are fitted by the programs of the largest set: to compile others takes
    longer than to fit few points as if they were many.

    Args:
      points: Costs and losses of each set by its name, [X] each.
      resampled: Returns the laws of resamples of the set of a name; None to
        fit the points alone. A set whose resamples have no law has none.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.

    Returns:
      The laws by name, and the reasons by name.
    """
    room = max((len(costs) for costs, _ in points.values()), default=0)

    def found(name: str) -> ResampledFit:
        costs, losses = points[name]
        law = fit(costs, losses, delta=delta, num_starts=num_starts, room=room)
        return ResampledFit(law, resampled(name) if resampled else None)

    return attempt({name: functools.partial(found, name) for name in points})


def estimate_answer(
    answer: Callable[..., ArrayLike], *laws: ResampledFit
) -> Estimate:
    """Returns what laws answer, with the interval of their resamples.

    The interval is NaN where fewer than half of the resamples have a law, or
    where the answer is not defined for all that have.

    Args:
      answer: Function of one law, or of several, that returns a number for
        laws and [R] for R resampled laws.
      laws: Laws that it is called with. The same resample of two laws must be
        of the same texts.

    >>> from mmc_jax import law
    >>> P, L = [1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0]
    >>> found = ResampledFit(law.fit(P, L), law.fit_batch(P, [L, L]))
    >>> print(estimate_answer(lambda found: law.loss(found, 100.0), found))
    1.5 [1.5, 1.5]
    """
    value = float(answer(*(law.fit for law in laws)))
    resamples = [law.resampled for law in laws]
    has_law = usable(*resamples)
    values = np.asarray(answer(*resamples))[has_law]
    if has_law.mean() < _LEAST_SHARE or np.isnan(values).any():
        return Estimate(value)
    return estimate(value, values)


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
    weights: ArrayLike | None = None,
) -> Bootstrap:
    """Returns the laws of resampled texts, the frontier's subsets fixed.

    The same seed, texts and clusters give the same resamples, so two frontiers
    are compared in pairs. Of more than 512 subsets 512 are resampled, spread
    evenly over them: the others lie between, and say little more.

    Args:
      losses: Loss of each text under each model, above 0 in the mean, [M, X].
      costs: Cost of each subset, [F].
      masks: Models of each subset, bool [F, M].
      clusters: Source, domain or document of each text, [X]; then clusters are
        resampled, with all their texts. None to resample single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Points that `fit_batch` would refuse; fewer than 2 texts or
        clusters; clusters or masks of a wrong shape; num_resamples below 1.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap.
    """
    losses = np.asarray(losses, np.float64)
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.shape[1] != len(losses):
        raise ValueError(
            f"masks has shape {masks.shape}; [F, {len(losses)}] is needed."
        )
    costs = np.asarray(costs, np.float64)
    if costs.shape == masks.shape[:1]:
        some = spread_places(len(masks))
        masks, costs = masks[some], costs[some]
    resampled = resampled_losses(
        losses,
        np.concatenate([masks, np.ones((1, len(losses)), bool)]),
        clusters,
        num_resamples,
        seed,
        checked_losses(losses, weights)[1],
    )
    laws = fit_batch(
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
    weights: ArrayLike | None = None,
) -> Bootstrap:
    """Returns the laws of resampled texts, each with a frontier of its own.

    Unlike in `text_bootstrap` the subsets are searched for in every resample,
    so the spread includes that of the selection. It takes as long as R
    searches.

    Args:
      losses: Loss of each text under each model, above 0 in the mean, [M, X].
      costs: Cost of each model, [M].
      search: Function that finds a frontier, such as `frontier.pruned`.
      clusters: Source, domain or document of each text, [X]; then clusters are
        resampled, with all their texts. None to resample single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Points that `fit_batch` would refuse; fewer than 2 texts or
        clusters; num_resamples below 1.
    """
    losses = np.asarray(losses, np.float64)
    costs = np.asarray(costs, np.float64)
    lines, all_models = [], []
    for line, counts in resampled_frontiers(
        losses,
        costs,
        search,
        clusters,
        num_resamples,
        seed,
        checked_losses(losses, weights)[1],
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
    """Returns the laws of the pool without each group of models.

    The frontier is searched for and fitted anew each time.

    Args:
      losses: Loss of each text under each model, above 0 in the mean, [M, X].
      costs: Cost of each model, [M].
      groups: Group of each model, [M]: its own name to leave out one model, its
        family to leave out one family.
      search: Function that finds a frontier, such as `frontier.pruned`.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.

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
    labels = list(dict.fromkeys(groups))

    def line_without(label: str) -> Frontier:
        stays = of_model != label
        number = labels.index(label) + 1
        with stages.stage(f"searching without group {number} of {len(labels)}"):
            line = search(losses[stays], costs[stays], None)
        checked_points(FORMS["power_law"], line.costs, line.losses, None)
        return line

    lines, not_fitted = attempt(
        {label: functools.partial(line_without, label) for label in labels}
    )
    if not lines:
        raise ValueError(
            "no law is left without any one of "
            f"{', '.join(map(repr, not_fitted))}."
        )
    laws = _fits_of(list(lines.values()), delta, num_starts)
    return Jackknife(tuple(lines), laws, not_fitted)


def standard_error(values: ArrayLike) -> float:
    """Returns the jackknife's standard error of a parameter.

    sqrt((n - 1) / n sum_i (v_i - mean v)^2)

    Args:
      values: Parameter without each of n groups, [n].

    Source: Efron and Tibshirani 1993, eq. 11.5.

    >>> standard_error([1.0, 2.0, 3.0])
    1.1547005383792515
    """
    values = np.asarray(values, np.float64)
    return float(np.sqrt((len(values) - 1) * values.var()))


def split_law(
    losses: ArrayLike,
    costs: ArrayLike,
    *,
    search: Search = pruned,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    delta: float = HUBER_DELTA,
    weights: ArrayLike | None = None,
) -> SplitLaw:
    """Returns the law of a half of the texts, and of its subsets on the other.

    Selected subsets look better on the texts that selected them than on new
    texts (selection bias); the two laws show by how much.

    Args:
      losses: Loss of each text under each model, above 0 in the mean, [M, X].
      costs: Cost of each model, [M].
      search: Function that finds a frontier, such as `frontier.pruned`.
      clusters: Source, domain or document of each text, [X]; texts of one
        cluster come into one half.
      seed: Seed of the random halves.
      delta: Residual of log L from which on the Huber loss is linear.
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Points that `fit` would refuse; fewer than 2 texts or
        clusters.
    """
    losses = np.asarray(losses, np.float64)
    costs = np.asarray(costs, np.float64)
    (chooses,) = halves(losses.shape[1], clusters, 1, seed)
    _, weights = checked_losses(losses, weights)
    own, other = (
        None if weights is None else weights[some]
        for some in (chooses, ~chooses)
    )
    line = search(losses[:, chooses], costs, own)
    elsewhere = frontier.held_out(
        line.masks, losses[:, ~chooses], costs, other
    ).losses
    return SplitLaw(
        line.costs,
        line.losses,
        elsewhere,
        fit(line.costs, line.losses, delta=delta),
        fit(line.costs, elsewhere, delta=delta),
    )


def residual_bootstrap(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    num_starts: int = 64,
) -> Fits:
    """Returns the least-squares laws of points with resampled residuals.

    L* = L(P) exp(e*), with e* resampled from the residuals sqrt(X / (X - 3)) e

    This is for points whose texts are not at hand. It takes the points as
    independent, which those of a frontier are not: use `text_bootstrap` there.
    Of more than 512 points as many are resampled and fitted, spread evenly,
    which makes intervals wider, never narrower.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point, above 0, [X].
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.
      num_starts: Number of starts of each fit.

    Raises:
      ValueError: Points that `fit` would refuse.

    Source: Efron and Tibshirani 1993, section 9.4.
    """
    losses = np.asarray(losses, np.float64)
    best = fit(costs, losses, delta=LEAST_SQUARES)
    predicted = loss(best, costs)
    residuals = elementary.log(losses / predicted)
    residuals -= residuals.mean()
    residuals *= np.sqrt(len(residuals) / (len(residuals) - 3))
    some = spread_places(len(residuals))
    resampled = np.random.default_rng(seed).choice(
        residuals, (num_resamples, len(some))
    )
    return fit_batch(
        np.asarray(costs)[some],
        predicted[some] * elementary.exp(resampled),
        delta=LEAST_SQUARES,
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
    return fit_batch(costs, losses, weights, delta=delta, num_starts=num_starts)
