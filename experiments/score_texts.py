"""Scores texts with a pool of models: the nll of each text, in nats.

  python -m experiments.score_texts --corpus=texts.jsonl --pool=pool.yaml \
      --out=results/scores

The corpus is JSONL, Parquet, a folder of text files, the held-out texts that
come with Python (`embedded`) or a Hugging Face data set (`hf:NAME:SPLIT`). The
result is a folder of Parquet files, a score table; a killed run goes on where
it was, and a finished one is not scored again. Where models fail, the others
are scored; the last lines name those and the exit code is 1.

With `--dry_run` nothing is scored: memory, batches, FLOPs and expected time of
each model are printed, from a sample of the texts and some seconds of
calibration a model.

With several machines, start it on each with the same flags and a folder that
all of them see: under Slurm, Open MPI or on a TPU pod with --distributed,
elsewhere with --coordinator_address, --num_processes and --process_id.
"""

import sys

from absl import flags

from . import choices, corpora, processes, program, shared_flags

flags.adopt_module_key_flags(corpora)
flags.adopt_module_key_flags(processes)
_POOL = shared_flags.pool()
_ONLY_MODELS = shared_flags.only_models()
_NUM_TEXTS = shared_flags.num_texts_per_domain(None)
_DTYPE = shared_flags.dtype()
_MAX_CONTEXT = shared_flags.max_context()
_STRIDE = flags.DEFINE_integer(
    "stride",
    None,
    "Tokens by which the windows of a long text move on; half a window if "
    "unset.",
)
_PREFIX = flags.DEFINE_enum(
    "prefix",
    "own",
    choices.PREFIXES,
    "What stands before every window: the tokenizer's own choice, BOS, EOS, or "
    "none: then the first token of a text has no score.",
)
_TOKENS_PER_BATCH = shared_flags.tokens_per_batch()
_RESCORE = flags.DEFINE_bool(
    "rescore", False, "Replace scores of other settings or checkpoints."
)
_MESH = shared_flags.mesh("x1")
_CACHE_DIR = shared_flags.path(
    "cache_dir",
    None,
    "Folder that keeps converted parameters; nothing is kept if unset.",
)
_COMPILATION_CACHE_DIR = shared_flags.path(
    "compilation_cache_dir",
    None,
    "Folder that keeps compiled programs; ~/.cache/mmc_jax/xla if unset.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Say what memory and time it would take; nothing is scored.",
)
_KEEP_TOKENS = flags.DEFINE_bool(
    "keep_tokens",
    False,
    "Keep the score of each token as well, and where it ends in the text.",
)
_OUT = shared_flags.out()


def main():
    import jax

    from mmc_jax import hosts, pool, scoring

    cache = _COMPILATION_CACHE_DIR.value
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", cache)
    processes.join()
    texts = corpora.read()
    if _NUM_TEXTS.value is not None:
        texts = texts.sample(_NUM_TEXTS.value)
    models = pool.read(_POOL.value)
    if _ONLY_MODELS.value is not None:
        models = models.select(_ONLY_MODELS.value)
    num_data, num_model = shared_flags.mesh_sizes(_MESH.value)
    settings = scoring.Settings(
        dtype=_DTYPE.value,
        max_context=_MAX_CONTEXT.value,
        stride=_STRIDE.value,
        prefix=_PREFIX.value,
        tokens_per_batch=_TOKENS_PER_BATCH.value,
        num_data=num_data,
        num_model=num_model,
        cache_dir=_CACHE_DIR.value,
        keep_tokens=_KEEP_TOKENS.value,
    )
    if _DRY_RUN.value:
        run = scoring.dry_run(models, texts, settings=settings)
        print(run)
        sys.exit(1 if run.failures else 0)
    failure = None
    try:
        table = scoring.score(
            models, texts, _OUT.value, settings=settings, rescore=_RESCORE.value
        )
    except scoring.ScoringError as error:
        table, failure = error.table, error
    if table is not None and hosts.is_first():
        _show(table)
    if failure is not None:
        raise failure


def _show(table):
    print(f"{'model':<32}{'bits per byte':>14}{'round trips':>13}")
    losses = table.losses("bits_per_byte").mean(axis=1)
    for m, model in enumerate(table.models):
        round_trips = table.round_trips[m].mean()
        print(f"{model.name:<32}{losses[m]:14.4f}{round_trips:13.1%}")
    print(f"score table: {_OUT.value}")


if __name__ == "__main__":
    program.run(main)
