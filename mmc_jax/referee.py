"""What referees ask of the laws of a score table, in one study."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import frontier, law, realizable, stages
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import attempt


class RefereeStudy(NamedTuple):
    """What referees ask of the laws of a score table.

    Attributes:
      normalisation: One of `scores.NORMALISATIONS`.
      loss_unit: Unit of the losses in words.
      cost: Name of the cost.
      answer: What a pool and a mixture lose at the budget of the best single
        model.
      extrapolation: Errors beyond the fitted budgets, and why there are none,
        by the name of the law.
      countings: Laws under each way to count parameters, by the name of the
        cost; fewer than two where others are not known of all models.
      unknown_countings: Reason why a counting is missing, by its name.
      tokens: Law of single models in parameters and training tokens; None
        where it is missing, or no model's training tokens are known.
      ages: Laws by the age of texts; None where no dates were given.
      reasons: Reason why "tokens" is missing though tokens are known.
    """

    normalisation: str
    loss_unit: str
    cost: str
    answer: realizable.EqualBudget
    extrapolation: dict[
        str, tuple[dict[float, law.ExtrapolationError], dict[float, str]]
    ]
    countings: dict[str, law.CountedLaws]
    unknown_countings: dict[str, str]
    tokens: law.TokensLaw | None
    ages: law.Ages | None
    reasons: dict[str, str]


def referee_study(
    table: ScoreTable,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    known: Mapping[str, law.ResampledFit] = MappingProxyType({}),
    text_dates: Mapping[str, str] | None = None,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: frontier.Search = frontier.pruned,
    by_domain: bool = False,
    delta: float = law.HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
) -> RefereeStudy:
    """Returns what referees ask of the laws of a score table.

    Args:
      table: Score table of the models and texts.
      points: Costs and losses of the points that laws were fitted to, by the
        name of the law.
      known: Laws of the cost with their resamples, "single models" and "pool",
        where they are fitted already with the same arguments.
      text_dates: Date of each text by its id, such as "2023-04-03"; None for
        those of the table, if it has any.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      search: Function that finds a frontier, such as `frontier.pruned`.
      by_domain: Whether texts of one domain stay together where texts are
        halved or resampled.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the texts behind the intervals.
      seed: Seed of the random resamples.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs; no
        text of the table has a date, though dates are given; a date that is
        none.
    """
    of_texts: dict[str, Any] = {
        "normalisation": normalisation,
        "by_domain": by_domain,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    of_fits: dict[str, Any] = {"delta": delta, "num_starts": num_starts}
    # What a mistake in the dates ends comes first.
    ages = None
    text_dates = table.text_dates if text_dates is None else text_dates
    if text_dates is not None:
        ages = law.laws_by_age(
            table, text_dates, cost=cost, search=search, **of_texts, **of_fits
        )
    countings, unknown = law.laws_by_counting(
        table, known={cost: known}, search=search, **of_texts, **of_fits
    )
    with stages.stage("predicting larger budgets"):
        extrapolation = {
            name: law.extrapolation_errors(costs, losses, **of_fits)
            for name, (costs, losses) in points.items()
        }
    with stages.stage("comparing at the budget of the best model"):
        answer = realizable.equal_budget(
            table, cost=cost, search=search, **of_texts
        )
    asked: dict[str, Callable[[], law.TokensLaw]] = {}
    if any(law.TRAINING_TOKENS in model.costs for model in table.models):
        asked["tokens"] = lambda: law.tokens_law(
            table, cost=cost, num_starts=num_starts, **of_texts
        )
    with stages.stage("fitting the law of training tokens"):
        found, reasons = attempt(asked)
    return RefereeStudy(
        normalisation=normalisation,
        loss_unit=table.loss_unit(normalisation),
        cost=cost,
        answer=answer,
        extrapolation=extrapolation,
        countings=countings,
        unknown_countings=unknown,
        tokens=found.get("tokens"),
        ages=ages,
        reasons=reasons,
    )
