"""All that one score table says, for a page: every analysis, once.

M models, X texts.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import corpus, diversity, law, realizable, stages, studies
from mmc_jax.overviews.lines import View, lines_of_view
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import attempt
from mmc_jax.studies import Checks

# Lines that a study of families traces, by their names there.
_OF_FAMILIES = {
    "homogeneous": diversity.line_name("same family", None),
    "heterogeneous": diversity.line_name("mixed", None),
}
# Granularities of a page that names none. They need no texts.
_CHEAP_KINDS = ("text", "bytes:256", "bytes:64", "bytes:16")
# Scores of tokens of all models that are looked at unasked: about a minute.
_FEW_TOKENS = 10_000_000
# The share of the texts that judge mixtures, where none is held out.
_JUDGES = 0.25


class Overview(NamedTuple):
    """All analyses of one table.

    Attributes:
      study: Frontiers, laws, and what other texts say.
      views: The law's figure at each normalisation and cost, the study's own
        first.
      summary: What models bring, alone and in pairs; None for one model.
      findings: What is wrong with the pool and its texts.
      dropped: Models dropped one by one.
      domains: Losses of each domain; None where there is one domain.
      extremes: The worst and the most contested texts.
      systems: What mixtures reach; None where there are none.
      families: One family against mixed; None where that is not known.
      routers: What routers reach; None where none could learn.
      granularity: What a finer choice gains; None where tokens were not kept,
        or are too many to be looked at unasked.
      scores_sha256: Hash of the names of models and texts and of the scores of
        the study, hexadecimal: two studies of one hash are of the same numbers.
      reasons: Why one of these is missing, by its name.
    """

    study: studies.Study
    views: tuple[View, ...]
    summary: diversity.Summary | None
    findings: list[diversity.Finding]
    dropped: diversity.Elimination
    domains: diversity.DomainLosses | None
    extremes: diversity.ExtremeTexts
    systems: realizable.Sandwich | None
    families: diversity.FamilyStudy | None
    routers: realizable.RouterStudy | None
    granularity: realizable.GranularityStudy | None
    scores_sha256: str
    reasons: dict[str, str]


def overview(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    more_normalisations: Sequence[str] = (),
    more_costs: Sequence[str] = (),
    method: str = "pruned",
    checks: Checks = Checks(),  # noqa: B008  It is immutable.
    limits: studies.Limits = studies.Limits(),  # noqa: B008
    mixtures: bool = True,
    families: bool = True,
    routers: Callable[[ScoreTable], realizable.RouterStudy] | None = None,
    granularities: Sequence[str] | None = None,
    texts: corpus.Corpus | None = None,
    num_texts: int = 10,
    folder: str | os.PathLike[str] | None = None,
) -> Overview:
    """Returns all that a table says, each analysis on the same texts.

    Texts that `checks` holds out are in no other number. What a table does not
    allow is left out, and `reasons` says why.

    Args:
      table: Score table of the models and texts.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      more_normalisations: Further normalisations of the law's figure.
      more_costs: Further costs of the law's figure. One that is the same for
        every model as an earlier one is left out.
      method: One of `studies.METHODS`.
      checks: What is asked of other texts; its number of resamples is that of
        all intervals, 0 for none.
      limits: When method "certified" may stop before all is proven.
      mixtures: Whether mixtures are searched for.
      families: Whether pools of one family and mixed pools are compared on
        texts that did not choose them, which takes further searches.
      routers: Function of the searched table that compares routers; None for
        no routers. The best of them has a line in the law's figure.
      granularities: Kinds of segments, as `realizable.granularity` takes them;
        None for a few that need no texts, where the table has tokens, and not
        too many; none for nothing.
      texts: Corpus with the texts themselves, for lines, sentences and words.
      num_texts: Number of the worst and of the most contested texts.
      folder: Folder in which method "certified" keeps what it has proven.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs; too
        few texts for the checks.
    """
    found = studies.study(
        table,
        normalisation=normalisation,
        cost=cost,
        method=method,
        routed=True,
        checks=checks,
        limits=limits,
        folder=folder,
    )
    table, losses = found.table, found.losses
    several = {"seed": checks.seed, "by_domain": checks.by_domain}
    wanted: dict[str, Callable[[], Any]] = {
        "summary": lambda: diversity.summary(
            table,
            normalisation=normalisation,
            cost=cost,
            num_resamples=max(checks.num_resamples, 2),
            seed=checks.seed,
        ),
        "domains": lambda: _domains(losses, table.texts.domains),
        "systems": lambda: _systems(found, checks, mixtures),
        "families": lambda: _families(found, checks, families, several),
        "routers": lambda: _routers(table, routers),
        "granularity": lambda: _granularity(
            table, normalisation, cost, checks, granularities, texts
        ),
    }
    analyses, reasons = attempt(wanted)
    known = {"single": found.single, "oracle": found.pool}
    laws = {}
    if "systems" in analyses:
        known["mixture"] = analyses["systems"].mixture
    if "families" in analyses:
        for name, of in _OF_FAMILIES.items():
            known[name] = analyses["families"].lines[of]
            if of in analyses["families"].laws:
                laws[name] = analyses["families"].laws[of]
        laws |= _same_law(analyses["families"], found)
    router = _best_router(analyses.get("routers"), reasons)
    views = [
        lines_of_view(
            table,
            name,
            of,
            method,
            checks,
            mixtures,
            *((known, laws) if not i else ({}, {})),
            router=router,
        )
        for i, (name, of) in enumerate(
            _axes(
                table,
                [normalisation, *more_normalisations],
                [cost, *more_costs],
                reasons,
            )
        )
    ]
    with stages.stage("diagnosing the pool"):
        return Overview(
            study=found,
            views=tuple(views),
            findings=diversity.diagnosis(table, normalisation=normalisation),
            dropped=diversity.elimination(losses),
            extremes=diversity.extreme_texts(losses, num_texts),
            scores_sha256=_hash_of_scores(table),
            reasons=reasons,
            **{name: analyses.get(name) for name in wanted},
        )


def _hash_of_scores(table: ScoreTable) -> str:
    """Returns the SHA-256 of the names and scores, the same on any machine."""
    names = [*(model.name for model in table.models), *table.texts.ids]
    digest = hashlib.sha256()
    for name in names:
        # A name may hold half of a surrogate pair.
        word = name.encode("utf-8", "surrogatepass")
        digest.update(len(word).to_bytes(8, "little") + word)
    digest.update(np.ascontiguousarray(table.nll_nats, "<f8").tobytes())
    return digest.hexdigest()


def _axes(
    table: ScoreTable,
    normalisations: Sequence[str],
    costs: Sequence[str],
    reasons: dict[str, str],
) -> list[tuple[str, str]]:
    """Returns each normalisation with each cost; notes what is left out."""
    seen: dict[bytes, str] = {}
    for cost in dict.fromkeys(costs):
        try:
            values = table.costs(cost)
        except ValueError as error:
            reasons[f"cost {cost}"] = str(error)
            continue
        if values.tobytes() in seen:
            reasons[f"cost {cost}"] = (
                f"is {seen[values.tobytes()]} of every model"
            )
            continue
        seen[values.tobytes()] = cost
    kept = []
    for name in dict.fromkeys(normalisations):
        try:
            table.losses(name)
        except ValueError as error:
            reasons[f"normalisation {name}"] = str(error)
            continue
        kept.append(name)
    return [(name, cost) for name in kept for cost in seen.values()]


def _domains(losses: np.ndarray, domains: Sequence[str]):
    if len(set(domains)) < 2:
        raise ValueError("all texts are of one domain")
    return diversity.domain_losses(losses, domains)


def _systems(found: studies.Study, checks: Checks, asked: bool):
    if not asked:
        raise ValueError("not asked for (--nomixtures)")
    with stages.stage("mixing models"):
        return realizable.sandwich(
            found.table,
            normalisation=found.normalisation,
            cost=found.cost,
            search=lambda losses, costs: found.pool,
            held_out=checks.held_out or _JUDGES,
            by_domain=checks.by_domain,
            num_resamples=max(checks.num_resamples, 2),
            seed=checks.seed,
        )


def _families(
    found: studies.Study,
    checks: Checks,
    asked: bool,
    several: Mapping[str, Any],
):
    if not asked:
        raise ValueError("not asked for (--nofamilies)")
    groups = diversity.groups_of(found.table)
    if len(set(groups)) < 2:
        raise ValueError("all models are of one family")
    with stages.stage("comparing families"):
        return diversity.family_study(
            found.losses,
            found.costs,
            groups,
            clusters=found.table.clusters(by_domain=several["by_domain"]),
            sizes=[None],
            num_splits=max(checks.num_splits, 1),
            num_resamples=max(checks.num_resamples, 2),
            seed=several["seed"],
        )


def _same_law(
    families: diversity.FamilyStudy, found: studies.Study
) -> dict[str, law.ResampledFit]:
    """Returns the laws of a study of families whose points are the study's."""
    return {
        name: families.laws[of]
        for name, of, line in (
            ("single", "single models", found.single),
            ("oracle", "pool", found.pool),
        )
        if of in families.laws
        and np.array_equal(families.lines[of].masks, line.masks)
    }


