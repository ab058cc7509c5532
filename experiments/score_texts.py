"""Scores texts with a pool of models: the nll of each text, in nats.

  python -m experiments.score_texts --corpus=texts.jsonl --pool=pool.yaml \
      --out=results/scores

The corpus is JSONL, Parquet, a folder of text files, the held-out texts that
come with Python (`embedded`) or a Hugging Face data set (`hf:NAME:SPLIT`). The
result is a folder of Parquet files, a score table; a killed run goes on where
it was, and a finished one is not scored again. With `--dry_run` nothing is
scored: memory, batches, FLOPs and expected time of each model are printed, from
a sample of the texts and some seconds of calibration a model.
"""

import sys

from absl import flags

from experiments import program
from mmc_jax import corpus, pool, scoring

_CORPUS = flags.DEFINE_string(
    "corpus",
    None,
    "A .jsonl or .parquet file, a folder, `embedded`, or `hf:NAME:SPLIT`.",
    required=True,
)
_POOL = flags.DEFINE_string(
    "pool", None, "A YAML file, or the name of a shipped pool.", required=True
)
_OUT = flags.DEFINE_string("out", None, "The score table.", required=True)
_MODELS = flags.DEFINE_list("models", None, "Models of the pool; all if unset.")
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts_per_domain", None, "Score a sample only.", lower_bound=1
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the parameters."
)
_MAX_CONTEXT = flags.DEFINE_integer(
    "max_context", None, "Positions a window; the model's own if unset."
)
_STRIDE = flags.DEFINE_integer(
    "stride", None, "Tokens that windows move on; half a window if unset."
)
_TOKENS_PER_BATCH = flags.DEFINE_integer(
    "tokens_per_batch", 8192, "Token budget of a batch.", lower_bound=1
)
_RESCORE = flags.DEFINE_bool(
    "rescore", False, "Replace scores of other settings or checkpoints."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Tell what it would take; nothing is scored."
)


def main():
    texts = corpus.named(_CORPUS.value)
    if _NUM_TEXTS.value is not None:
        texts = texts.sample(_NUM_TEXTS.value)
    models = pool.read(_POOL.value)
    if _MODELS.value is not None:
        models = models.select(_MODELS.value)
    settings = scoring.Settings(
        dtype=_DTYPE.value,
        max_context=_MAX_CONTEXT.value,
        stride=_STRIDE.value,
        tokens_per_batch=_TOKENS_PER_BATCH.value,
    )
    if _DRY_RUN.value:
        run = scoring.dry_run(models, texts, settings=settings)
        print(run)
        sys.exit(1 if run.failures else 0)
    table = scoring.score(
        models, texts, _OUT.value, settings=settings, rescore=_RESCORE.value
    )
    print(f"{'model':<32}{'bits per byte':>14}{'round trips':>13}")
    losses = table.losses("bits_per_byte").mean(axis=1)
    for m, model in enumerate(table.models):
        round_trips = table.round_trips[m].mean()
        print(f"{model.name:<32}{losses[m]:14.4f}{round_trips:13.1%}")
    print(f"score table: {_OUT.value}")


if __name__ == "__main__":
    program.run(main)
