"""Measures how much of a pool's gain is selection bias, by number of texts.

  python -m experiments.measure_optimism --scores=results/scores \
      --out=results/optimism

or with --csv and --models, as for trace_frontier. Subsets and single models are
chosen on one half of a draw of texts and judged on the other; with ever more
texts the two gains meet.
"""

from absl import flags

from experiments import program, tables
from mmc_jax import diversity, report, studies

flags.adopt_module_key_flags(tables)
_METHOD = flags.DEFINE_enum(
    "method", "pruned", list(studies.METHODS), "How subsets are searched."
)
_NUM_TEXTS = flags.DEFINE_multi_integer(
    "num_texts", None, "Texts that choose; several by default."
)
_NUM_DRAWS = flags.DEFINE_integer(
    "num_draws", 10, "Of the texts, for each number of them.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    table = tables.read()
    normalisation, cost = tables.NORMALISATION.value, tables.COST.value
    found = diversity.optimism(
        table.losses(normalisation),
        table.costs(cost),
        search=studies.METHODS[_METHOD.value],
        num_texts=_NUM_TEXTS.value,
        num_draws=_NUM_DRAWS.value,
        seed=_SEED.value,
    )
    section = report.optimism_section(
        found,
        normalisation=normalisation,
        cost=cost,
        num_draws=_NUM_DRAWS.value,
    )
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