def _best_router(
    found: realizable.RouterStudy | None, reasons: Mapping[str, str]
) -> realizable.LearnedRouter | str:
    """Returns the best router's predictions of all texts, or why not."""
    if found is None:
        return reasons["routers"]
    if not found.best:
        return "; ".join(found.reasons.values())
    with stages.stage(f"routing all texts ({found.best})"):
        learned, why = attempt(
            {
                "router": lambda: realizable.learned_router(
                    found.prepared, found.best
                )
            }
        )
    return learned.get("router", why.get("router", ""))


def _granularity(
    table: ScoreTable,
    normalisation: str,
    cost: str,
    checks: Checks,
    kinds: Sequence[str] | None,
    texts: corpus.Corpus | None,
):
    if kinds is not None and not kinds:
        raise ValueError("not asked for (--granularities)")
    if table.places is not None:
        raise ValueError("the rows are segments already (--segments)")
    if table.tokens is None:
        raise ValueError("tokens were not kept (score_texts --keep_tokens)")
    if kinds is None:
        number = int(table.num_tokens.sum())
        if number > _FEW_TOKENS:
            raise ValueError(
                f"{number:,} scores of tokens take long: --granularities asks "
                "for it"
            )
        kinds = _CHEAP_KINDS
    with stages.stage("cutting texts at finer granularities"):
        return realizable.granularity(
            table,
            texts,
            kinds=kinds,
            normalisation=normalisation,
            cost=cost,
            num_resamples=max(checks.num_resamples, 2),
            seed=checks.seed,
            on_level=stages.say,
        )


def _routers(table: ScoreTable, routers):
    if routers is None:
        raise ValueError("not asked for (--routers)")
    with stages.stage("comparing routers"):
        return routers(table)
