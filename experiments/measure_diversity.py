"""Measures what the models of a pool bring, alone and in pairs.

  python -m experiments.measure_diversity --scores=results/scores \
      --out=results/diversity

or with --csv and --models, as for trace_frontier. Win shares, Shapley values
and what is lost without each model; of each pair its gain over the better of
the two and over one model of the same cost, and how its losses correlate beyond
the difficulty of the texts; means within and across families.
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_NUM_RESAMPLES = shared_flags.num_resamples(1000)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import diversity, report

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
