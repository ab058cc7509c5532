"""Scores a corpus with a pool, one model after the other, and resumes.

With several processes each scores its share of the texts on its own devices,
and process 0 puts the parts together; they share the table's folder. Where a
mesh has more devices than one process does, all of them run each batch together
and process 0 writes.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
import transformers

from mmc_jax import hosts, pool, scores, user_cache
from mmc_jax.corpus import Corpus, Stream
from mmc_jax.models import attributes, gguf_files, hub, loading
from mmc_jax.scores.columns import RELEASE_DATE
from mmc_jax.scoring import (
    batching,
    checkpoints,
    device,
    flops,
    preparation,
    progress,
    texts,
    tokenizer_checks,
)
from mmc_jax.scoring.settings import DTYPES, PREFIXES, Settings

# Batches that wait for the device.
_BATCHES_AHEAD = 4


class ScoringError(ValueError):
    """Some models could not be scored; the others were.

    Attributes:
      failures: Why, by the models' names.
      table: The models that were scored, None if there are none.
    """

    def __init__(
        self,
        failures: Mapping[str, BaseException],
        table: scores.ScoreTable | None,
    ):
        num_scored = 0 if table is None else len(table.models)
        reasons = "; ".join(
            f"{name}: {type(error).__name__}: {error}"
            for name, error in failures.items()
        )
        super().__init__(
            f"{len(failures)} of {len(failures) + num_scored} models could not "
            f"be scored: {reasons}"
        )
        self.failures = dict(failures)
        self.table = table


def score(
    pool: pool.Pool,
    corpus: Corpus | Stream,
    out: str | os.PathLike[str],
    *,
    settings: Settings = Settings(),  # noqa: B008
    rescore: bool = False,
) -> scores.ScoreTable:
    """Returns the score table of a corpus under a pool, and writes it.

    Whatever `out` holds already is kept and not scored again; a run that was
    killed goes on where it was. Where a model fails, what is finished of it is
    kept and the others are scored. Compiled programs stay on disk, see
    `user_cache`.

    Args:
      pool: The models to score.
      corpus: The texts to score. Of a stream, few are in memory at a time.
      out: Folder of the score table. One run at a time writes there.
      settings: How texts are scored.
      rescore: Replace scores that were made with other settings or another
        checkpoint, instead of refusing.

    Returns:
      The table, its models in the order of the pool.

    Raises:
      ScoringError: Models could not be scored, at the end of the run: their
        checkpoint is not there or cannot be loaded, a text cannot be scored or
        its score is not finite, a batch of one row does not fit in memory, or
        `out` holds scores with another checkpoint or other settings.
      ValueError: There are no texts, `out` has another corpus, or settings
        that cannot be. Nothing is scored.
      BlockingIOError: Another run is scoring into `out`.
      OSError: The disk is full; what was finished before stays.
      hosts.HostError: Another process is gone; the same holds.
    """
    _check(corpus, settings)
    user_cache.keep_programs()
    run = _Run(corpus, out, settings, device.mesh(settings), rescore)
    with contextlib.ExitStack() as stack:
        with hosts.together():
            if hosts.is_first():
                stack.enter_context(scores.locked(out, "scoring"))
                scores.write_corpus(out, corpus)
        with hosts.together():
            if not hosts.is_first():  # Is there, and has to be of the same.
                scores.write_corpus(out, corpus)
        failures = _score_models(pool.models, run)
    finished = [m.name for m in pool.models if m.name not in failures]
    table = None
    if finished:
        table = scores.open(out, leave_out_unfinished=True)
        table = table.select(models=finished)
    if failures:
        raise ScoringError(failures, table) from next(iter(failures.values()))
    return table


class _Run(NamedTuple):
    """What all models of a run share."""

    corpus: Corpus | Stream
    out: str | os.PathLike[str]
    settings: Settings
    mesh: jax.sharding.Mesh
    rescore: bool


def _check(corpus: Corpus | Stream, settings: Settings) -> None:
    """Raises a ValueError for what cannot be scored."""
    if settings.dtype not in DTYPES:
        raise ValueError(
            f"dtype {settings.dtype!r}: use {' or '.join(DTYPES)} (float16 "
            "overflows in several families)"
        )
    if settings.prefix not in PREFIXES:
        raise ValueError(
            f"prefix {settings.prefix!r}: use one of {', '.join(PREFIXES)}"
        )
    if isinstance(corpus, Corpus) and corpus.texts is None:
        raise ValueError(
            "the corpus holds counts only; scoring needs its texts"
        )
    if not len(corpus):
        raise ValueError("the corpus has no texts; there is nothing to score")


def _score_models(
    models: Sequence[pool.Model], run: _Run
) -> dict[str, BaseException]:
    """Scores all models; returns why some could not be, by name."""
    waiting = [
        model for model in models if not scores.is_finished(run.out, model.name)
    ]
    # Before hours are spent: what tokenizers lose, and those that hang.
    refused = hosts.of_first(lambda: tokenizer_checks.refusals(waiting))
    failures = {}
    with (
        progress.Progress(
            len(models), len(run.corpus), is_shown=hosts.is_first()
        ) as shown,
        contextlib.closing(
            preparation.one_ahead(
                models, functools.partial(_prepared, run, refused)
            )
        ) as all_prepared,
    ):
        for model, prepared in all_prepared:
            shown.begin(model.name)
            failure = None
            try:
                shown.doing("compiling")
                _score_model(model, prepared(), run, shown)
            except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
                if not error.args:
                    error.args = (_what_is_kept(shown, run.out),)
                raise
            # Panics of tokenizers, which are written in Rust, are no Exception.
            except BaseException as error:
                error.add_note(f"while scoring the model {model.name}")
                if _ends_the_run(error):
                    raise
                failures[model.name] = failure = error
            shown.end(failure)
    return failures


def _what_is_kept(shown: progress.Progress, out: str | os.PathLike[str]) -> str:
    return f"{shown.done()}; the scores are kept in {out}"


def _ends_the_run(error: BaseException) -> bool:
    """Returns whether an error would meet the next model as well."""
    disk = isinstance(error, OSError) and error.errno in hosts.DISK_ERRORS
    return disk or isinstance(error, hosts.HostError)


def _prepared(
    run: _Run, refused: Mapping[str, str], model: pool.Model
) -> preparation.Prepared:
    """Returns a model ready to be scored, unless its tokenizer is refused."""
    if model.name in refused:
        raise ValueError(refused[model.name])

    def is_finished(key: dict[str, Any]) -> bool:
        found = scores.finished_key(run.out, model.name)
        if found is None:
            return False
        kept = scores.keeps_tokens(run.out, model.name)
        same = found == key and (kept or not run.settings.keep_tokens)
        return same or not run.rescore

    return preparation.prepared(
        model, run.corpus, run.settings, run.mesh, is_finished=is_finished
    )


def _score_model(
    model: pool.Model,
    prepared: preparation.Prepared,
    run: _Run,
    shown: progress.Progress,
) -> None:
    """Scores what is missing of one model and writes it."""
    corpus, out, settings, mesh, rescore = run
    checkpoint = prepared.checkpoint
    scored = _scored_model(model, checkpoint, mesh)
    with contextlib.ExitStack() as stack:

        def writer() -> scores.ModelWriter:
            return stack.enter_context(
                scores.ModelWriter(
                    out,
                    scored,
                    prepared.key,
                    rescore=rescore,
                    process=jax.process_index(),
                    keep_tokens=settings.keep_tokens,
                )
            )

        with hosts.together():  # Process 0 tidies up before others look.
            own = writer() if hosts.is_first() else None
        with hosts.together():
            own = own or writer()
            # As it is now, before any process adds to it.
            finished_ids = frozenset(own.finished_ids)
            is_finished = len(finished_ids) == len(corpus)
            if not is_finished:
                network = loading.load(
                    checkpoint.folder,
                    dtype=jnp.dtype(settings.dtype),
                    mesh=mesh,
                    cache_dir=settings.cache_dir,
                )
        shown.skip(len(finished_ids))
        if not is_finished:
            with hosts.together():
                shown.doing("scoring")
                _score_texts(
                    device.Scorer(
                        network, mesh, device.programs(network, mesh)
                    ),
                    checkpoint,
                    prepared.lengths,
                    _missing(corpus, finished_ids, mesh),
                    own,
                    settings,
                    shown,
                )
        with hosts.together():
            if hosts.is_first():
                own.finish()


def _scored_model(
    model: pool.Model,
    checkpoint: checkpoints.Checkpoint,
    mesh: jax.sharding.Mesh,
) -> scores.ScoredModel:
    """Returns what the table tells of a model, but for its scores' key."""
    config = checkpoint.config
    return scores.ScoredModel(
        name=model.name,
        family=model.family,
        kind=model.kind,
        costs=flops.costs_with(config, model.costs),
        provenance={
            "checkpoint": model.checkpoint,
            "revision": model.revision,
            "resolved_revision": hub.resolved_revision(checkpoint.folder),
            "model_type": config.model_type,
            "context_source": checkpoint.context_source,
            **{k: v for k, v in model.facts.items() if k == RELEASE_DATE},
            "unread_config": attributes.unread(config),
            **gguf_files.provenance(checkpoint.folder),
            "device": mesh.devices.flat[0].device_kind,
            "mesh": dict(mesh.shape),
            "num_processes": jax.process_count(),
            "versions": {
                "jax": jax.__version__,
                "tokenizers": tokenizers.__version__,
                "transformers": transformers.__version__,
            },
        },
    )


