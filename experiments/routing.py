"""The flags by which programs take routers, and what they are asked."""

from typing import TYPE_CHECKING, Any

from absl import flags

from . import choices, shared_flags, tables

if TYPE_CHECKING:  # --help needs no table.
    from mmc_jax import corpus, realizable, scores

# The flags belong to the programs, which --help goes by.
flags.disclaim_key_flags()

_CORPUS = shared_flags.corpus(required=False)
_TEXT_COLUMN = shared_flags.text_column()
_FEATURES = flags.DEFINE_list(
    "features",
    ["ngrams"],
    "What routers see of a text: ngrams; hidden or nll, of the cheapest model "
    "of --pool; or files of features with a column text_id.",
)
_NUM_FEATURES = flags.DEFINE_integer(
    "num_features",
    1024,
    "Number of hashed n-grams, a power of two.",
    lower_bound=2,
)
_POOL = shared_flags.pool(required=False)
_PREFIX_BYTES = shared_flags.prefix_bytes(None)
_SPLIT = flags.DEFINE_enum(
    "split",
    "text",
    choices.SPLITS,
    "Routers are judged by other texts, near-duplicates apart, or by other "
    "domains.",
)
_TEST_SHARE = flags.DEFINE_float(
    "test_share",
    0.3,
    "Share of the texts, or domains, that judge routers.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_TEST_DOMAINS = flags.DEFINE_list(
    "test_domains",
    None,
    "With --split=domain: names of the domains that judge routers.",
)


def texts_of(table: "scores.ScoreTable") -> "corpus.Corpus | None":
    """Returns the texts of a table: its own, or those of --corpus, or None.

    Args:
      table: The score table.
    """
    from mmc_jax import realizable

    if _CORPUS.value is None:
        return table.texts if table.texts.texts is not None else None
    return realizable.matched_texts(read_corpus(_CORPUS.value), table.texts)


def read_corpus(path: str) -> "corpus.Corpus":
    """Returns a corpus with its texts in memory.

    Args:
      path: What --corpus may name.
    """
    from mmc_jax import corpus

    found = corpus.named(
        path,
        text_column=_TEXT_COLUMN.value,
        id_column=flags.FLAGS["text_id"].value,
        domain_column=flags.FLAGS["domain"].value or "domain",
    )
    return found if isinstance(found, corpus.Corpus) else found.load()


def features_of(
    texts: "corpus.Corpus | None", table: "scores.ScoreTable", cache_dir: str
) -> "realizable.Features | None":
    """Returns the features of a table's texts that the flags name.

    Args:
      texts: The texts; None where there is no corpus.
      table: The score table, whose cheapest model reads.
      cache_dir: Folder where features are kept.
    """
    from mmc_jax import pool, realizable

    if texts is None and not _FEATURES.present:
        return None
    reader = None
    if _POOL.value is not None:
        reader = realizable.cheapest_model(
            table, pool.read(_POOL.value), tables.COST.value
        )
    return realizable.text_features(
        _FEATURES.value,
        table.texts.ids,
        texts,
        num_features=_NUM_FEATURES.value,
        reader=reader,
        cache_dir=cache_dir,
    )


def facts(features: "realizable.Features | None") -> dict[str, Any]:
    """Returns how a router's features are made, as JSON.

    Args:
      features: Features of the texts that it learned from.
    """
    return {
        "kinds": _FEATURES.value if features is not None else [],
        "num_features": _NUM_FEATURES.value,
        "pool": _POOL.value,
        "reader": None if features is None else features.reader,
    }


def features_again(
    facts: dict[str, Any], texts: "corpus.Corpus", cache_dir: str
) -> "realizable.Features | None":
    """Returns the same kinds of features of new texts.

    Args:
      facts: What `facts` returned when the router learned.
      texts: The new texts.
      cache_dir: Folder where features are kept.

    Raises:
      ValueError: The kinds cannot be made of these texts; --features names
        other kinds, or no files where the router learned from files.
    """
    from mmc_jax import pool, realizable
    from mmc_jax.realizable import readings

    made = ("ngrams", *readings.KINDS)
    learned = [kind if kind in made else "a file" for kind in facts["kinds"]]
    kinds = _FEATURES.value if _FEATURES.present else facts["kinds"]
    given = [kind if kind in made else "a file" for kind in kinds]
    # Ids such as row numbers may be those of the texts that it learned from.
    if given != learned or ("a file" in learned and not _FEATURES.present):
        raise ValueError(
            f"the router learned from the features {', '.join(learned)}: "
            "--features must name the same in that order, with files of the "
            "new texts"
        )
    reader = None
    if facts["reader"] is not None:
        models = pool.read(_POOL.value or facts["pool"])
        (reader,) = models.select([facts["reader"]]).models
    return realizable.text_features(
        kinds,
        texts.ids,
        texts,
        num_features=facts["num_features"],
        reader=reader,
        cache_dir=cache_dir,
    )


def prepared(
    table: "scores.ScoreTable",
    *,
    cache_dir: str,
    by_domain: bool,
    num_resamples: int,
    seed: int,
) -> "realizable.Prepared":
    """Returns the contest of routers on a table, as the flags say.

    Args:
      table: The score table.
      cache_dir: Folder where features are kept.
      by_domain: Whether intervals resample domains in place of texts.
      num_resamples: Number of resamples behind the intervals.
      seed: Seed of all random choices.
    """
    from mmc_jax import realizable

    texts = texts_of(table)
    return realizable.prepared_contest(
        table,
        normalisation=tables.NORMALISATION.value,
        cost=tables.COST.value,
        texts=texts,
        features=features_of(texts, table, cache_dir),
        prefix_bytes=_PREFIX_BYTES.value,
        split=realizable.Split(
            _SPLIT.value, _TEST_SHARE.value, _TEST_DOMAINS.value, seed
        ),
        by_domain=by_domain,
        num_resamples=num_resamples,
    )
