"""What a pool and a mixture lose at the budget of the best single model.

Each half of the texts chooses the best single model, what its budget buys of
the oracle, and a mixture within the budget; the other half judges them. So no
text counts where it chose.

M models, X texts.
"""

from typing import NamedTuple

import jax
import numpy as np

from mmc_jax import frontier, oracle
from mmc_jax.frontier.pareto import padded_rows, subset_costs
from mmc_jax.frontier.pruning import quick
from mmc_jax.realizable.weights import fitted_weights
from mmc_jax.scores import ScoreTable, nll_of_table
from mmc_jax.statistics import Estimate, estimate, halves, resampled_means

# Subsets of the oracle's frontier whose mixtures are tried.
_MOST_SUBSETS = 128


class Choice(NamedTuple):
    """What one half of the texts chose.

    Attributes:
      single: Name of the model of the least mean loss.
      budget: Cost of that model.
      pool: Names of the models of the subset with the least oracle loss that
        the budget buys.
      mixture: Names of the models of the mixture with the least loss that the
        budget buys; empty where the scores have no mixture.
    """

    single: str
    budget: float
    pool: tuple[str, ...]
    mixture: tuple[str, ...]


class EqualBudget(NamedTuple):
    """What single models, a pool and a mixture lose at one budget.

    All losses are of texts that did not choose; intervals are over texts.

    Attributes:
      cost: Name of the cost that is equal.
      num_texts: Number of texts that the means are over.
      chosen: What the two halves of the texts chose.
      single: Mean loss of the best single model.
      pool: Mean oracle loss of the subset that the same budget buys.
      mixture: Mean loss of the mixture that the same budget buys; None where
        the scores have no mixture.
      lower: Difference `single` - `pool`, in the unit of the losses.
      lower_percent: Difference in percent of `single`; NaN where `single` is
        not above 0 in all resamples.
      mixture_share: Share of the difference that the mixture attains; None
        where there is no mixture, or no difference in a resample.
      why_no_share: Reason why `mixture_share` is None; empty where it is not.
    """

    cost: str
    num_texts: int
    chosen: tuple[Choice, Choice]
    single: Estimate
    pool: Estimate
    mixture: Estimate | None
    lower: Estimate
    lower_percent: Estimate
    mixture_share: Estimate | None
    why_no_share: str


def equal_budget(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: frontier.Search = frontier.pruned,
    by_domain: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
) -> EqualBudget:
    """Returns what a pool and a mixture lose at the best single model's budget.

    Args:
      table: Score table of the models and texts.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      search: Function that finds a frontier, such as `frontier.pruned`.
      by_domain: Whether texts of one domain stay together where texts are
        halved or resampled.
      num_resamples: Number of resamples of the texts behind the intervals.
      seed: Seed of the random halves and resamples.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs;
        fewer than 2 texts or domains.
    """
    losses, weights = table.weighted_losses(normalisation)
    costs, clusters = table.costs(cost), table.clusters(by_domain=by_domain)
    names = [model.name for model in table.models]
    why_not = ""
    try:
        nll, lengths = nll_of_table(table), table.lengths(normalisation)
    except ValueError as error:
        nll, why_not = None, str(error)
    rows = np.empty((3 if nll is not None else 2, losses.shape[1]))
    chosen = []
    (first,) = halves(losses.shape[1], clusters, 1, seed)
    for half in (first, ~first):
        own = None if weights is None else weights[half]
        here = losses[:, half]
        best = int(np.argmin(oracle.exact_means(here, own)))
        line = quick(search)(here, costs, own)
        within = line.masks[line.costs <= costs[best]]
        rows[0, ~half] = losses[best, ~half]
        rows[1, ~half] = losses[within[-1]][:, ~half].min(axis=0)
        mixed: tuple[str, ...] = ()
        if nll is not None:
            mask, logs = _mixture_within(
                nll[:, half], lengths[half], own, costs, costs[best], within
            )
            away = oracle.mixture_nll(nll[:, ~half], mask[None], logs)[0]
            rows[2, ~half] = away / lengths[~half]
            mixed = _named(names, mask)
        chosen.append(
            Choice(
                names[best],
                float(costs[best]),
                _named(names, within[-1]),
                mixed,
            )
        )
    resampled = resampled_means(
        rows,
        weights,
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )
    means = oracle.exact_means(rows, weights)
    return _equal_budget(
        cost, losses.shape[1], tuple(chosen), means, resampled, why_not
    )


def _named(names: list[str], mask: np.ndarray) -> tuple[str, ...]:
    return tuple(names[m] for m in np.flatnonzero(mask))


def _mixture_within(
    nll: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray | None,
    costs: np.ndarray,
    budget: float,
    within: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best mixture of a budget: its models, and log weights.

    The subset is the one whose uniform mixture loses least, among some of the
    oracle's frontier and the single models. Then its weights are fitted.

    Args:
      nll: Sums in nats of the texts that choose, [M, X].
      lengths: What each text's nll is divided by, [X].
      weights: Weight of each text, [X]; None for 1 each.
      costs: Cost of each model, [M].
      budget: Largest cost of the subset.
      within: Subsets of the oracle's frontier that the budget buys, [S, M].
    """
    places = np.linspace(0, len(within) - 1, _MOST_SUBSETS).round().astype(int)
    singles = np.eye(len(costs), dtype=bool)[costs <= budget]
    masks = np.concatenate([singles, within[np.unique(places)]])
    masks = masks[subset_costs(masks, costs) <= budget]
    with jax.enable_x64(True):
        losses = oracle.mixture_losses(
            nll,
            padded_rows(masks),
            weights=weights,
            lengths=lengths,
        )
    mask = masks[int(np.asarray(losses)[: len(masks)].argmin())]
    shares = np.ones(len(lengths)) if weights is None else weights
    logs = np.full(len(costs), -np.inf)
    with np.errstate(divide="ignore"):
        logs[mask] = np.log(fitted_weights(nll[mask], shares / lengths).weights)
    return mask & np.isfinite(logs), logs


def _equal_budget(
    cost: str,
    num_texts: int,
    chosen: tuple[Choice, Choice],
    means: np.ndarray,
    resampled: np.ndarray,
    why_not: str,
) -> EqualBudget:
    """Returns the means with their intervals, [3] and [R, 3], or 2 for 3."""
    single, pool = resampled[:, 0], resampled[:, 1]
    lower = estimate(means[0] - means[1], single - pool)
    percent = Estimate(np.nan)
    if means[0] > 0 and (single > 0).all():
        percent = estimate(
            100 * (1 - means[1] / means[0]), 100 * (1 - pool / single)
        )
    mixture = share = None
    if not why_not:
        mixture = estimate(means[2], resampled[:, 2])
        if lower.value > 0 and (single > pool).all():
            share = estimate(
                (means[0] - means[2]) / (means[0] - means[1]),
                (single - resampled[:, 2]) / (single - pool),
            )
        else:
            why_not = "in some resamples of the texts no such pool is better"
    return EqualBudget(
        cost=cost,
        num_texts=num_texts,
        chosen=chosen,
        single=estimate(means[0], single),
        pool=estimate(means[1], pool),
        mixture=mixture,
        lower=lower,
        lower_percent=percent,
        mixture_share=share,
        why_no_share=why_not,
    )
