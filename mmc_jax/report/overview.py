"""All that a page says of one table, as chapters of one result.json.

M models, X texts, F frontier points, G places on the axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax.diversity import Summary
from mmc_jax.law import ResampledFit
from mmc_jax.overviews import Line, Overview, View
from mmc_jax.report import labels, result
from mmc_jax.report.diversity import diagnosis_section, diversity_sections
from mmc_jax.report.families import families_sections
from mmc_jax.report.granularity import granularity_section
from mmc_jax.report.routers import routers_sections
from mmc_jax.report.sandwich import sandwich_sections
from mmc_jax.report.sections import Section, chapter
from mmc_jax.report.study import study_sections

# Points of a line that further views have: the page stays small.
_MOST_POINTS = 1000
_PARAMETERS = ("A", "alpha", "L_inf")
# The tables of a study of families are named; a page has one.
_ALL_TEXTS = "all texts"
# Models whose pairs stand on a page: their number squared is written.
_MOST_PAIRED = 200


def overview_sections(
    found: Overview, texts: Mapping[str, str] | None = None
) -> list[Section]:
    """Returns the chapters of a page, each with its numbers under its name.

    Args:
      found: What `overviews.overview` returns.
      texts: Texts by their ids, where the page shall show the worst and the
        most contested ones themselves; None to show their ids alone.
    """
    study = found.study
    names = [model.name for model in study.table.models]
    axes = {"normalisation": study.normalisation, "cost": study.cost}
    unit = study.table.loss_unit(study.normalisation)
    chapters: dict[str, list[Section]] = {
        "study": study_sections(study),
        "law": [_law_section(found.views, names)],
        "diagnosis": [
            diagnosis_section(
                found.findings,
                found.dropped,
                names,
                unit,
            )
        ],
        "texts": [_texts_section(found, texts)],
        "scores": [Section({"sha256": found.scores_sha256})],
        "not_there": [Section(found.reasons)],
    }
    if found.systems is not None:
        chapters["systems"] = sandwich_sections(found.systems)
    if found.families is not None:
        chapters["families"] = families_sections(
            {_ALL_TEXTS: found.families}, {_ALL_TEXTS: study.table}, **axes
        )
    if found.summary is not None:
        chapters["diversity"] = [
            *diversity_sections(found.summary),
            _pair_gains_section(found.summary),
        ]
    if found.domains is not None:
        chapters["domains"] = [_domains_section(found)]
    if found.granularity is not None:
        chapters["granularity"] = [granularity_section(found.granularity)]
    if found.routers is not None:
        chapters["routers"] = routers_sections(
            found.routers, unit=unit, cost=study.cost
        )
    return [chapter(name, sections) for name, sections in chapters.items()]


def _pair_gains_section(found: Summary) -> Section:
    """Returns the gains of pairs, of very many models of some.

    These are the models of the largest Shapley values, in the table's order;
    "paired_models" names them. The gains of all stand in arrays.npz.
    """
    models, gains = found.table.models, found.matrices["pair_gains"]
    if len(models) <= _MOST_PAIRED:
        return Section({"pair_gains": gains})
    best = np.argsort(-found.shapley.values, kind="stable")[:_MOST_PAIRED]
    chosen = np.sort(best)
    return Section(
        {
            "paired_models": [
                {"name": models[m].name, "family": models[m].family}
                for m in chosen
            ],
            "pair_gains": gains[np.ix_(chosen, chosen)],
        }
    )


def _law_section(views: Sequence[View], names: Sequence[str]) -> Section:
    """Returns the lines of the law's figure at each normalisation and cost."""
    return Section(
        {
            "views": [
                _view_numbers(view, names, _MOST_POINTS if v else None)
                for v, view in enumerate(views)
            ]
        }
    )


def _view_numbers(
    view: View, names: Sequence[str], most: int | None
) -> dict[str, Any]:
    return {
        "normalisation": view.normalisation,
        "loss_unit": view.loss_unit,
        "cost": view.cost,
        "cost_label": labels.cost_label(view.cost),
        "model_costs": view.costs,
        "model_losses": view.losses,
        # Powers differ in their last bit from one processor to another.
        "budgets": result.fitted(view.budgets),
        "losses": result.fitted(view.loss_places),
        "num_budgets_inside": view.num_inside,
        **(
            {}
            if view.few_resampled is None
            else {"most_resampled_points": view.few_resampled}
        ),
        "lines": {
            name: _line_numbers(line, names, most)
            for name, line in view.lines.items()
        },
        "not_there": view.reasons,
    }


def _line_numbers(
    line: Line, names: Sequence[str], most: int | None
) -> dict[str, Any]:
    """Returns a line as JSON, at most so many of its points, evenly spaced."""
    number = len(line.points.costs)
    shown = np.arange(number)
    if most is not None and number > most:
        shown = np.unique(np.linspace(0, number - 1, most).round().astype(int))
    found: dict[str, Any] = {
        "num_points": number,
        "costs": line.points.costs[shown],
        "losses": line.points.losses[shown],
        "models": labels.subsets(line.points.masks[shown], names),
        "law": None,
        "not_fitted": line.reason or None,
        "readings": None,
    }
    if line.router:
        found["router"] = line.router
    if line.law is not None and line.readings is not None:
        found["law"] = _law_numbers(line.law)
        loss, budget = line.readings
        found["readings"] = result.fitted(
            {
                "loss": loss.value,
                "loss_low": loss.low,
                "loss_high": loss.high,
                "budget": budget.value,
                "budget_low": budget.low,
                "budget_high": budget.high,
            }
        )
    return found


def _law_numbers(found: ResampledFit) -> dict[str, Any]:
    intervals = {}
    if found.resampled is not None:
        intervals = {
            name: result.interval_numbers(found.interval(name))
            for name in _PARAMETERS
        }
    return {**result.law_numbers(found.fit), "intervals": intervals}


def _domains_section(found: Overview) -> Section:
    domains = found.domains
    return Section(
        {
            "domains": [
                {
                    "name": name,
                    "num_texts": domains.num_texts[d],
                    "oracle_loss": domains.oracle[d],
                    "best_model": found.study.table.models[
                        int(domains.losses[d].argmin())
                    ].name,
                    "best_loss": domains.losses[d].min(),
                }
                for d, name in enumerate(domains.domains)
            ],
            "losses": domains.losses,
        }
    )


def _texts_section(found: Overview, texts: Mapping[str, str] | None) -> Section:
    extremes, losses = found.extremes, found.study.losses
    table = found.study.table

    def row(x: int) -> dict[str, Any]:
        of_text = {
            "text_id": table.texts.ids[x],
            "domain": table.texts.domains[x],
            "oracle_loss": losses[:, x].min(),
            "best_model": table.models[int(losses[:, x].argmin())].name,
            "gain": extremes.gains[x],
            "losses": losses[:, x],
        }
        if texts is not None:
            of_text["text"] = texts.get(table.texts.ids[x])
        return of_text

    return Section(
        {
            "best_model": table.models[extremes.best_model].name,
            "worst": [row(x) for x in extremes.worst],
            "contested": [row(x) for x in extremes.contested],
        }
    )
