"""Says in words what is wrong with a pool and its texts.

  python -m experiments.diagnose_pool --scores=results/scores \
      --out=results/diagnosis

or with --csv and --models, as for trace_frontier. Redundant models, duplicates,
one model that wins everywhere, texts that are hard for all, tokenizers that
make losses per token misleading, texts that do not come back from their tokens.
Costs and families are not needed.
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_REDUNDANT = flags.DEFINE_float(
    "redundant_share",
    0.01,
    "A model is redundant if the pool loses at most this share of its gain "
    "without it.",
)
_HARD = flags.DEFINE_float(
    "hard_share",
    0.05,
    "Share of a model's texts that count as its hardest.",
)
_RANK_SHIFT = flags.DEFINE_float(
    "rank_shift",
    0.2,
    "Share of the models by which a rank per token may be off.",
)
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import diversity, report

    table, normalisation = (
        tables.read(need_costs=False),
        tables.NORMALISATION.value,
    )
    findings = diversity.diagnosis(
        table,
        normalisation=normalisation,
        redundant_share=_REDUNDANT.value,
        hard_share=_HARD.value,
        rank_shift=_RANK_SHIFT.value,
    )
    section = report.diagnosis_section(
        findings,
        diversity.elimination(table.losses(normalisation)),
        [model.name for model in table.models],
        table.loss_unit(normalisation),
    )
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
