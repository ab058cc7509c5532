"""A pair of two families against the single model nearest in cost.

  python -m experiments.compare_pair --scores=results/scores --pair=a,b \
      --out=results/pair

The paper's second experiment: whether two models that differ, and an oracle
that chooses between them, beat one model that costs as much as both.
"""

from absl import flags

from . import pairs, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(pairs)
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import diversity, report

    table, pair = tables.read(), tuple(pairs.PAIR.value)
    units = {
        "normalisation": tables.NORMALISATION.value,
        "cost": tables.COST.value,
    }
    found = diversity.mixed_pair_test(
        table,
        pair,
        **units,
        num_resamples=pairs.NUM_RESAMPLES.value,
        seed=pairs.SEED.value,
    )
    nearest = table.models[found.nearest].name
    print(
        report.write_sections(
            _OUT.value,
            [report.pair_test_section(found, pair, nearest, **units)],
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
