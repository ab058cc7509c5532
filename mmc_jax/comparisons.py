"""Two studies side by side: their laws, frontiers, families and models.

B budgets.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import limits
from mmc_jax.statistics import Estimate

# Budgets at which two frontiers are compared.
_NUM_BUDGETS = 24
# Laws by their names in a result of trace_frontier, and on a page.
_LAWS = {"single": "single", "pool": "oracle"}
_PARAMETERS = ("alpha", "L_inf")


class StudyResult(NamedTuple):
    """What a result folder says of one study.

    Attributes:
      folder: Path of the folder, as it was given.
      num_models: Number of models.
      num_texts: Number of texts.
      normalisation: One of `scores.NORMALISATIONS`.
      loss_unit: Unit of the losses, in words.
      cost: Name of the cost.
      chars_per_token: Constant of `text_length`; None where it is not known.
      models: Mean loss of each model, by its name.
      families: Family of each model, by its name.
      all_models: Oracle loss of all models together.
      frontiers: Costs and losses by "single" and "pool", [F] each.
      laws: Parameters "alpha" and "L_inf" of each law, by "single" and "pool",
        with intervals where the folder has them; without laws that were not
        fitted.
      win_shares: Share of the texts that each family wins; empty where the
        folder does not say.
    """

    folder: str
    num_models: int
    num_texts: int
    normalisation: str
    loss_unit: str
    cost: str
    chars_per_token: float | None
    models: dict[str, float]
    families: dict[str, str]
    all_models: float
    frontiers: dict[str, tuple[np.ndarray, np.ndarray]]
    laws: dict[str, dict[str, Estimate]]
    win_shares: dict[str, float]


class Comparison(NamedTuple):
    """Two studies side by side; differences are b - a.

    Attributes:
      a: The first study.
      b: The second study, its losses in the unit of the first.
      factor: What the losses of the second were multiplied by, because the
        texts of the two have other characters per token; 1 for nothing.
      laws: Difference of each parameter, by law and parameter, with an interval
        where both have one.
      budgets: Budgets that buy a subset in both studies, evenly spread on a
        log scale, [B].
      bought: Losses that each budget buys of "single" and "pool", in the first
        and in the second study, [2, B] by name.
      gain_percent: By how many percent all models together are better than the
        best of them, in the first and in the second study.
      win_shares: Shares of the texts that a family wins in the first and in the
        second study, by family; empty where one of them does not say.
      models: Mean losses of the models of both studies, in the first and in the
        second, by name.
    """

    a: StudyResult
    b: StudyResult
    factor: float
    laws: dict[str, dict[str, Estimate]]
    budgets: np.ndarray
    bought: dict[str, np.ndarray]
    gain_percent: tuple[float, float]
    win_shares: dict[str, tuple[float, float]]
    models: dict[str, tuple[float, float]]


def read_result(folder: str | os.PathLike[str]) -> StudyResult:
    """Returns what a result folder says of its study.

    Args:
      folder: Result folder of trace_frontier or of report.

    Raises:
      FileNotFoundError: It has no result.json.
      ValueError: It cannot be read, or is not of a study.
    """
    path = pathlib.Path(folder, "result.json")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; give a result folder of trace_frontier or report"
        )
    limits.check_file("result", path)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not readable as JSON ({limits.reason(error)})"
        ) from error
    try:
        return _study_result(os.fspath(folder), content)
    except (
        LookupError,
        TypeError,
        ArithmeticError,
        ValueError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{path}: not the result of a study ({type(error).__name__}: "
            f"{error}); give a result folder of trace_frontier or report"
        ) from error


def _study_result(folder: str, content: Mapping[str, Any]) -> StudyResult:
    study = content.get("study", content)
    models = {str(one["name"]): one for one in study["models"]}
    found = StudyResult(
        folder=folder,
        num_models=int(study["num_models"]),
        num_texts=int(study["num_texts"]),
        normalisation=str(study["normalisation"]),
        loss_unit=str(study["loss_unit"]),
        cost=str(study["cost"]),
        chars_per_token=_positive(study["chars_per_token"]),
        models={name: _number(one["loss"]) for name, one in models.items()},
        families={
            name: str(one["family"] or "") for name, one in models.items()
        },
        all_models=_number(study["loss_of_all_models"]),
        frontiers={
            name: (
                np.array([point["cost"] for point in points], np.float64),
                np.array([point["loss"] for point in points], np.float64),
            )
            for name, points in (
                ("single", study["single"]),
                ("pool", study["frontier"]),
            )
        },
        laws=_laws(study["laws"], content.get("law", {}).get("views") or []),
        win_shares=_win_shares(content.get("diversity", {}).get("models", [])),
    )
    if not models or any(
        not len(costs) or not np.isfinite([costs, losses]).all()
        for costs, losses in found.frontiers.values()
    ):
        raise ValueError("no models, or a frontier without points")
    if len(models) < len(study["models"]):
        raise ValueError("two models of one name")
    return found


def _number(value: Any) -> float:
    """Returns a finite number of a result.json, as a float."""
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _positive(value: Any) -> float | None:
    """Returns a number above 0, or None for null."""
    if value is not None and _number(value) <= 0:
        raise ValueError(f"{value!r} is not above 0")
    return None if value is None else _number(value)


def _laws(
    laws: Mapping[str, Any], views: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Estimate]]:
    """Returns the fitted laws, with intervals where a page has them."""
    found = {}
    for name, line in _LAWS.items():
        if "not_fitted" in laws[name]:
            continue
        of_page = views[0]["lines"].get(line, {}) if views else {}
        law = of_page.get("law") or laws[name]
        intervals = law.get("intervals") or {}
        found[name] = {}
        for parameter in _PARAMETERS:
            ends = intervals.get(parameter)
            found[name][parameter] = Estimate(
                _number(law[parameter]),
                *map(_number, (ends["low"], ends["high"]) if ends else ()),
            )
    return found


def _win_shares(models: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for one in models:
        family = str(one["family"] or "")
        shares[family] = shares.get(family, 0.0) + _number(one["win_share"])
    return shares


def comparison(a: StudyResult, b: StudyResult) -> Comparison:
    """Returns two studies side by side.

    Losses per token of average length depend on each study's characters per
    token. They are brought to those of the first study, which is exact.

    Args:
      a: The first study.
      b: The second study, of other texts, models or dates.

    Raises:
      ValueError: Studies that cannot be compared: another normalisation, unit
        or cost, or text lengths that only one of them knows.

    Source: intervals of differences by Zou and Donner 2008, Construction of
    confidence limits about effect measures, for independent studies.
    """
    for field in ("normalisation", "loss_unit", "cost"):
        ours, theirs = getattr(a, field), getattr(b, field)
        if ours != theirs:
            raise ValueError(
                f"{a.folder} and {b.folder} cannot be compared: the {field} is "
                f"{ours!r} in one and {theirs!r} in the other; make both with "
                "the same flags --normalisation and --cost"
            )
    factor = 1.0
    if a.normalisation == "text_length":
        if not (a.chars_per_token and b.chars_per_token):
            raise ValueError(
                f"{a.folder} and {b.folder} cannot be compared: text_length "
                "needs chars_per_token in both; take --normalisation="
                "nats_per_char"
            )
        factor = a.chars_per_token / b.chars_per_token
    b = _scaled(b, factor)
    budgets, bought = _bought(a, b)
    families = a.win_shares.keys() | b.win_shares.keys()
    if not (a.win_shares and b.win_shares):
        families = set()
    return Comparison(
        a=a,
        b=b,
        factor=factor,
        laws={
            name: {
                parameter: difference(
                    a.laws[name][parameter], b.laws[name][parameter]
                )
                for parameter in _PARAMETERS
            }
            for name in _LAWS
            if name in a.laws and name in b.laws
        },
        budgets=budgets,
        bought=bought,
        gain_percent=(_gain_percent(a), _gain_percent(b)),
        win_shares={
            family: (
                a.win_shares.get(family, 0.0),
                b.win_shares.get(family, 0.0),
            )
            for family in sorted(families)
        },
        models={
            name: (loss, b.models[name])
            for name, loss in a.models.items()
            if name in b.models
        },
    )


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Returns b - a, with an interval where both have one.

    low = d - sqrt((b - b_low)^2 + (a_high - a)^2), high alike

    Args:
      a: Number of the first of two independent studies.
      b: Number of the second.

    >>> print(difference(Estimate(1.0, 0.7, 1.3), Estimate(2.0, 1.6, 2.4)))
    1 [0.5, 1.5]
    """
    value = b.value - a.value
    if not (a.has_interval and b.has_interval):
        return Estimate(value)
    return Estimate(
        value,
        value - math.hypot(b.value - b.low, a.high - a.value),
        value + math.hypot(b.high - b.value, a.value - a.low),
    )


