"""Laws under other ways to count parameters, or any other cost.

M models.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import frontier, stages
from mmc_jax.law.evaluation import floor_gap_percent
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.resampling import (
    ResampledFit,
    estimate_answer,
    fit_each,
    text_bootstrap,
)
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import Estimate

# What the parameters of a model may be: all; without embeddings and output
# head, as in Kaplan et al. 2020 (arXiv 2001.08361); those of one token.
COUNTINGS = ("num_params", "num_non_embedding_params", "num_active_params")
_LINES = ("single models", "pool")


class CountedLaws(NamedTuple):
    """The laws of single models and of the pool under one counting.

    Attributes:
      counting: Name of the cost that counts.
      same_as: Name of an earlier counting with the same numbers; None where
        there is none.
      laws: Laws by "single models" and "pool", without those that cannot be
        fitted.
      reasons: Reason why a law is missing, by the same names.
      floor_gap: How many percent the floor of the pool lies below that of the
        single models; None without both laws.
    """

    counting: str
    same_as: str | None
    laws: dict[str, ResampledFit]
    reasons: dict[str, str]
    floor_gap: Estimate | None


def laws_by_counting(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    countings: Sequence[str] = COUNTINGS,
    known: Mapping[str, Mapping[str, ResampledFit]] = MappingProxyType({}),
    search: frontier.Search = frontier.pruned,
    by_domain: bool = False,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, CountedLaws], dict[str, str]]:
    """Returns the laws under each counting that is known of all models.

    Each counting has frontiers of its own: what is cheap under one may be dear
    under another.

    Args:
      table: Score table of the models and texts.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      countings: Names of the costs that count.
      known: Laws that are fitted already, "single models" and "pool" with
        resamples of the same texts, by the name of the counting.
      search: Function that finds a frontier, such as `frontier.pruned`.
      by_domain: Whether texts of one domain are resampled together.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the texts with the frontier's
        subsets fixed.
      seed: Seed of the random resamples.

    Returns:
      The laws by the name of the counting; and by name why one is missing.

    Raises:
      ValueError: The table lacks what the normalisation needs.
    """
    losses, weights = table.weighted_losses(normalisation)
    resampling = {
        "clusters": table.clusters(by_domain=by_domain),
        "num_resamples": num_resamples,
        "seed": seed,
        "weights": weights,
    }
    options: dict[str, Any] = {"delta": delta, "num_starts": num_starts}
    found: dict[str, CountedLaws] = {}
    reasons, costs_of = {}, {}
    for counting in countings:
        lacking = table.models_without_cost(counting)
        if lacking:
            more = ", ..." if len(lacking) > 3 else ""
            reasons[counting] = (
                f"not known of {len(lacking)} of {len(table.models)} models: "
                f"{', '.join(lacking[:3])}{more}"
            )
            continue
        costs = costs_of[counting] = table.costs(counting)
        same = next(
            (name for name in found if np.array_equal(costs_of[name], costs)),
            None,
        )
        if same is not None:
            found[counting] = found[same]._replace(
                counting=counting, same_as=same
            )
            continue
        if len(known.get(counting, ())) == len(_LINES):
            laws = {name: known[counting][name] for name in _LINES}
            found[counting] = CountedLaws(counting, None, laws, {}, _gap(laws))
            continue
        with stages.stage(f"fitting the laws of {counting}"):
            found[counting] = _counted_laws(
                counting, losses, weights, costs, search, resampling, options
            )
    return found, reasons


def _counted_laws(
    counting: str,
    losses: np.ndarray,
    weights: np.ndarray | None,
    costs: np.ndarray,
    search: frontier.Search,
    resampling: dict[str, Any],
    options: dict[str, Any],
) -> CountedLaws:
    found = (
        frontier.single_models(losses, costs, weights),
        search(losses, costs, weights),
    )
    lines = dict(zip(_LINES, found, strict=True))
    laws, reasons = fit_each(
        {name: (line.costs, line.losses) for name, line in lines.items()},
        lambda name: (
            text_bootstrap(
                losses,
                lines[name].costs,
                lines[name].masks,
                **resampling,
                **options,
            ).laws
        ),
        **options,
    )
    return CountedLaws(counting, None, laws, reasons, _gap(laws))


def _gap(laws: Mapping[str, ResampledFit]) -> Estimate | None:
    if len(laws) < len(_LINES):
        return None
    return estimate_answer(floor_gap_percent, *(laws[name] for name in _LINES))
