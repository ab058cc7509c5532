"""Measures how much of a pool's gain is selection bias, by number of texts.

  python -m experiments.measure_optimism --scores=results/scores \
      --out=results/optimism

or with --csv and --models, as for trace_frontier. A random sample of the
texts is halved: one half chooses subsets and single models, the other judges
them. The more texts there are, the nearer the two gains come.
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_METHOD = shared_flags.method()
_NUM_TEXTS = shared_flags.integers(
    "num_texts",
    None,
    "Numbers of texts that choose the subsets; several by default.",
    lower_bound=1,
)
_NUM_DRAWS = flags.DEFINE_integer(
    "num_draws",
    10,
    "Number of random samples of the texts, for each number of texts.",
    lower_bound=1,
)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import diversity, report, studies

    table = tables.read()
    normalisation, cost = tables.NORMALISATION.value, tables.COST.value
    found = diversity.optimism(
        table.losses(normalisation),
        table.costs(cost),
        search=studies.METHODS[_METHOD.value],
        num_texts=_NUM_TEXTS.value,
        num_samples=_NUM_DRAWS.value,
        seed=_SEED.value,
    )
    section = report.optimism_section(
        found,
        unit=table.loss_unit(normalisation),
        cost=cost,
        num_samples=_NUM_DRAWS.value,
    )
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
