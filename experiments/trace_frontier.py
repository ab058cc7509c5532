"""Traces the oracle frontier of a score table, and fits its laws.

  python -m experiments.trace_frontier --scores=results/scores --out=results/f

or of scores that others made, one row a text and one column a model:

  python -m experiments.trace_frontier --csv=scores.csv --models=models.csv \
      --text_id=id --normalisation=raw --out=results/f
"""

from absl import flags

from experiments import program, tables
from mmc_jax import report

flags.adopt_module_key_flags(tables)
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


def main():
    print(
        report.write_study(
            tables.read(),
            _OUT.value,
            flags=program.flag_values(),
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            method=_METHOD.value,
            max_size=_MAX_SIZE.value,
            routed=_ROUTED.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