def _missing(
    corpus: Corpus | Stream,
    finished_ids: frozenset[str],
    mesh: jax.sharding.Mesh,
) -> Iterator[Corpus]:
    """Yields the texts without a score that are this process's, in chunks.

    Each process has every P-th of them, or all where one mesh spans processes.
    """
    process, num_processes = jax.process_index(), jax.process_count()
    if device.spans_processes(mesh):
        process, num_processes = 0, 1
    num_missing = 0
    for chunk in corpus.chunks(preparation.TEXTS_PER_CHUNK):
        chosen = []
        for i, id_ in enumerate(chunk.ids):
            if id_ not in finished_ids:
                if num_missing % num_processes == process:
                    chosen.append(i)
                num_missing += 1
        if chosen:
            yield chunk.select(chosen)


def _score_texts(
    scorer: device.Scorer,
    checkpoint: checkpoints.Checkpoint,
    lengths: list[int],
    chunks: Iterator[Corpus],
    writer: scores.ModelWriter,
    settings: Settings,
    shown: progress.Progress,
) -> None:
    """Scores the texts and writes them as they are finished."""
    under_way = texts.Texts(checkpoint, keeps_tokens=writer.keeps_tokens)
    made = batching.batches(
        under_way.rows(chunks),
        lengths,
        device.tokens_per_batch(settings),
        scorer.num_data,
    )
    writes = hosts.is_first() or not scorer.spans_processes
    last = time.monotonic()

    def write_finished() -> None:
        nonlocal last
        finished = under_way.take_finished()
        seconds, last = time.monotonic() - last, time.monotonic()
        shown.add(len(finished))
        # The finite ones first: those that are refused then cost no others.
        finite = [text for text in finished if np.isfinite(text.nll_nats)]
        others = [text for text in finished if not np.isfinite(text.nll_nats)]
        if writes:
            _append(writer, finite, seconds)
        _append(writer, others, seconds=0.0)

    with contextlib.closing(texts.ahead(made, _BATCHES_AHEAD)) as made:
        try:
            for batch, nll in scorer.scored(made):
                under_way.add(batch, nll)
                if time.monotonic() - last > settings.part_seconds:
                    write_finished()
        finally:  # A failure costs what is not finished, nothing else.
            write_finished()


def _append(
    writer: scores.ModelWriter, finished: list[texts.Text], seconds: float
) -> None:
    writer.append(
        [text.id for text in finished],
        [text.nll_nats for text in finished],
        [text.num_tokens for text in finished],
        [text.num_scored for text in finished],
        [text.round_trips for text in finished],
        seconds=seconds,
        token_scores=scores.token_scores(
            [text.token_nll for text in finished],
            [text.end_bytes for text in finished],
        )
        if writer.keeps_tokens
        else None,
    )
