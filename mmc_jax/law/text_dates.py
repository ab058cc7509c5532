"""Laws by the age of texts: what no model can have seen in its training.

M models, X texts.
"""

import datetime
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, oracle, stages
from mmc_jax.dates import date_span
from mmc_jax.law.fitting import Fit, fit
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.scores import ScoreTable
from mmc_jax.scores.columns import RELEASE_DATE
from mmc_jax.statistics import Estimate, attempt, estimate, resampled_means

# Name of the period whose texts no model can have seen.
AFTER_ALL = "after all releases"

# Equal shares of the dated texts, by their dates.
_NUM_SHARES = 3


class Period(NamedTuple):
    """The laws of the texts of one time.

    Attributes:
      name: Name of the period: "before the last release", "after all
        releases", or "dates 1 of 3" and so on.
      first: Earliest day that one of its texts may be of.
      last: Latest day that one of its texts may be of.
      num_texts: Number of its texts.
      best_model: Name of the model of the least mean loss.
      best_loss: Mean loss of that model.
      all_models: Oracle loss of all models together.
      laws: Laws of the single models and of the pool, by "single models" and
        "pool"; without those that cannot be fitted.
      reasons: Reason why a law is missing, by the same names.
    """

    name: str
    first: datetime.date
    last: datetime.date
    num_texts: int
    best_model: str
    best_loss: float
    all_models: float
    laws: dict[str, Fit]
    reasons: dict[str, str]


class ModelAge(NamedTuple):
    """How a model does on texts from before and after its release.

    Attributes:
      model: Name of the model.
      release: Latest day that its release may be of.
      num_before: Number of texts from no later than the release.
      num_after: Number of texts from after the release.
      loss_before: Mean loss on the texts from before; NaN without any.
      loss_after: Mean loss on the texts from after; NaN without any.
      worse_after: How much its lead over the mean of all models is smaller on
        the texts from after, in the unit of the losses. Above 0 it looks as if
        it had seen texts from before. NaN without texts on both sides.
    """

    model: str
    release: datetime.date
    num_before: int
    num_after: int
    loss_before: float
    loss_after: float
    worse_after: Estimate


class Ages(NamedTuple):
    """The laws by the age of texts, and the models before and after.

    Attributes:
      num_dated: Number of texts whose date is known.
      num_undated: Number of texts without a date, which count nowhere here.
      undated_models: Names of the models without a date.
      last_release: Latest day that a model's release may be of; None where no
        model has a date.
      periods: Laws of the texts of each time that has texts.
      models: What each model with a date does before and after it.
    """

    num_dated: int
    num_undated: int
    undated_models: tuple[str, ...]
    last_release: datetime.date | None
    periods: tuple[Period, ...]
    models: tuple[ModelAge, ...]


