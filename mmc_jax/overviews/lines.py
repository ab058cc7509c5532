"""The lines of the law's figure: points, laws, what laws say.

M models, F frontier points, G places on the axis.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmc_jax import diversity, frontier, law, oracle, stages, studies
from mmc_jax.frontier import Frontier
from mmc_jax.frontier.pruning import quick
from mmc_jax.law.points import spread_places
from mmc_jax.overviews.routes import (
    Routes,
    ideal_routes,
    learned_routes,
    resampled_laws,
)
from mmc_jax.realizable import LearnedRouter
from mmc_jax.scores import ScoreTable, nll_of_table
from mmc_jax.statistics import attempt

# The lines of the law's figure, from the largest loss to the least.
LINES = (
    "single",
    "router",
    "mixture",
    "homogeneous",
    "heterogeneous",
    "routed",
    "oracle",
)
# Budgets at which laws are read, and how far beyond the dearest point.
_NUM_READINGS, _BEYOND = 121, 10.0
# Resampled laws need no more starts than this for intervals.
_NUM_STARTS = 16
# Points of a line whose texts are resampled one by one; of more texts than 2^17
# fewer, for each takes longer.
_MOST_RESAMPLED, _FEW_RESAMPLED, _MOST_TEXTS = 512, 128, 2**17


class Line(NamedTuple):
    """One line of the law's figure.

    Attributes:
      points: The points; those of "routed" have the models that run as masks,
        those of "router" the models among which it chooses.
      law: Law of the points with its resamples; None where it has none.
      reason: Why there is no law; "" where there is one.
      readings: What the law says at the view's budgets and losses; None where
        there is no law.
      router: Name of the router whose line it is; "" of other lines.
    """

    points: Frontier
    law: law.ResampledFit | None
    reason: str
    readings: law.Readings | None
    router: str = ""


class View(NamedTuple):
    """The law's figure at one normalisation and one cost.

    Attributes:
      normalisation: One of `scores.NORMALISATIONS`.
      loss_unit: Unit of the losses in words.
      cost: Name of the cost.
      costs: Cost of each model, [M].
      losses: Mean loss of each model, [M].
      lines: The lines by name, of `LINES`.
      reasons: Why a line is missing, by its name.
      budgets: Budgets at which the laws are read, [G], up to ten times the
        dearest point.
      loss_places: Losses at which the laws are read, [G].
      num_inside: Number of `budgets` up to the dearest point.
      few_resampled: Largest number of points of a line that are resampled, for
        there are many texts; None where it is 512.
    """

    normalisation: str
    loss_unit: str
    cost: str
    costs: np.ndarray
    losses: np.ndarray
    lines: dict[str, Line]
    reasons: dict[str, str]
    budgets: np.ndarray
    loss_places: np.ndarray
    num_inside: int
    few_resampled: int | None = None


def lines_of_view(
    table: ScoreTable,
    normalisation: str,
    cost: str,
    method: str,
    checks: studies.Checks,
    mixtures: bool,
    known: Mapping[str, Frontier],
    known_laws: Mapping[str, law.ResampledFit],
    router: LearnedRouter | str = "not asked for (--routers)",
) -> View:
    """Returns the lines of one normalisation and cost, with their laws.

    Args:
      table: Score table of the models and texts.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      method: One of `studies.METHODS`.
      checks: What is resampled, how often, and by which seed.
      mixtures: Whether mixtures are searched for.
      known: Lines that were traced before, by name.
      known_laws: Laws that were fitted before, by the name of their line.
      router: What a router predicts of each text; or why there is none.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs.
    """
    losses, costs = table.losses(normalisation), table.costs(cost)
    # Without limits a proof may take hours; one frontier was proven already.
    search = quick(
        studies.METHODS["pruned" if method == "certified" else method]
    )
    pool = known.get("oracle")
    with stages.stage(f"tracing lines ({normalisation}, {cost})"):
        pool = search(losses, costs) if pool is None else pool
        lines, routes, reasons = _traced(
            table, normalisation, cost, losses, pool, mixtures, router, known
        )
    lines |= {**known, "oracle": pool}
    dearest = max(line.costs[-1] for line in lines.values())
    positive = np.concatenate([line.costs for line in lines.values()])
    positive = positive[positive > 0]
    budgets = (
        np.geomspace(positive.min(), _BEYOND * dearest, _NUM_READINGS)
        if positive.size
        # Where all is free, no law is fitted, and none is read.
        else np.linspace(0, 1, _NUM_READINGS)
    )
    with stages.stage(f"fitting lines ({normalisation}, {cost})"):
        laws = {
            name: (known_laws[name], "")
            if name in known_laws
            else _law(
                name,
                table,
                losses,
                line,
                normalisation,
                checks,
                routes.get(name),
            )
            for name, line in lines.items()
        }
    ends = [line.losses[[0, -1]] for line in lines.values()] + [
        law.loss(found.fit, budgets[[0, -1]])
        for found, _ in laws.values()
        if found is not None
    ]
    places = np.linspace(np.max(ends), np.min(ends), _NUM_READINGS)
    return View(
        normalisation=normalisation,
        loss_unit=table.loss_unit(normalisation),
        cost=cost,
        costs=costs,
        losses=oracle.exact_means(losses),
        lines={
            name: Line(
                lines[name],
                found,
                reason,
                None
                if found is None
                else law.law_readings(found, budgets, places),
                router.router
                if name == "router" and isinstance(router, LearnedRouter)
                else "",
            )
            for name in LINES
            if name in lines
            for found, reason in [laws[name]]
        },
        reasons=reasons,
        budgets=budgets,
        loss_places=places,
        num_inside=int((budgets <= dearest).sum()),
        few_resampled=None
        if losses.shape[1] <= _MOST_TEXTS
        else _FEW_RESAMPLED,
    )


def _mixture(
    table: ScoreTable,
    normalisation: str,
    costs: np.ndarray,
    pool: Frontier,
    asked: bool,
) -> Frontier:
    if not asked:
        raise ValueError("not asked for (--nomixtures)")
    return frontier.mixture(
        nll_of_table(table),
        costs,
        lengths=table.lengths(normalisation),
        starts=pool.masks,
    )


def _traced(
    table: ScoreTable,
    normalisation: str,
    cost: str,
    losses: np.ndarray,
    pool: Frontier,
    mixtures: bool,
    router: LearnedRouter | str,
    known: Mapping[str, Frontier],
) -> tuple[dict[str, Frontier], dict[str, Routes], dict[str, str]]:
    """Returns lines, how those of one model a text run, and what is missing."""
    costs = table.costs(cost)
    every = {
        "single": lambda: frontier.single_models(losses, costs),
        "mixture": lambda: _mixture(
            table, normalisation, costs, pool, mixtures
        ),
        "homogeneous": lambda: diversity.homogeneous(
            losses, costs, diversity.groups_of(table)
        ),
        "heterogeneous": lambda: diversity.heterogeneous(
            losses, costs, diversity.groups_of(table)
        ),
        "routed": lambda: ideal_routes(table, losses, cost),
        "router": lambda: _learned(router, losses, costs, pool.masks),
    }
    found, reasons = attempt(
        {name: trace for name, trace in every.items() if name not in known}
    )
    routes = {n: one for n, one in found.items() if isinstance(one, Routes)}
    lines = {n: one for n, one in found.items() if n not in routes}
    return lines | {n: one.points for n, one in routes.items()}, routes, reasons


def _learned(
    router: LearnedRouter | str,
    losses: np.ndarray,
    costs: np.ndarray,
    masks: np.ndarray,
) -> Routes:
    if isinstance(router, str):
        raise ValueError(router)
    some = _some(len(masks), losses.shape[1])
    return learned_routes(router, losses, costs, masks[some])


def _some(number: int, num_texts: int) -> np.ndarray:
    """Returns the places of points that are resampled, evenly spaced.

    Many points of one frontier say little more than some of them.
    """
    most = _MOST_RESAMPLED if num_texts <= _MOST_TEXTS else _FEW_RESAMPLED
    return spread_places(number, most)


def _law(
    name: str,
    table: ScoreTable,
    losses: np.ndarray,
    line: Frontier,
    normalisation: str,
    checks: studies.Checks,
    routes: Routes | None,
) -> tuple[law.ResampledFit | None, str]:
    """Returns the law of a line with its resamples, or why there is none."""
    resampled = None
    if checks.num_resamples and routes is not None:
        resampled = functools.partial(
            resampled_laws,
            routes,
            clusters=table.clusters(by_domain=checks.by_domain),
            num_resamples=checks.num_resamples,
            num_starts=_NUM_STARTS,
            seed=checks.seed,
        )
    elif checks.num_resamples:
        resampled = functools.partial(
            _resampled_laws, table, losses, line, normalisation, checks, name
        )
    found, reasons = law.fit_each(
        {name: (line.costs, line.losses)},
        None if resampled is None else lambda of: resampled(),
    )
    return found.get(name), reasons.get(name, "")


def _resampled_laws(
    table: ScoreTable,
    losses: np.ndarray,
    line: Frontier,
    normalisation: str,
    checks: studies.Checks,
    name: str,
) -> law.Fits:
    """Returns the laws of resampled texts, the subsets fixed."""
    chosen = _some(len(line.costs), losses.shape[1])
    masks = line.masks[chosen]
    if name == "mixture":
        # The loss of a mixture is no minimum of its models' losses: each
        # mixture is a row of its own.
        losses = oracle.mixture_nll(nll_of_table(table), masks)
        losses /= table.lengths(normalisation)
        masks = np.eye(len(masks), dtype=bool)
    return law.text_bootstrap(
        losses,
        line.costs[chosen],
        masks,
        clusters=table.clusters(by_domain=checks.by_domain),
        num_resamples=checks.num_resamples,
        seed=checks.seed,
        num_starts=_NUM_STARTS,
    ).laws
