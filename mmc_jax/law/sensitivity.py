"""What points or a score table say of their laws, and what they leave open.

Points and tables stay in one file: they share the answers and their variants.

M models, X texts, F frontier points.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier, oracle, stages
from mmc_jax.frontier.pruning import quick
from mmc_jax.law.batches import Fits
from mmc_jax.law.evaluation import budget_for, budget_ratio, floor_gap_percent
from mmc_jax.law.evaluation import loss as loss_at
from mmc_jax.law.fitting import Fit, fit
from mmc_jax.law.groups import SharedFit, compare_groups
from mmc_jax.law.optimizers import HUBER_DELTA, LEAST_SQUARES
from mmc_jax.law.points import interval_weights, log_spaced, without_largest
from mmc_jax.law.profiles import Profile, profile
from mmc_jax.law.resampling import (
    Bootstrap,
    Jackknife,
    ResampledFit,
    SplitLaw,
    estimate_answer,
    fit_each,
    full_bootstrap,
    jackknife,
    residual_bootstrap,
    split_law,
    text_bootstrap,
)
from mmc_jax.law.selection import ONE_BUDGET, FormScore, compare_forms
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import Estimate, attempt

Points = tuple[np.ndarray, np.ndarray]

# Models that are left out one by one: each takes a search of its own.
_MOST_LEFT_OUT = 200


class GroupLaw(NamedTuple):
    """The law of one group of points, and what it leaves open.

    Attributes:
      costs: Cost of each point, [F].
      losses: Loss of each point, [F].
      fit: Law of the points.
      least_squares: Law by least squares on log L, to which the profiles
        belong.
      profiles: Profile likelihoods of "alpha" and "L_inf".
      resampled: Laws of resampled texts; or, where the texts are not known, of
        resampled points by least squares.
      resampled_unit: What was resampled, "texts" or "points".
      variants: Laws of the same points looked at in other ways, by name.
      forms: How well other forms do, by name.
      reasons: Reason why a variant or a form is missing, by its name.
      num_rises: Number of points that lose more than the next cheaper one.
    """

    costs: np.ndarray
    losses: np.ndarray
    fit: Fit
    least_squares: Fit
    profiles: dict[str, Profile]
    resampled: Fits
    resampled_unit: str
    variants: dict[str, Fit]
    forms: dict[str, FormScore]
    reasons: dict[str, str]
    num_rises: int

    @property
    def resampled_fit(self) -> ResampledFit:
        """The law together with the laws of its resamples."""
        of_texts = self.resampled_unit == "texts"
        return ResampledFit(
            self.fit if of_texts else self.least_squares, self.resampled
        )


class PoolSensitivity(NamedTuple):
    """How the law of a pool depends on its texts and on its models.

    Attributes:
      best_model: Name of the model of least mean loss.
      best_loss: Mean loss of that model.
      all_models: Loss of all models together.
      full: Laws of resampled texts with the frontier searched for anew; None
        where it is missing.
      models: Laws without one model; None where it is missing.
      families: Laws without one family; None where it is missing, such as for a
        pool of one family.
      held_out: Laws of the same subsets on the texts that selected them and on
        others; None where it is missing.
      reasons: Reason why one of these is missing, by its name.
    """

    best_model: str
    best_loss: float
    all_models: float
    full: Bootstrap | None
    models: Jackknife | None
    families: Jackknife | None
    held_out: SplitLaw | None
    reasons: dict[str, str]


class LawStudy(NamedTuple):
    """The laws of several groups of points.

    Attributes:
      laws: Law of each group, by the name of the group.
      reasons: Reason why a group has no law, by the name of the group.
      shared: Whether the groups may share parameters; empty where there are
        fewer than two laws.
      pool: How the law of the pool depends on its texts and models; None where
        these are not at hand.
    """

    laws: dict[str, GroupLaw]
    reasons: dict[str, str]
    shared: list[SharedFit]
    pool: PoolSensitivity | None


class Answer(NamedTuple):
    """What the laws of a study say to one question.

    Attributes:
      subject: Name of a group, or "b against a" for two groups.
      question: "loss_at_budget", "budget_for_loss",
        "times_fewer_at_equal_loss" or "floor_gap_percent".
      at: Budget or loss of the question; None for the last one.
      estimate: The answer with the interval of the resamples.
    """

    subject: str
    question: str
    at: float | None
    estimate: Estimate


def variants(
    costs: ArrayLike, losses: ArrayLike, *, delta: float = HUBER_DELTA
) -> tuple[dict[str, Fit], dict[str, str]]:
    """Returns the law of the points looked at in other ways.

    Args:
      costs: Budget of each point, above 0, [X].
      losses: Loss of each point, above 0, [X].
      delta: Residual of log L from which on the Huber loss is linear.

    Returns:
      By name the law of the points as they are, at log-spaced budgets, with
      weights per log-interval and without the largest decade; and by name why
      one of these cannot be fitted.
    """
    ways = {
        "as they are": lambda: (costs, losses),
        "log-spaced budgets": lambda: log_spaced(costs, losses),
        "weights per log-interval": lambda: (
            costs,
            losses,
            interval_weights(costs),
        ),
        "without the largest decade": lambda: without_largest(costs, losses),
    }
    return attempt(
        {
            name: lambda way=way: fit(*way(), delta=delta)
            for name, way in ways.items()
        }
    )


def laws_of_points(
    groups: Mapping[str, Points],
    *,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
    forms: Sequence[str] = ONE_BUDGET,
) -> LawStudy:
    """Returns the law of each group of points, and why others have none.

    Args:
      groups: Costs and losses of each group by its name, [X] each.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the residuals of each law.
      seed: Seed of the random resamples.
      forms: Names of forms to compare.

    Raises:
      ValueError: No group has a law, with the reason of each.
    """
    with stages.stage("fitting the laws of resampled residuals"):
        found, reasons = fit_each(
            groups,
            lambda name: residual_bootstrap(
                *groups[name],
                num_resamples=num_resamples,
                seed=seed,
                num_starts=num_starts,
            ),
            delta=delta,
            num_starts=num_starts,
        )
    _check_any(found, reasons)
    with stages.stage("fitting other forms and profiles"):
        laws = {
            name: _group_law(groups[name], one, "points", forms)
            for name, one in found.items()
        }
    return LawStudy(laws, reasons, _shared(laws), None)


def laws_of_table(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: frontier.Search = frontier.pruned,
    by_domain: bool = False,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    num_searches: int = 20,
    seed: int = 0,
    forms: Sequence[str] = ONE_BUDGET,
) -> LawStudy:
    """Returns the laws of single models and of the pool of a score table.

    Args:
      table: Score table of the models and texts.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      search: Function that finds a frontier, such as `frontier.pruned`.
      by_domain: Whether texts of one domain are resampled together.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the texts with the frontier's
        subsets fixed.
      num_searches: Number of resamples of the texts with the frontier searched
        for anew.
      seed: Seed of the random resamples.
      forms: Names of forms to compare.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs;
        neither single models nor the pool have a law, with the reasons.
    """
    losses, weights = table.weighted_losses(normalisation)
    costs = table.costs(cost)
    clusters = table.clusters(by_domain=by_domain)
    options = {"delta": delta, "num_starts": num_starts}
    with stages.stage("searching the frontier"):
        lines = {
            "single models": frontier.single_models(losses, costs, weights),
            "pool": search(losses, costs, weights),
        }
    points = {name: (line.costs, line.losses) for name, line in lines.items()}
    with stages.stage("fitting the laws of resampled texts"):
        found, reasons = fit_each(
            points,
            lambda name: (
                text_bootstrap(
                    losses,
                    lines[name].costs,
                    lines[name].masks,
                    clusters=clusters,
                    num_resamples=num_resamples,
                    seed=seed,
                    weights=weights,
                    **options,
                ).laws
            ),
            **options,
        )
    _check_any(found, reasons)
    with stages.stage("fitting other forms and profiles"):
        laws = {
            name: _group_law(points[name], one, "texts", forms)
            for name, one in found.items()
        }
    with stages.stage("fitting the laws of other texts and models"):
        pool = _pool_sensitivity(
            table,
            losses,
            table.losses(normalisation),
            costs,
            search,
            num_searches,
            {"clusters": clusters, "seed": seed, "weights": weights},
            options,
        )
    return LawStudy(laws, reasons, _shared(laws), pool)


def answers(
    laws: Mapping[str, GroupLaw],
    budgets: Sequence[float] = (),
    losses: Sequence[float] = (),
) -> list[Answer]:
    """Returns what each law answers, and each law against the first.

    Args:
      laws: Law of each group, by the name of the group.
      budgets: Budgets at which the loss is asked for; the largest budget of
        each group is added.
      losses: Losses for which the budget is asked for.
    """
    found = []

    def ask(subject, question, at, answer, *of):
        of = [law.resampled_fit for law in of]
        estimate = estimate_answer(answer, *of)
        found.append(Answer(subject, question, at, estimate))

    for name, law in laws.items():
        for budget in (*budgets, float(law.costs.max())):
            answer = functools.partial(loss_at, budgets=budget)
            ask(name, "loss_at_budget", budget, answer, law)
        for loss in losses:
            answer = functools.partial(budget_for, loss=loss)
            ask(name, "budget_for_loss", loss, answer, law)
    first_name, *others = laws or [None]
    for name in others:
        pair, subject = (
            (laws[first_name], laws[name]),
            f"{name} against {first_name}",
        )
        for loss in (*losses, float(pair[0].losses.min())):
            answer = functools.partial(budget_ratio, loss=loss)
            ask(subject, "times_fewer_at_equal_loss", loss, answer, *pair)
        ask(subject, "floor_gap_percent", None, floor_gap_percent, *pair)
    return found


def _pool_sensitivity(
    table: ScoreTable,
    losses: np.ndarray,
    equally_weighted: np.ndarray,
    costs: np.ndarray,
    search: frontier.Search,
    num_searches: int,
    of_texts: dict[str, Any],
    options: dict[str, float],
) -> PoolSensitivity:
    """Returns how the law of the pool depends on its texts and models.

    Args:
      table: Score table of the models and texts.
      losses: Loss of each text under each model, [M, X].
      equally_weighted: Losses whose plain mean is the weighted one, [M, X].
      costs: Cost of each model, [M].
      search: Function that finds a frontier.
      num_searches: Number of resamples that are searched.
      of_texts: Clusters and weights of the texts, and the seed.
      options: How laws are fitted.
    """
    search = quick(search)
    of_texts = {"search": search, **of_texts}
    without_one = functools.partial(
        jackknife, equally_weighted, costs, search=search, **options
    )
    found, reasons = attempt(
        {
            "full": lambda: full_bootstrap(
                losses, costs, num_resamples=num_searches, **of_texts, **options
            ),
            "models": lambda: without_one(_names_to_leave_out(table)),
            "families": lambda: without_one([m.family for m in table.models]),
            "held_out": lambda: split_law(
                losses, costs, delta=options["delta"], **of_texts
            ),
        }
    )
    losses = equally_weighted
    means = oracle.exact_means(losses)
    best = int(means.argmin())
    return PoolSensitivity(
        best_model=table.models[best].name,
        best_loss=float(means[best]),
        all_models=float(oracle.exact_means(losses.min(axis=0))),
        full=found.get("full"),
        models=found.get("models"),
        families=found.get("families"),
        held_out=found.get("held_out"),
        reasons=reasons,
    )


def _names_to_leave_out(table: ScoreTable) -> list[str]:
    """Returns the name of each model.

    Raises:
      ValueError: There are so many that as many searches take too long.
    """
    names = [model.name for model in table.models]
    if len(names) > _MOST_LEFT_OUT:
        raise ValueError(
            f"{len(names):,} models would need as many searches; up to "
            f"{_MOST_LEFT_OUT} are left out one by one."
        )
    return names


def _check_any(
    found: Mapping[str, ResampledFit], reasons: Mapping[str, str]
) -> None:
    if not found:
        raise ValueError(
            "; ".join(f"{name}: {why}" for name, why in reasons.items())
            or "there are no points to fit."
        )


def _shared(laws: Mapping[str, GroupLaw]) -> list[SharedFit]:
    """Returns whether the groups may share parameters, of two laws or more."""
    groups = {name: (found.costs, found.losses) for name, found in laws.items()}
    return compare_groups(groups) if len(groups) > 1 else []


def _group_law(
    points: Points, found: ResampledFit, unit: str, forms: Sequence[str]
) -> GroupLaw:
    """Returns the law of one group with its profiles, variants and forms."""
    costs, losses = map(np.asarray, points)
    others, reasons = variants(costs, losses, delta=found.fit.delta)
    scores, of_forms = compare_forms(costs, losses, forms=forms)
    rises = np.diff(losses[np.argsort(costs, kind="stable")]) > 0
    return GroupLaw(
        costs=costs,
        losses=losses,
        fit=found.fit,
        least_squares=fit(costs, losses, delta=LEAST_SQUARES),
        profiles={
            name: profile(costs, losses, parameter=name)
            for name in ("alpha", "L_inf")
        },
        resampled=found.resampled,
        resampled_unit=unit,
        variants=others,
        forms=scores,
        reasons={**reasons, **of_forms},
        num_rises=int(rises.sum()),
    )
