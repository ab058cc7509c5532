"""The flags by which programs take a score table, and its reading."""

import os
import pathlib

from absl import flags

from mmc_jax import importers, scores
from mmc_jax.oracle import backends

_SCORES = flags.DEFINE_string("scores", None, "A score table.")
_CSV = flags.DEFINE_string(
    "csv", None, "A wide .csv, .csv.gz or .parquet file of scores."
)
_MODELS = flags.DEFINE_string(
    "models", None, "With --csv: a file with model, family, num_params, ..."
)
_TEXT_ID = flags.DEFINE_string(
    "text_id", "text_id", "With --csv: the column that names the texts."
)
_DOMAIN = flags.DEFINE_string(
    "domain", None, "With --csv: the column of the texts' domains."
)
NORMALISATION = flags.DEFINE_enum(
    "normalisation",
    "text_length",
    list(scores.NORMALISATIONS),
    "From scores to losses.",
)
_KIND = flags.DEFINE_enum(
    "kind", None, ["base", "instruct"], "Only models of this kind."
)
_ONLY_MODELS = flags.DEFINE_list("only_models", None, "Only these models.")
_DOMAINS = flags.DEFINE_list("domains", None, "Only texts of these domains.")
COST = flags.DEFINE_string("cost", "num_params", "What a subset spends.")
_ORACLE_BACKEND = flags.DEFINE_enum(
    "oracle_backend",
    None,
    list(backends.NAMES),
    "What evaluates subsets; chosen by the device if left out.",
)

flags.register_multi_flags_validator(
    ["csv", "models"],
    lambda values: (values["csv"] is None) == (values["models"] is None),
    "--csv and --models come together.",
)


def read() -> scores.ScoreTable:
    """Returns the score table that the flags name, or what they select of it.

    What evaluates its subsets from now on is what --oracle_backend names.

    Raises:
      ValueError: Nothing is left; a model or a domain that is not there.
    """
    if _ORACLE_BACKEND.value is not None:
        os.environ[backends.VARIABLE] = _ORACLE_BACKEND.value
    if _SCORES.value is not None:
        return _selected(scores.open(_SCORES.value))
    return _selected(
        importers.csv(
            _CSV.value,
            _MODELS.value,
            text_id=_TEXT_ID.value,
            domain=_DOMAIN.value,
        )
    )


def read_parts(
    *, each_domain: bool, more_scores: list[str]
) -> dict[str, scores.ScoreTable]:
    """Returns the score table, its domains, and further tables, by name.

    Args:
      each_domain: Whether each domain is a part of its own, beside the whole.
      more_scores: Score tables of other corpora.

    Raises:
      ValueError: As for `read`; two parts of one name.
    """
    table = read()
    parts = {"all texts": table}
    if each_domain:
        for domain in sorted(set(table.texts.domains)):
            parts[domain or "no domain"] = table.select(
                texts=table.domain_mask(domain)
            )
    for path in more_scores:
        name = pathlib.Path(path).name
        if name in parts:
            raise ValueError(f"--more_scores: there are two parts {name!r}")
        parts[name] = _selected(scores.open(path))
    return parts


def _selected(table: scores.ScoreTable) -> scores.ScoreTable:
    if _DOMAINS.value is not None:
        of_domains = [table.domain_mask(domain) for domain in _DOMAINS.value]
        table = table.select(texts=sum(of_domains) > 0)
    if _ONLY_MODELS.value is not None:
        table = table.select(models=_ONLY_MODELS.value)
    if _KIND.value is not None:
        table = table.select(
            models=[m.name for m in table.models if m.kind == _KIND.value]
        )
    return table
