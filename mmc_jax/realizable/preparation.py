"""From a score table and its texts to a contest of routers.

M models, X texts.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax import pool
from mmc_jax.corpus import Corpus
from mmc_jax.realizable import readings
from mmc_jax.realizable.contests import Contest
from mmc_jax.realizable.features import Features, joined, read_features
from mmc_jax.realizable.fitted import Texts
from mmc_jax.realizable.ngrams import ngram_features
from mmc_jax.realizable.prefixes import prefix_losses
from mmc_jax.realizable.resemblance import near_duplicates
from mmc_jax.realizable.splits import (
    leaked_texts,
    split_by_domain,
    split_by_text,
)
from mmc_jax.scores import ScoreTable

SPLITS = ("text", "domain")


class Split(NamedTuple):
    """Which texts judge.

    Attributes:
      by: One of `SPLITS`: by a seeded hash of the text, or whole domains.
      test_share: Share of the texts or domains that judge.
      test_domains: Names of the domains that judge; None for a random share.
      seed: Seed of the split.
    """

    by: str = "text"
    test_share: float = 0.3
    test_domains: Sequence[str] | None = None
    seed: int = 0


class Prepared(NamedTuple):
    """A contest, and what is known of near-duplicates.

    Attributes:
      contest: The contest of the routers.
      groups: Group of near-duplicates of each text, [X]; None where the texts
        themselves are not there.
      leaked: Indices of texts that judge and have a near-duplicate among those
        from which routers learn.
      by_domain: Whether whole domains judge.
    """

    contest: Contest
    groups: np.ndarray | None
    leaked: np.ndarray
    by_domain: bool = False


def text_features(
    kinds: Sequence[str],
    ids: Sequence[str],
    texts: Corpus | None,
    *,
    num_features: int = 1024,
    reader: pool.Model | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Features | None:
    """Returns features of several kinds side by side; None for no kinds.

    Args:
      kinds: "ngrams" of the text; "hidden" or "nll" of the model that reads;
        anything else is the path of a file of features.
      ids: Ids of the texts, [X].
      texts: The texts themselves; None where only files are wanted.
      num_features: Number of hashed n-grams, a power of two.
      reader: The model that reads; None where none is wanted.
      cache_dir: Folder where features are kept; None to keep nothing.

    Raises:
      FileNotFoundError: No such file.
      ValueError: Texts or a model are needed and not there; the file is of
        other texts.
    """
    found = []
    for kind in kinds:
        if kind != "ngrams" and kind not in readings.KINDS:
            found.append(read_features(kind).of(ids))
            continue
        if texts is None:
            raise ValueError(f"features {kind!r} need the texts (--corpus).")
        if kind == "ngrams":
            found.append(
                ngram_features(texts, num_features, cache_dir=cache_dir)
            )
        elif reader is None:
            raise ValueError(
                f"features {kind!r} need a model that reads (--pool)."
            )
        else:
            found.append(
                readings.model_features(
                    kind, reader, texts, cache_dir=cache_dir
                )
            )
    return joined(found) if found else None


def cheapest_model(
    table: ScoreTable, models: pool.Pool, cost: str = "num_params"
) -> pool.Model:
    """Returns the cheapest model of a table, as the pool has it.

    Args:
      table: The score table.
      models: A pool with at least this model.
      cost: Name of the cost.

    Raises:
      ValueError: A model without the cost; the pool does not have the cheapest.
    """
    cheapest = table.models[int(table.costs(cost).argmin())].name
    return models.select([cheapest]).models[0]


def prepared_contest(
    table: ScoreTable,
    *,
    normalisation: str,
    cost: str = "num_params",
    texts: Corpus | None = None,
    features: Features | None = None,
    prefix_bytes: int | None = None,
    split: Split = Split(),  # noqa: B008  It is immutable.
    by_domain: bool = False,
    num_resamples: int = 1000,
) -> Prepared:
    """Returns the contest of routers on a score table.

    Where a table holds what each call cost, routers decide by the mean of it
    where they learn, and it is what they spend; budgets of subsets are still in
    the cost of that name.

    Args:
      table: The score table.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost; without it for all models there are no budgets.
      texts: The texts of the table, in its order; None where not known.
      features: Features of at least these texts; None for none.
      prefix_bytes: Bytes that the prefix router lets all models read; None to
        leave it out.
      split: Which texts judge.
      by_domain: Whether intervals resample domains in place of texts.
      num_resamples: Number of resamples behind the intervals.

    Raises:
      ValueError: A split that is not possible; what the normalisation needs is
        not there; tokens are needed and were not kept.
    """
    if split.by not in SPLITS:
        raise ValueError(f"no split {split.by!r}; there are {SPLITS}.")
    known = table.texts
    domains = known.domains
    if texts is not None and not any(domains):
        domains = texts.domains
    groups = None if texts is None else near_duplicates(texts.texts)
    if split.by == "domain":
        test = split_by_domain(
            domains, split.test_domains, split.test_share, split.seed
        )
    else:
        keys = known.sha256 if all(known.sha256) else known.ids
        alone = np.arange(len(known)) if groups is None else groups
        test = split_by_text(keys, alone, split.test_share, split.seed)
    beginnings, share = None, 0.0
    if prefix_bytes is not None:
        beginnings = prefix_losses(table, prefix_bytes)
        share = float(
            np.mean(
                np.minimum(1, prefix_bytes / np.maximum(known.num_bytes, 1))
            )
        )
    mixes = table.unit == "nll_nats" and normalisation != "nats_per_token"
    has_costs = not table.models_without_cost(cost)
    contest = Contest(
        losses=table.losses(normalisation),
        models=[model.name for model in table.models],
        texts=Texts(known.ids, domains, features, beginnings),
        test=test,
        costs=table.costs(cost) if has_costs else None,
        query_costs=table.query_costs,
        nll_nats=table.nll_nats if mixes else None,
        lengths=table.lengths(normalisation) if mixes else None,
        prefix_share=share,
        clusters=domains if by_domain else None,
        num_resamples=num_resamples,
        seed=split.seed,
    )
    none = np.empty(0, np.int64)
    leaked = none if groups is None else leaked_texts(groups, test)
    return Prepared(contest, groups, leaked, split.by == "domain")
