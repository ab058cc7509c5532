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

import jax
from absl import flags

from experiments import program
from mmc_jax import corpus, hosts, pool, scoring

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
    "tokens_per_batch",
    None,
    "Token budget, a device; what suits it if unset.",
    lower_bound=1,
)
_RESCORE = flags.DEFINE_bool(
    "rescore", False, "Replace scores of other settings or checkpoints."
)
_MESH_DATA = flags.DEFINE_integer(
    "mesh_data", None, "Devices a batch is spread over; all if unset."
)
_MESH_MODEL = flags.DEFINE_integer(
    "mesh_model", 1, "Devices the weights are split over.", lower_bound=1
)
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir", None, "Keeps converted parameters; nothing is kept if unset."
)
_COMPILATION_CACHE_DIR = flags.DEFINE_string(
    "compilation_cache_dir", None, "Instead of ~/.cache/mmc_jax/xla."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes, as the cluster tells."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "Host and port of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "All of them.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Of this one, from 0.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", 100, "A process silent for longer is gone."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Tell what it would take; nothing is scored."
)


def main():
    if _COMPILATION_CACHE_DIR.value is not None:
        folder = _COMPILATION_CACHE_DIR.value
        jax.config.update("jax_compilation_cache_dir", folder)
    process = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    if _DISTRIBUTED.value or any(value is not None for value in process):
        hosts.initialize(*process, heartbeat_seconds=_HEARTBEAT.value)
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
        num_data=_MESH_DATA.value,
        num_model=_MESH_MODEL.value,
        cache_dir=_CACHE_DIR.value,
    )
    if _DRY_RUN.value:
        run = scoring.dry_run(models, texts, settings=settings)
        print(run)
        sys.exit(1 if run.failures else 0)
    try:
        table = scoring.score(
            models, texts, _OUT.value, settings=settings, rescore=_RESCORE.value
        )
    except scoring.ScoringError as error:
        _show(error.table)
        raise
    _show(table)


def _show(table):
    if table is None or not hosts.is_first():
        return
    print(f"{'model':<32}{'bits per byte':>14}{'round trips':>13}")
    losses = table.losses("bits_per_byte").mean(axis=1)
    for m, model in enumerate(table.models):
        round_trips = table.round_trips[m].mean()
        print(f"{model.name:<32}{losses[m]:14.4f}{round_trips:13.1%}")
    print(f"score table: {_OUT.value}")


if __name__ == "__main__":
    program.run(main)
