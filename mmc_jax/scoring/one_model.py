"""Scores one model of a run: its weights are loaded, its texts are scored."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
import transformers

from mmc_jax import hosts, pool, scores
from mmc_jax.corpus import Corpus, Stream
from mmc_jax.models import attributes, gguf_files, hub, loading
from mmc_jax.scores.columns import RELEASE_DATE
from mmc_jax.scoring import (
    batching,
    checkpoints,
    device,
    earlier_runs,
    flops,
    preparation,
    progress,
    runs,
    texts,
)
from mmc_jax.scoring.settings import Settings

# Batches that wait for the device.
_BATCHES_AHEAD = 4


def prepared(
    run: runs.Run, refused: Mapping[str, str], model: pool.Model
) -> preparation.Prepared:
    """Returns a model ready to be scored, unless its tokenizer is refused.

    Args:
      run: What all models of the run share.
      refused: Why tokenizers cannot be used, by the models' names.
      model: Model of the pool.

    Raises:
      ValueError: The model cannot be scored.
    """
    if model.name in refused:
        raise ValueError(refused[model.name])
    kept_as = earlier_runs.name_of(model, run.settings)

    def is_finished(key: dict[str, Any]) -> bool:
        found = scores.finished_key(run.out, model.name)
        if found is None:
            return False
        kept = scores.keeps_tokens(run.out, model.name)
        same = found == key and (kept or not run.settings.keep_tokens)
        return same or not run.rescore

    ready = preparation.prepared(
        model, run.corpus, run.settings, run.mesh, is_finished=is_finished
    )
    return ready._replace(kept_as=kept_as)


def score(
    model: pool.Model,
    prepared: preparation.Prepared,
    run: runs.Run,
    shown: progress.Progress,
) -> None:
    """Scores what is missing of one model and writes it.

    Args:
      model: Model of the pool.
      prepared: What `prepared` has returned for it.
      run: What all models of the run share.
      shown: Is told of every step.
    """
    corpus, out, settings, mesh, rescore, cache = run
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
                earlier_runs.keep(
                    cache, prepared.kept_as, prepared.key, scored.costs
                )


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
