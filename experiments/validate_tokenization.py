"""Two models of different tokenizers, by losses per token and by fair losses.

  python -m experiments.validate_tokenization --scores=results/scores \
      --pair=a,b --out=results/tokenization

The paper's first experiment: losses per token of tokenizers with tokens of
different lengths are losses for different amounts of text. Shows both, the lead
of the first model with intervals over texts, and how many texts change their
winner.
"""

from absl import flags

from . import pairs, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(pairs)
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import diversity, report

    pair = tuple(pairs.PAIR.value)
    effect = diversity.token_effect(
        tables.read(need_costs=False),
        pair,
        normalisation=tables.NORMALISATION.value,
        num_resamples=pairs.NUM_RESAMPLES.value,
        seed=pairs.SEED.value,
    )
    section = report.token_effect_section(
        effect, pair, tables.NORMALISATION.value
    )
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