def laws_by_age(
    table: ScoreTable,
    text_dates: Mapping[str, str],
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    search: frontier.Search = frontier.pruned,
    by_domain: bool = False,
    delta: float = HUBER_DELTA,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Ages:
    """Returns the laws of texts by their age, and each model by its own.

    A text from after the release of a model was not in its training. Of a date
    that is a year or a month, a text counts from its first day on and a model
    until its last: so "after" is sure.

    Args:
      table: Score table. Models have a date where their provenance has a
        `release_date`.
      text_dates: Date of each text by its id; texts may be missing.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      search: Function that finds a frontier, such as `frontier.pruned`.
      by_domain: Whether texts of one domain are resampled together.
      delta: Residual of log L from which on the Huber loss is linear.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the texts behind the intervals.
      seed: Seed of the random resamples.

    Raises:
      ValueError: No text of the table has a date; a date that is none, which is
        named; the table lacks what the normalisation or the cost needs.
    """
    ids = table.texts.ids if table.places is None else table.places.text_ids
    spans = [date_span(text_dates[i]) if i in text_dates else None for i in ids]
    dated = np.array([span is not None for span in spans])
    if not dated.any():
        example = next(iter(text_dates), "none")
        raise ValueError(
            "no text of the table has a date; the ids of the dates are such as "
            f"{example!r}, those of the table such as {ids[0]!r}."
        )
    first, last = (
        np.array([span[end].toordinal() if span else 0 for span in spans])
        for end in (0, 1)
    )
    losses, weights = table.weighted_losses(normalisation)
    weights = np.ones(len(ids)) if weights is None else weights
    releases = {
        model.name: date_span(str(model.provenance[RELEASE_DATE]))[1]
        for model in table.models
        if model.provenance.get(RELEASE_DATE)
    }
    last_release = max(releases.values(), default=None)
    periods = []
    for name, texts in _periods(dated, first, last_release).items():
        with stages.stage(f"fitting the laws of texts {name}"):
            periods.append(
                Period(
                    name,
                    datetime.date.fromordinal(int(first[texts].min())),
                    datetime.date.fromordinal(int(last[texts].max())),
                    *_laws_of(
                        table,
                        losses,
                        table.costs(cost),
                        np.where(texts, weights, 0.0),
                        search,
                        {"delta": delta, "num_starts": num_starts},
                    ),
                )
            )
    resampling = {
        "clusters": table.clusters(by_domain=by_domain),
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Ages(
        num_dated=int(dated.sum()),
        num_undated=int((~dated).sum()),
        undated_models=tuple(
            m.name for m in table.models if m.name not in releases
        ),
        last_release=last_release,
        periods=tuple(periods),
        models=tuple(
            _model_age(
                model.name,
                releases[model.name],
                losses[m],
                losses.mean(axis=0),
                weights,
                dated,
                first > releases[model.name].toordinal(),
                resampling,
            )
            for m, model in enumerate(table.models)
            if model.name in releases
        ),
    )


def _periods(
    dated: np.ndarray, first: np.ndarray, last_release: datetime.date | None
) -> dict[str, np.ndarray]:
    """Returns which texts are of each period that has some: bool [X] each."""
    found = {}
    if last_release is not None:
        after = dated & (first > last_release.toordinal())
        found["before the last release"] = dated & ~after
        found[AFTER_ALL] = after
    # Texts of one day stay together.
    ends = np.quantile(
        first[dated], np.arange(1, _NUM_SHARES) / _NUM_SHARES, method="lower"
    )
    share = np.searchsorted(ends, first, side="left")
    for i in range(_NUM_SHARES):
        found[f"dates {i + 1} of {_NUM_SHARES}"] = dated & (share == i)
    return {name: texts for name, texts in found.items() if texts.any()}


def _laws_of(
    table: ScoreTable,
    losses: np.ndarray,
    costs: np.ndarray,
    weights: np.ndarray,
    search: frontier.Search,
    options: dict[str, float],
) -> tuple[int, str, float, float, dict[str, Fit], dict[str, str]]:
    """Returns number, best model, losses and laws of texts of a weight."""
    lines = {
        "single models": frontier.single_models(losses, costs, weights),
        "pool": search(losses, costs, weights),
    }
    laws, reasons = attempt(
        {
            name: functools.partial(fit, line.costs, line.losses, **options)
            for name, line in lines.items()
        }
    )
    means = oracle.exact_means(losses, weights)
    best = int(means.argmin())
    return (
        int((weights > 0).sum()),
        table.models[best].name,
        float(means[best]),
        float(oracle.exact_means(losses.min(axis=0), weights)),
        laws,
        reasons,
    )


def _model_age(
    name: str,
    release: datetime.date,
    losses: np.ndarray,
    of_all: np.ndarray,
    weights: np.ndarray,
    dated: np.ndarray,
    is_after: np.ndarray,
    resampling: dict,
) -> ModelAge:
    """Returns one model before and after its release.

    Args:
      name: Name of the model.
      release: Day of its release.
      losses: Loss of each text under the model, [X].
      of_all: Mean loss of each text under all models, [X].
      weights: Weight of each text, [X].
      dated: Whether the date of a text is known, bool [X].
      is_after: Whether it is after the release, bool [X].
      resampling: How texts are resampled.
    """
    sides = [dated & ~is_after, dated & is_after]
    loss = [
        float(oracle.exact_means(losses, np.where(side, weights, 0.0)))
        if side.any()
        else np.nan
        for side in sides
    ]
    worse = Estimate(np.nan)
    if all(side.any() for side in sides):
        # Sums of a side over sums of its weights: ratios of means.
        shares = [np.where(side, weights, 0.0) for side in sides]
        rows = np.stack(
            [row for s in shares for row in (s * (losses - of_all), s)]
        )
        values = np.concatenate(
            [
                oracle.exact_means(rows)[None],
                resampled_means(rows, None, **resampling),
            ]
        )
        if (values[:, [1, 3]] > 0).all():
            after = values[:, 2] / values[:, 3]
            gaps = after - values[:, 0] / values[:, 1]
            worse = estimate(gaps[0], gaps[1:])
    return ModelAge(
        name, release, *(int(side.sum()) for side in sides), *loss, worse
    )
