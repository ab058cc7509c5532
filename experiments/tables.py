"""The flags by which programs take a score table, and its reading."""

from absl import flags

from mmc_jax import importers, scores

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
COST = flags.DEFINE_string("cost", "num_params", "What a subset spends.")

flags.register_multi_flags_validator(
    ["csv", "models"],
    lambda values: (values["csv"] is None) == (values["models"] is None),
    "--csv and --models come together.",
)


def read() -> scores.ScoreTable:
    """Returns the score table that the flags name."""
    if _SCORES.value is not None:
        return scores.open(_SCORES.value)
    return importers.csv(
        _CSV.value,
        _MODELS.value,
        text_id=_TEXT_ID.value,
        domain=_DOMAIN.value,
    )
