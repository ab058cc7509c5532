"""Laws as result folders: numbers and figures, with their words beside."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmc_jax import law, stages
from mmc_jax.report import law_figures, law_sentences
from mmc_jax.report.result import fitted, interval_numbers, law_numbers
from mmc_jax.report.sections import Section, write_sections

_PARAMETERS = ("A", "alpha", "L_inf")


def write_laws(
    study: law.LawStudy,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    budgets: Sequence[float] = (),
    losses: Sequence[float] = (),
    more: Sequence[Section] = (),
) -> str:
    """Writes laws as a result folder and returns what they say in words.

    Args:
      study: Laws of points or of a score table.
      out: Result folder to write.
      flags: What the program was called with.
      budgets: Budgets at which the loss is asked for.
      losses: Losses for which the budget is asked for.
      more: Further sections of the folder, after those of the laws.
    """
    with stages.stage("summing up the laws"):
        sections = [
            laws_section(study),
            *([pool_section(study)] if study.pool is not None else []),
            shared_section(study.shared),
            answers_section(law.answers(study.laws, budgets, losses)),
            *more,
        ]
    return write_sections(out, sections, flags=flags)


def laws_section(study: law.LawStudy) -> Section:
    """Returns what the law of each group says.

    Args:
      study: Laws of points or of a score table.
    """
    numbers = {
        **{name: _group_numbers(found) for name, found in study.laws.items()},
        **{name: {"not_fitted": why} for name, why in study.reasons.items()},
    }
    figures = {}
    if study.laws:
        figures = {
            name: functools.partial(draw, study.laws)
            for name, draw in (
                ("laws", law_figures.points_and_laws),
                ("residuals", law_figures.residuals),
                ("profiles", law_figures.profiles),
                ("forms", law_figures.forms),
            )
        }
    return Section(
        {"laws": numbers},
        figures=figures,
        sentences=[
            *law_sentences.table(study.laws, study.reasons),
            *law_sentences.statements(study.laws),
            *law_sentences.variants(study.laws),
            *law_sentences.forms(study.laws),
        ],
    )


def pool_section(study: law.LawStudy) -> Section:
    """Returns how the law of the pool depends on its texts and models.

    Args:
      study: Laws of a score table.
    """
    pool = study.pool
    numbers: dict[str, Any] = {
        "best_model": pool.best_model,
        "loss_of_best_model": pool.best_loss,
        "loss_of_all_models": pool.all_models,
        "gain_percent": law_sentences.gain_percent(pool),
        "not_fitted": pool.reasons,
    }
    if pool.full is not None:
        numbers["full_bootstrap"] = _bootstrap_numbers(pool.full)
    for name, found in (("model", pool.models), ("family", pool.families)):
        if found is not None:
            numbers[f"without_one_{name}"] = _jackknife_numbers(found)
    if pool.held_out is not None:
        numbers["held_out"] = {
            "in_sample": law_numbers(pool.held_out.in_sample_law),
            "held_out": law_numbers(pool.held_out.held_out_law),
            "costs": pool.held_out.costs,
            "in_sample_losses": pool.held_out.in_sample,
            "held_out_losses": pool.held_out.held_out,
        }
    return Section(
        {"chain": numbers},
        sentences=law_sentences.pool(pool, study.laws.get("pool")),
    )


def shared_section(shared: Sequence[law.SharedFit]) -> Section:
    """Returns whether groups may share parameters.

    Args:
      shared: Answer to each question; none for a single group.
    """
    return Section(
        {"shared_parameters": fitted(list(shared))},
        sentences=law_sentences.shared(shared),
    )


def answers_section(answers: Sequence[law.Answer]) -> Section:
    """Returns losses at budgets, budgets for losses, and how laws compare.

    Args:
      answers: Answers of the laws.
    """
    numbers: dict[str, Any] = {}
    for answer in answers:
        of_subject = numbers.setdefault(answer.subject, {})
        found = {
            "value": fitted(answer.estimate.value),
            "interval": interval_numbers(answer.estimate),
        }
        if answer.at is None:
            of_subject[answer.question] = found
            continue
        asked = "budget" if answer.question == "loss_at_budget" else "loss"
        of_subject.setdefault(answer.question, []).append(
            {asked: answer.at, **found}
        )
        if asked == "budget":
            # Readers find this key also where no loss was asked for.
            of_subject.setdefault("budget_for_loss", [])
    return Section(
        {"answers": numbers}, sentences=law_sentences.answers(answers)
    )


def _group_numbers(found: law.GroupLaw) -> dict[str, Any]:
    return {
        **law_numbers(found.fit),
        "least_squares": law_numbers(found.least_squares),
        "intervals_of_resampled_" + found.resampled_unit: {
            name: interval_numbers(found.resampled_fit.interval(name))
            for name in _PARAMETERS
        },
        "share_of_resamples_with_a_law": law.usable(found.resampled).mean(),
        "profiles": {
            name: {
                "least_squares_estimate": fitted(profile.estimate),
                "low": fitted(profile.low),
                "high": fitted(profile.high),
                "identified": profile.identified,
                "statement": law.statement(profile, found.losses.min()),
            }
            for name, profile in found.profiles.items()
        },
        "least_loss": found.losses.min(),
        "num_rises": found.num_rises,
        "variants": {
            name: law_numbers(fit) for name, fit in found.variants.items()
        },
        "forms": fitted(found.forms),
        "not_fitted": found.reasons,
    }


def _bootstrap_numbers(found: law.Bootstrap) -> dict[str, Any]:
    return {
        "num_resamples": len(found.usable),
        "share_with_a_law": found.usable.mean(),
        **{
            name: interval_numbers(found.interval(name))
            for name in _PARAMETERS
            if found.usable.any()
        },
        "loss_of_all_models": interval_numbers(found.all_models_interval),
    }


def _jackknife_numbers(found: law.Jackknife) -> dict[str, Any]:
    return {
        "laws": {
            label: {
                parameter: fitted(getattr(found.laws, parameter)[i])
                for parameter in _PARAMETERS
            }
            for i, label in enumerate(found.labels)
        },
        "standard_error": {
            parameter: fitted(
                law.standard_error(getattr(found.laws, parameter))
            )
            for parameter in ("alpha", "L_inf")
        },
        "not_fitted": found.not_fitted,
    }
