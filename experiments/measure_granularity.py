"""Measures what a finer choice of the model gains: the law of granularity.

  python -m experiments.score_texts --corpus=embedded --pool=stdlib20 \
      --num_texts_per_domain=100 --keep_tokens --out=results/tokens
  python -m experiments.measure_granularity --scores=results/tokens \
      --corpus=embedded --out=results/granularity

The oracle chooses a model for each text, for each 512, 256, ... bytes, for each
sentence, line, word and token, at boundaries that all tokenizers share. Each
granularity has a frontier, a law with intervals over texts, the losses of
online systems, and a control that says how much of the gain is noise.
"""

from absl import flags

from . import choices, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_KINDS = shared_flags.granularities(list(choices.GRANULARITIES))
_NUM_PERMUTATIONS = flags.DEFINE_integer(
    "num_permutations",
    20,
    "Number of random permutations of the control.",
    lower_bound=1,
)
_PREFIX_BYTES = shared_flags.prefix_bytes(128)
_NUM_RESAMPLES = shared_flags.num_resamples(200, lower_bound=2)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()


def main():
    import tqdm

    from mmc_jax import realizable, report

    table = tables.read()
    with tqdm.tqdm(total=len(_KINDS.value), unit="kind") as bar:

        def show(kind):
            bar.set_description(kind)
            bar.update()

        found = realizable.granularity(
            table,
            tables.read_texts(),
            kinds=_KINDS.value,
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            num_resamples=_NUM_RESAMPLES.value,
            num_draws=_NUM_PERMUTATIONS.value,
            prefix_bytes=_PREFIX_BYTES.value,
            seed=_SEED.value,
            on_level=show,
        )
    print(
        report.write_sections(
            _OUT.value,
            [report.granularity_section(found)],
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
