"""All that is asked of routers on one table, in one study.

M models, X texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tqdm

from mmc_jax.realizable.contests import Contest
from mmc_jax.realizable.fitted import check_needs
from mmc_jax.realizable.preparation import Prepared
from mmc_jax.realizable.router_laws import RouterLaw, router_law
from mmc_jax.realizable.router_studies import (
    ColdStart,
    Entry,
    cold_start,
    compared_routers,
)
from mmc_jax.realizable.routers import ROUTERS


class RouterStudy(NamedTuple):
    """What routers make of a table.

    Attributes:
      prepared: The contest, with near-duplicates.
      entries: Each router by its name.
      reasons: Why other routers are not there, by their names.
      law: The law of one router; None where it was not asked for.
      cold: What a router makes of a new model; None where it was not asked for.
    """

    prepared: Prepared
    entries: dict[str, Entry]
    reasons: dict[str, str]
    law: RouterLaw | None
    cold: ColdStart | None

    @property
    def best(self) -> str:
        """Name of the router of the least loss; "" without routers."""
        return min(
            self.entries,
            key=lambda name: self.entries[name].evaluation.routed.value,
            default="",
        )


def router_study(
    prepared: Prepared,
    routers: Sequence[str] = tuple(ROUTERS),
    *,
    law_router: str | None = None,
    num_subsets: int = 20,
    cold_model: str | None = None,
    cold_texts: Sequence[int] = (10, 100, 1000),
) -> RouterStudy:
    """Returns all routers side by side, a law, and a cold start, under bars.

    Args:
      prepared: The contest, from `prepared_contest`.
      routers: Names of the routers, of `ROUTERS`.
      law_router: Name of the router whose law is wanted; None for no law.
      num_subsets: Largest number of subsets of the law.
      cold_model: Name of the model that is new; None for no cold start. The
        router of the law, or else nearest neighbours, meets it.
      cold_texts: Numbers of texts that the new model has been scored on.

    Raises:
      ValueError: No such router or model; the law needs costs, or a router what
        is not known of the texts.
    """
    contest = prepared.contest
    _check(contest, routers, law_router, cold_model)
    with tqdm.tqdm(total=len(routers), desc="routers", unit="router") as bar:

        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        entries, reasons = compared_routers(contest, routers, show)
    law = None
    if law_router is not None:
        with tqdm.tqdm(desc=f"law of {law_router}", unit="subset") as bar:
            law = router_law(
                contest, law_router, num_subsets, lambda subset: bar.update()
            )
    cold = None
    if cold_model is not None:
        cold = cold_start(
            contest,
            law_router or "nearest_neighbours",
            cold_model,
            cold_texts,
        )
    return RouterStudy(prepared, entries, reasons, law, cold)


def _check(
    contest: Contest,
    routers: Sequence[str],
    law_router: str | None,
    cold_model: str | None,
) -> None:
    """Raises what would end the study later, with all that was learned."""
    last = law_router or ("nearest_neighbours" if cold_model else None)
    for name in (*routers, *([] if last is None else [last])):
        if name not in ROUTERS:
            raise ValueError(
                f"no router {name!r}; there are {', '.join(ROUTERS)}."
            )
    if last is not None:
        check_needs(last, contest.texts)
    if law_router is not None and contest.costs is None:
        raise ValueError(
            f"no law of router {law_router}: the models have no costs."
        )
    if cold_model is not None and cold_model not in contest.models:
        raise ValueError(
            f"no model {cold_model!r}; there are {', '.join(contest.models)}."
        )