def _scaled(study: StudyResult, factor: float) -> StudyResult:
    """Returns a study whose losses are multiplied by a number."""
    laws = {
        name: {
            **law,
            "L_inf": Estimate(
                *(factor * end for end in law["L_inf"][:3]), law["L_inf"].level
            ),
        }
        for name, law in study.laws.items()
    }
    return study._replace(
        models={name: factor * loss for name, loss in study.models.items()},
        all_models=factor * study.all_models,
        frontiers={
            name: (costs, factor * losses)
            for name, (costs, losses) in study.frontiers.items()
        },
        laws=laws,
    )


def _bought(
    a: StudyResult, b: StudyResult
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns budgets, and what each buys in the two studies."""
    costs = [of[0] for one in (a, b) for of in one.frontiers.values()]
    first = max(of.min() for of in costs)
    last = min(of.max() for of in costs[1::2])
    if first == 0:
        # Free models are bought at each budget; a log scale begins later.
        paid = np.concatenate(costs)
        first = paid[paid > 0].min(initial=np.inf)
    if not 0 < first <= last:
        return np.empty(0), {}
    # Roundings must not leave a budget below what it shall buy.
    budgets = np.geomspace(first, last, _NUM_BUDGETS).clip(first, last)
    budgets[[0, -1]] = first, last
    return budgets, {
        name: np.array(
            [
                [
                    losses[costs <= budget].min()
                    for budget in budgets
                    for costs, losses in [one.frontiers[name]]
                ]
                for one in (a, b)
            ]
        )
        for name in a.frontiers
    }


def _gain_percent(study: StudyResult) -> float:
    best = min(study.models.values())
    return 100 * (1 - study.all_models / best) if best > 0 else math.nan
