"""The law of a router: what one model a text buys at each budget.

M models, X texts, F subsets.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, law
from mmc_jax.frontier.pareto import places_at, subset_costs
from mmc_jax.realizable.contests import (
    Contest,
    chosen_names,
    predicted_of,
)
from mmc_jax.realizable.evaluation import Evaluation, evaluated
from mmc_jax.statistics import Estimate


class RouterLaw(NamedTuple):
    """What one model a text buys at each budget, and its law.

    Attributes:
      router: Name of the router.
      costs: Cost of each subset, with what reads for the router, rising, [F].
      masks: Models of each subset, bool [F, M].
      evaluations: What the router is worth on each subset, [F].
      closed_gaps: Share of the gap between the best single model of the budget
        and the oracle of that model and the subset that the router closes, [F];
        NaN where there is no gap.
      routed: Frontier of the routed losses.
      oracle: Frontier of the subsets' oracle losses on the same texts.
      single: Frontier of the single models on the same texts.
      mixture: Frontier of the subsets' uniform mixtures on the same texts; None
        where the losses are no likelihoods.
      laws: Fitted laws by "routed", "oracle", "single" and "mixture".
      reasons: Why a law was not fitted, by the same names.
      floor_share: Share of the distance between the floors of single models
        and oracle that the router's floor has come; NaN where a law is missing
        or its floor does not lie between those two: the points leave it open.
    """

    router: str
    costs: np.ndarray
    masks: np.ndarray
    evaluations: list[Evaluation]
    closed_gaps: list[Estimate]
    routed: frontier.Frontier
    oracle: frontier.Frontier
    single: frontier.Frontier
    mixture: frontier.Frontier | None
    laws: dict[str, law.Fit]
    reasons: dict[str, str]
    floor_share: float


def router_law(
    contest: Contest,
    name: str,
    num_subsets: int = 20,
    on_subset: Callable[[int], None] = lambda subset: None,
) -> RouterLaw:
    """Returns what a router makes of the oracle's frontier, and its law.

    The frontier is searched on the texts from which routers learn. For each of
    its subsets a router learns to choose among its models, and is judged on the
    other texts.

    Args:
      contest: The losses, the costs, the texts, and which of them judge.
      name: Name of the router, one of `ROUTERS`.
      num_subsets: Largest number of subsets, evenly spaced on the frontier;
        the cheapest and the dearest are among them.
      on_subset: Is told the number of each subset before its router learns.

    Raises:
      ValueError: No costs; what the router needs is not known.
    """
    if contest.costs is None:
        raise ValueError("the models have no costs: there are no budgets.")
    costs, test = contest.costs, contest.test
    known = contest.losses[:, ~test]
    masks = frontier.pruned(known, costs).masks
    places = np.linspace(0, len(masks) - 1, min(num_subsets, len(masks)))
    masks = masks[np.unique(places.round().astype(int))]
    # The best single model of each budget, where routers learn.
    single = frontier.single_models(known, costs)
    total, found, gaps = contest.subset_costs(name, masks), [], []
    for number, (mask, cost) in enumerate(zip(masks, total, strict=True)):
        on_subset(number)
        predicted = predicted_of(contest, name, mask=mask)
        evaluation = contest.evaluation(name, predicted, mask)
        found.append(evaluation)
        best = single.masks[places_at(single.costs, [cost])[0]].argmax()
        gaps.append(_gap_of_budget(contest, predicted, mask, int(best)))
    losses = contest.losses[:, test]
    routed = frontier.non_dominated(
        total, [e.routed.value for e in found], masks
    )
    lines = {
        "routed": routed,
        "oracle": frontier.of_subsets(losses, costs, masks),
        "single": frontier.single_models(losses, costs),
        "mixture": None,
    }
    mixed = contest.mixture_losses(masks)
    if mixed is not None:
        lines["mixture"] = frontier.non_dominated(
            subset_costs(masks, costs), mixed, masks
        )
    laws, reasons = law.fit_each(
        {
            line: (points.costs, points.losses)
            for line, points in lines.items()
            if points is not None
        }
    )
    laws = {line: found.fit for line, found in laws.items()}
    share = float("nan")
    if not {"routed", "oracle", "single"} & reasons.keys():
        floors = {line: fit.L_inf for line, fit in laws.items()}
        if floors["oracle"] <= floors["routed"] < floors["single"]:
            share = (floors["single"] - floors["routed"]) / (
                floors["single"] - floors["oracle"]
            )
    return RouterLaw(
        name,
        total,
        masks,
        found,
        gaps,
        **lines,
        laws=laws,
        reasons=reasons,
        floor_share=share,
    )


def _gap_of_budget(
    contest: Contest, predicted: np.ndarray, mask: np.ndarray, best: int
) -> Estimate:
    """Returns the closed gap against the best single model of the budget."""
    members = np.flatnonzero(mask)
    rows = [*members] if best in members else [*members, best]
    losses = contest.losses[np.ix_(rows, np.flatnonzero(contest.test))]
    if best not in members:
        # A model of the budget that no text may go to.
        beyond = np.full((1, predicted.shape[1]), predicted.max() + 1.0)
        predicted = np.concatenate([predicted, beyond])
    clusters = contest.clusters
    return evaluated(
        losses,
        predicted,
        best_single=rows.index(best),
        clusters=None
        if clusters is None
        else chosen_names(clusters, contest.test),
        num_resamples=contest.num_resamples,
        seed=contest.seed,
    ).closed_gap
