"""Trains the shipped pool, or models to measure similarity on, from nothing.

  python -m experiments.train_pool --out=mmc_jax/pools/stdlib20

trains 5 families x 4 sizes and writes the pool's README, with the recipe, the
time and the losses on held-out texts. On 2 cores it takes one to two hours.

  python -m experiments.train_pool --study=similarity --out=results/similarity

trains pairs of models that share all but the seed, the mixture, the tokenizer
or the architecture, and writes what each pair gains on held-out texts into
result.json and a figure. On 2 cores it takes about half an hour.

Both write the pool's YAML file beside its folder. A killed run goes on where it
was; a finished model is skipped.
"""

from absl import flags

from . import choices, program, shared_flags

_STUDY = flags.DEFINE_enum(
    "study", "stdlib", choices.STUDIES, "Which models are trained."
)
_WORK_DIR = shared_flags.path(
    "work_dir",
    "results/train_pool",
    "Folder that keeps the states of training and the scores.",
)
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Updates of each model; the study's own if unset."
)
_SEED = shared_flags.seed()
_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_OUT = shared_flags.out()


def main():
    from .recipes import trained

    pool = trained.trained_pool(
        _STUDY.value,
        _OUT.value,
        _WORK_DIR.value,
        num_steps=_NUM_STEPS.value,
        seed=_SEED.value,
        num_texts_per_domain=_NUM_TEXTS.value,
    )
    if _STUDY.value == "similarity":
        words = trained.write_similarity(
            pool, _OUT.value, program.flag_values()
        )
        print(words)
    else:
        trained.write_card(pool, _OUT.value)


if __name__ == "__main__":
    program.run(main)
