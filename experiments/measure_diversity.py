"""Measures what the models of a pool bring, alone and in pairs.

  python -m experiments.measure_diversity --scores=results/scores \
      --out=results/diversity

or with --csv and --models, as for trace_frontier. Win shares, Shapley values
and what is lost without each model; of each pair its gain over the better of
the two and over one model of the same cost, and how its losses correlate beyond
the difficulty of the texts; means within and across families.
"""

from absl import flags

from experiments import program, tables
from mmc_jax import diversity, report

flags.adopt_module_key_flags(tables)
_NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 1000, "Of the texts.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    found = diversity.summary(
        tables.read(),
        normalisation=tables.NORMALISATION.value,
        cost=tables.COST.value,
        num_resamples=_NUM_RESAMPLES.value,
        seed=_SEED.value,
    )
    print(
        report.write_sections(
            _OUT.value,
            report.diversity_sections(found),
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
