"""The answer in three sentences: pool, mixture, router."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmc_jax.realizable import EqualBudget, RouterStudy
from mmc_jax.report import labels, result
from mmc_jax.report.sections import Section
from mmc_jax.statistics import Estimate

# Models of a subset that a sentence names.
_MOST_NAMES = 6
# JSON Pointers of what each sentence rests on.
_FIELDS = (
    ["/answer/lower_percent", "/answer/pool_loss", "/answer/single_loss"],
    ["/answer/mixture_share", "/answer/mixture_loss"],
    ["/answer/router"],
)
_UNREADABLE = (
    "routers.entries is not what compare_systems writes; run it again, or "
    "leave this folder out of --more_results"
)
_NOT_MEASURED = (
    "What a router attains was not measured: compare_systems --routers=all "
    "measures it."
)


class RouterAnswer(NamedTuple):
    """The best of the routers that were compared, for the third sentence.

    Attributes:
      name: Name of the router of the least loss.
      num_compared: Number of routers that were compared.
      closed_gap: Share of the gap between the best single model and the oracle
        that it closes; NaN where there is no gap.
      loss: Mean loss of the models that it chose.
    """

    name: str
    num_compared: int
    closed_gap: Estimate
    loss: Estimate


def router_answer(
    routers: RouterStudy | Mapping[str, Any] | None,
) -> RouterAnswer | None:
    """Returns the best router, or None where none was measured.

    Args:
      routers: What `realizable.router_study` returns; or "routers" of a
        result.json of compare_systems; or None.

    Raises:
      ValueError: The result is not what compare_systems writes.
    """
    if routers is None:
        return None
    if isinstance(routers, RouterStudy):
        found = {
            name: (entry.evaluation.closed_gap, entry.evaluation.routed)
            for name, entry in routers.entries.items()
        }
    else:
        entries = routers.get("entries")
        if not isinstance(entries, Mapping):
            raise ValueError(_UNREADABLE)
        found = {
            name: (_estimate(entry, "closed_gap"), _estimate(entry, "routed"))
            for name, entry in entries.items()
        }
    if not found:
        return None
    best = min(found, key=lambda name: found[name][1].value)
    return RouterAnswer(best, len(found), *found[best])


def _estimate(entry: Any, name: str) -> Estimate:
    """Returns a number with its interval as result.json has it."""
    numbers = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(numbers, Mapping):
        raise ValueError(_UNREADABLE)
    values = [numbers.get(key) for key in ("value", "low", "high")]
    if any(
        value is not None
        and (isinstance(value, bool) or not isinstance(value, int | float))
        for value in values
    ):
        raise ValueError(_UNREADABLE)
    return Estimate(*(math.nan if v is None else float(v) for v in values))


def answer_section(
    found: EqualBudget,
    *,
    unit: str,
    routers: RouterStudy | Mapping[str, Any] | None = None,
) -> Section:
    """Returns how much a pool gains, and what a mixture and a router attain.

    The three sentences stand in `numbers["answer"]["sentences"]`: objects with
    "words" and "fields", the JSON Pointers of what the sentence rests on.

    Args:
      found: What `realizable.equal_budget` returns.
      unit: Unit of the losses in words, as `ScoreTable.loss_unit` returns it.
      routers: What `realizable.router_study` returns; or "routers" of a
        result.json of compare_systems; None where no router was measured.

    Raises:
      ValueError: The routers are not what compare_systems writes.
    """
    router = router_answer(routers)
    sentences = [
        _pool_sentence(found, unit),
        _mixture_sentence(found),
        _router_sentence(router),
    ]
    numbers: dict[str, Any] = {
        "sentences": [
            {"words": labels.printable(words), "fields": fields}
            for words, fields in zip(sentences, _FIELDS, strict=True)
        ],
        "loss_unit": unit,
        "cost": found.cost,
        "num_texts": found.num_texts,
        "chosen_by_halves": [choice._asdict() for choice in found.chosen],
        "single_loss": result.fitted(found.single),
        "pool_loss": result.fitted(found.pool),
        "mixture_loss": result.fitted(found.mixture),
        "lower": result.fitted(found.lower),
        "lower_percent": result.fitted(found.lower_percent),
        "mixture_share": result.fitted(found.mixture_share),
        "why_no_mixture_share": found.why_no_share,
        "router": None,
    }
    if router is not None:
        numbers["router"] = result.fitted(router)
    return Section({"answer": numbers}, sentences=["", *sentences])


def _pool_sentence(found: EqualBudget, unit: str) -> str:
    first, second = found.chosen
    best = dict.fromkeys(labels.shown(choice.single) for choice in found.chosen)
    cost = labels.cost_label(found.cost).lower()
    budgets = dict.fromkeys(_budget(choice.budget) for choice in found.chosen)
    at = f"{' or '.join(budgets)}, those of {' or '.join(best)}"
    where = f"At equal {cost} ({at}, the best single model)"
    if found.lower.value == 0 and all(
        choice.pool == (choice.single,) for choice in found.chosen
    ):
        return f"{where}, no pool loses less: the best subset is that model."
    losses = f"{found.pool.value:.4g} against {found.single.value:.4g} {unit}"
    subsets = _either(first.pool, second.pool)
    of = f"an ideal choice for each text ({subsets})"
    in_percent = not math.isnan(found.lower_percent.value)
    lower = found.lower_percent if in_percent else found.lower
    word = "less"
    if lower.high < 0:
        word = "more"
        lower = lower._replace(
            value=-lower.value, low=-lower.high, high=-lower.low
        )
    by = _percent(lower) if in_percent else lower.text(".4g", ".3g")
    says = f"{where}, {of} loses {by} {word}, {losses}"
    if word == "less" and not found.lower.low > 0:
        return f"{says}; the interval holds 0, so this may be chance."
    return f"{says}, on texts that chose neither."


def _mixture_sentence(found: EqualBudget) -> str:
    if found.lower.value == 0:
        return "There is nothing for a mixture to attain at that cost."
    if found.mixture_share is None:
        return (
            "What a mixture attains of that is not known: "
            f"{found.why_no_share.rstrip('.')}."
        )
    if all(choice.mixture == (choice.single,) for choice in found.chosen):
        return (
            "No mixture of the same cost is better than that model: mixtures "
            "attain nothing of that."
        )
    share = found.mixture_share
    percent = share._replace(
        value=100 * share.value, low=100 * share.low, high=100 * share.high
    )
    names = _either(*(choice.mixture for choice in found.chosen))
    return (
        f"A mixture of the same cost ({names}), which needs no choice, attains "
        f"{_percent(percent)} of that."
    )


def _router_sentence(router: RouterAnswer | None) -> str:
    if router is None:
        return _NOT_MEASURED
    gap, which = router.closed_gap, labels.shown(router.name)
    if router.num_compared > 1:
        which += f", the best of {router.num_compared} on these texts"
    if math.isnan(gap.value):
        return (
            f"A router ({which}) has nothing to attain: no choice among all "
            "models is better than one of them."
        )
    percent = gap._replace(
        value=100 * gap.value, low=100 * gap.low, high=100 * gap.high
    )
    return (
        f"A router ({which}), which runs one model a text, attains "
        f"{_percent(percent)} of what an ideal choice among all models gains."
    )


def _budget(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}"


def _percent(estimate: Estimate) -> str:
    """Returns a number in percent with its interval."""
    return estimate.text(".3g", ".3g").replace(" [", " percent [") + (
        "" if estimate.has_interval else " percent"
    )


def _either(first: tuple[str, ...], second: tuple[str, ...]) -> str:
    """Returns what one half of the texts chose, and the other if it differs."""
    if first == second:
        return _subset(first)
    return f"{_subset(first)}; the other half chose {_subset(second)}"


def _subset(names: tuple[str, ...]) -> str:
    shown = [labels.shown(name) for name in names[:_MOST_NAMES]]
    if len(names) <= _MOST_NAMES:
        return ", ".join(shown)
    return f"{', '.join(shown)} and {len(names) - _MOST_NAMES} more"
