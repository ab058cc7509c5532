"""The flags by which programs take a score table, and its reading."""

import os
import pathlib
from typing import TYPE_CHECKING

from absl import flags, logging

from . import choices, import_flags, shared_flags

if TYPE_CHECKING:  # --help needs no table.
    from mmc_jax import corpus, scores

flags.adopt_module_key_flags(import_flags)
_SCORES = shared_flags.path(
    "scores",
    None,
    "Scores: the folder of a score table, surprisal14 for the one that ships, "
    "or what others made, as import_scores reads it.",
)
_CSV = shared_flags.path(
    "csv",
    None,
    "File of scores, one row a text and one column a model, or one row a text "
    "and model: .csv, .tsv, .jsonl, .parquet, .xlsx or .npz.",
)
NORMALISATION = flags.DEFINE_enum(
    "normalisation",
    None,
    choices.NORMALISATIONS,
    "What turns scores into losses; raw takes the numbers as they are. If "
    "unset: text_length, or raw where scores that others made have no lengths."
    "",
)
_ONLY_KIND = flags.DEFINE_enum(
    "only_kind", None, ["base", "instruct"], "Take only models of this kind."
)
_ONLY_DOMAINS = flags.DEFINE_list(
    "only_domains", None, "Take only the texts of these domains."
)
_SEGMENTS = flags.DEFINE_string(
    "segments",
    None,
    "With --scores: rows are segments of texts in place of texts: line, "
    "sentence, word, token, or bytes:N, such as bytes:64. Tokens have to be "
    "kept (score_texts --keep_tokens).",
)
# Lines, sentences and words need the texts themselves.
_CORPUS = shared_flags.corpus(required=False)
_TEXT_COLUMN = shared_flags.text_column()
COST = flags.DEFINE_string(
    "cost", "num_params", "The number of a model that a subset spends."
)
_ORACLE_BACKEND = flags.DEFINE_enum(
    "oracle_backend",
    None,
    choices.ORACLE_BACKENDS,
    "The kernels that evaluate subsets; those of the device if unset.",
)


def read(
    *, need_costs: bool = True, keep_texts: bool = False
) -> "scores.ScoreTable":
    """Returns the score table that the flags name, or what they select of it.

    What evaluates its subsets from now on is what --oracle_backend names, and
    NORMALISATION has a value.

    Args:
      need_costs: Whether models without the cost are left out, with a warning.
      keep_texts: Whether texts or prompts that files of others hold stay in the
        table.

    Raises:
      ValueError: Nothing is left; a model or a domain is not there.
    """
    from mmc_jax import stages

    if _ORACLE_BACKEND.value is not None:
        os.environ["MMC_ORACLE_BACKEND"] = _ORACLE_BACKEND.value
    path = _CSV.value if _SCORES.value is None else _SCORES.value
    with stages.stage("reading the scores"):
        table = _selected(
            import_flags.table(path, keep_texts=keep_texts), need_costs
        )
    if _SEGMENTS.value is not None:
        with stages.stage("cutting texts into segments"):
            table = table.segments(_SEGMENTS.value, read_texts())
    _choose_normalisation(table)
    return table


def read_texts() -> "corpus.Corpus | None":
    """Returns the corpus that the flags name, with its texts in memory."""
    from mmc_jax import corpus

    if _CORPUS.value is None:
        return None
    found = corpus.named(_CORPUS.value, text_column=_TEXT_COLUMN.value)
    return found if isinstance(found, corpus.Corpus) else found.load()


def read_parts(
    *, each_domain: bool, more_scores: list[str]
) -> dict[str, "scores.ScoreTable"]:
    """Returns the score table, its domains, and further tables, by name.

    Args:
      each_domain: Whether each domain is also a table of its own.
      more_scores: Score tables of other corpora, or files that others made.

    Raises:
      ValueError: Nothing is left; a model or a domain is not there; two tables
        have one name.
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
            raise ValueError(f"--more_scores: there are two tables {name!r}")
        parts[name] = _selected(import_flags.table(path), need_costs=True)
    return parts


def _choose_normalisation(table: "scores.ScoreTable") -> None:
    """Sets the flag where it is unset, and warns of what may be unfair."""
    knows_lengths = table.chars_per_token is not None
    if NORMALISATION.value is None:
        chosen = "text_length"
        if table.unit not in ("nll_nats", None):
            chosen = "raw"
            logging.warning(
                "scores are taken as they are (--normalisation=raw): their "
                "unit is %s",
                table.unit,
            )
        elif not knows_lengths and "key" not in table.models[0].provenance:
            chosen = _by_what_is_known(table)
        flags.FLAGS[NORMALISATION.name].value = chosen
    elif NORMALISATION.value == "raw" and knows_lengths:
        logging.warning(
            "--normalisation=raw: a long text counts for more than a short "
            "one; text_length and nats_per_char divide by the length"
        )


def _by_what_is_known(table: "scores.ScoreTable") -> str:
    """Returns the normalisation of scores that others made without tokens."""
    if table.unit == "nll_nats":
        for normalisation, field in (
            ("nats_per_char", "num_chars"),
            ("bits_per_byte", "num_bytes"),
        ):
            if (getattr(table.texts, field) > 0).all():
                logging.warning(
                    "no num_tokens of the texts: --normalisation=%s",
                    normalisation,
                )
                return normalisation
    logging.warning(
        "no num_chars and num_tokens of the texts: scores are taken as they "
        "are (--normalisation=raw); if they are sums over texts of different "
        "lengths, long texts count for more: give num_chars and num_tokens"
    )
    return "raw"


def _selected(
    table: "scores.ScoreTable", need_costs: bool
) -> "scores.ScoreTable":
    if _ONLY_DOMAINS.value is not None:
        of_domains = [table.domain_mask(name) for name in _ONLY_DOMAINS.value]
        table = table.select(texts=sum(of_domains) > 0)
    if _ONLY_KIND.value is not None:
        table = table.select(
            models=[m.name for m in table.models if m.kind == _ONLY_KIND.value]
        )
    lacking = table.models_without_cost(COST.value)
    if need_costs and 0 < len(lacking) < len(table.models):
        logging.warning(
            "left out, for they have no %s: %s", COST.value, ", ".join(lacking)
        )
        table = table.select(
            models=[m.name for m in table.models if m.name not in lacking]
        )
    return table
