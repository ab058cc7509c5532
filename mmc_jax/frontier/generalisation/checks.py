"""What other texts say of a frontier: all checks of one study.

M models, X texts, F frontier points.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax.frontier.generalisation.bootstrap import Band, bootstrap_band
from mmc_jax.frontier.generalisation.cross_fitting import (
    CrossFitted,
    Search,
    cross_fitted,
)
from mmc_jax.frontier.generalisation.failures import CoFailures, co_failures
from mmc_jax.frontier.generalisation.other_texts import HeldOut, held_out
from mmc_jax.frontier.pareto import Frontier
from mmc_jax.frontier.pruning import cut_width
from mmc_jax.statistics.resampling import held_out_texts

# Share of the resamples in every interval.
LEVEL = 0.95


class Checks(NamedTuple):
    """What is asked of other texts; nothing by default.

    Attributes:
      held_out: Share of the texts that are kept away from the search, to
        evaluate its subsets on.
      num_splits: Number of random splits of the texts into halves, each of
        which chooses subsets for the other.
      num_resamples: Number of resamples of the texts with the frontier's
        subsets fixed.
      num_searches: Number of resamples of the texts that each find a frontier
        of their own.
      fail_above: Loss above which a model fails on a text; None for no count
        of failures.
      by_domain: Whether texts of one domain stay together.
      seed: Seed of all random choices.
    """

    held_out: float = 0.0
    num_splits: int = 0
    num_resamples: int = 0
    num_searches: int = 0
    fail_above: float | None = None
    by_domain: bool = False
    seed: int = 0


class Generalisation(NamedTuple):
    """What other texts say of a frontier; None where a check is not asked for.

    Attributes:
      checks: What was asked for.
      num_held_out: Number of texts that were kept away from the search.
      held_out: Losses of the frontier's subsets on these texts.
      cross_fitted: Losses where one half of the other texts chose the subsets,
        on that half and on the other one.
      fixed_band: Intervals of the losses with the frontier's subsets fixed.
      searched_band: Intervals of the losses where each resample of the texts
        finds a frontier of its own.
      co_failures: Texts on which every model fails.
      width: Largest number of subsets of one size that searches on halves and
        resamples extend; None where it is in the thousands, or no such search
        was asked for.
    """

    checks: Checks
    num_held_out: int
    held_out: HeldOut | None
    cross_fitted: CrossFitted | None
    fixed_band: Band | None
    searched_band: Band | None
    co_failures: CoFailures | None
    width: int | None = None

    @property
    def band(self) -> Band | None:
        """A band with the loss of all models together, if there is one."""
        return self.fixed_band or self.searched_band


def texts_to_hold_out(
    domains: Sequence[str],
    checks: Checks,
    clusters: Sequence[str] | None = None,
) -> np.ndarray:
    """Returns which texts are kept away from the search: bool [X].

    Args:
      domains: Domain of each text, [X].
      checks: What is asked for.
      clusters: What stays together, [X], where domains do not; None where
        single texts are chosen.

    Raises:
      ValueError: A share that is negative, or 1 or more; fewer than 2 texts,
        or domains where they stay together.
    """
    if checks.held_out == 0:
        return np.zeros(len(domains), bool)
    if not 0 < checks.held_out < 1:
        raise ValueError(
            f"held_out is {checks.held_out}; a share of the texts, between 0 "
            "and 1, is needed."
        )
    return held_out_texts(
        len(domains),
        _clusters(domains, checks) or clusters,
        checks.held_out,
        checks.seed,
    )


def generalisation(
    losses: np.ndarray,
    costs: np.ndarray,
    domains: Sequence[str],
    found: Frontier,
    search: Search,
    checks: Checks,
    held_out_losses: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    held_out_weights: np.ndarray | None = None,
    clusters: Sequence[str] | None = None,
) -> Generalisation:
    """Returns what other texts say of a frontier, as far as it is asked for.

    Args:
      losses: Losses that the frontier was searched on, [M, X].
      costs: Cost of each model, [M].
      domains: Domain of each text, [X].
      found: Frontier that the search returned.
      search: Search that found the frontier.
      checks: What is asked for.
      held_out_losses: Losses on the texts that were kept away from the search,
        [M, Y]; None where there are none.
      weights: Weight of each text, [X]; None for 1 each.
      held_out_weights: Weight of each text that was kept away, [Y]; None for 1
        each.
      clusters: What stays together, [X], where domains do not; None where
        single texts are split and resampled.

    Raises:
      ValueError: Fewer than 2 texts or domains where they are resampled or
        split; a negative number of splits or resamples.
    """
    options = {
        "clusters": _clusters(domains, checks) or clusters,
        "seed": checks.seed,
        "weights": weights,
    }

    def band(number: int, search: Search | None) -> Band | None:
        if not number:
            return None
        return bootstrap_band(
            losses,
            costs,
            found.masks,
            search=search,
            num_resamples=number,
            level=LEVEL,
            **options,
        )

    fixed = band(checks.num_resamples, None)
    searched = band(checks.num_searches, search)
    other, halves, failures = None, None, None
    if held_out_losses is not None:
        other = held_out(found.masks, held_out_losses, costs, held_out_weights)
    if checks.num_splits:
        halves = cross_fitted(
            losses,
            costs,
            search=search,
            num_splits=checks.num_splits,
            budgets=found.costs,
            **options,
        )
    if checks.fail_above is not None:
        failures = co_failures(losses, checks.fail_above, LEVEL)
    return Generalisation(
        checks,
        0 if held_out_losses is None else held_out_losses.shape[1],
        other,
        halves,
        fixed,
        searched,
        failures,
        _width(losses.shape, search, checks),
    )


def _width(
    shape: tuple[int, int], search: Search, checks: Checks
) -> int | None:
    num_models, num_texts = shape
    widths = [
        cut_width(search, num_models, texts)
        for texts, number in (
            (-(-num_texts // 2), checks.num_splits),
            (num_texts, checks.num_searches),
        )
        if number
    ]
    return min((n for n in widths if n is not None), default=None)


def _clusters(domains: Sequence[str], checks: Checks) -> Sequence[str] | None:
    return domains if checks.by_domain else None
