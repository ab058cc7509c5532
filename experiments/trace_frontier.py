"""Traces the oracle frontier of a score table, and fits its laws.

  python -m experiments.trace_frontier --scores=results/scores --out=results/f

or of scores that others made, one row a text and one column a model:

  python -m experiments.trace_frontier --csv=scores.csv --models=models.csv \
      --text_id=id --normalisation=raw --out=results/f
"""

from absl import flags

from experiments import program
from mmc_jax import importers, report, scores

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
_NORMALISATION = flags.DEFINE_enum(
    "normalisation",
    "text_length",
    list(scores.NORMALISATIONS),
    "From scores to losses.",
)
_COST = flags.DEFINE_string("cost", "num_params", "What a subset spends.")
_METHOD = flags.DEFINE_enum(
    "method", "pruned", list(report.METHODS), "How subsets are searched."
)
_MAX_SIZE = flags.DEFINE_integer(
    "max_size", None, "The most models in a subset.", lower_bound=1
)
_ROUTED = flags.DEFINE_bool(
    "routed", False, "Also the cost of a text when one model of many runs."
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)
flags.register_multi_flags_validator(
    ["csv", "models"],
    lambda values: (values["csv"] is None) == (values["models"] is None),
    "--csv and --models come together.",
)


def main():
    if _SCORES.value is not None:
        table = scores.open(_SCORES.value)
    else:
        table = importers.csv(
            _CSV.value,
            _MODELS.value,
            text_id=_TEXT_ID.value,
            domain=_DOMAIN.value,
        )
    print(
        report.write_study(
            table,
            _OUT.value,
            flags=program.flag_values(),
            normalisation=_NORMALISATION.value,
            cost=_COST.value,
            method=_METHOD.value,
            max_size=_MAX_SIZE.value,
            routed=_ROUTED.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
