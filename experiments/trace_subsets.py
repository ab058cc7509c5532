"""Every subset of a few models, and the frontier among them.

  python -m experiments.trace_subsets --scores=results/scores \
      --only_models=a,b,c,d,e --out=results/subsets

The paper's third experiment: the frontier of five models, small enough to be
read subset by subset. For more than ten models there is trace_frontier.
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)

_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import report, studies

    every = studies.every_subset(
        tables.read(),
        normalisation=tables.NORMALISATION.value,
        cost=tables.COST.value,
    )
    print(
        report.write_sections(
            _OUT.value,
            report.all_subsets_sections(every),
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
