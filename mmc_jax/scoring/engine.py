"""Scores a corpus with a pool, one model after the other, and resumes.

With several processes each scores its share of the texts on its own devices,
and process 0 puts the parts together; they share the table's folder. Where a
mesh has more devices than one process does, all of them run each batch together
and process 0 writes.
"""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence

from mmc_jax import disk, hosts, pool, scores, user_cache
from mmc_jax.corpus import Corpus, Stream
from mmc_jax.scoring import (
    earlier_runs,
    meshes,
    progress,
    runs,
    tokenizer_checks,
)
from mmc_jax.scoring.settings import DTYPES, PREFIXES, Settings


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
    run = runs.Run(
        corpus,
        out,
        settings,
        meshes.mesh(settings),
        rescore,
        user_cache.folder("checkpoints"),
    )
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
    models: Sequence[pool.Model], run: runs.Run
) -> dict[str, BaseException]:
    """Scores all models; returns why some could not be, by name."""
    waiting = [
        model for model in models if not scores.is_finished(run.out, model.name)
    ]
    # Before hours are spent: what tokenizers lose, and those that hang.
    refused = hosts.of_first(lambda: tokenizer_checks.refusals(waiting))
    with progress.Progress(
        len(models), len(run.corpus), is_shown=hosts.is_first()
    ) as shown:
        done = earlier_runs.up_to_date(models, run)
        for name in done:
            shown.begin(name)
            shown.skip(len(run.corpus))
            shown.end()
        others = [model for model in models if model.name not in done]
        return _score_others(others, run, refused, shown) if others else {}


def _score_others(
    models: Sequence[pool.Model],
    run: runs.Run,
    refused: Mapping[str, str],
    shown: progress.Progress,
) -> dict[str, BaseException]:
    """Scores models that are not known to be done; returns the failures."""
    # They import transformers and Flax, which takes seconds.
    from mmc_jax.scoring import one_model, preparation

    failures = {}
    with contextlib.closing(
        preparation.some_ahead(
            models, functools.partial(one_model.prepared, run, refused)
        )
    ) as all_prepared:
        for model, prepared in all_prepared:
            shown.begin(model.name)
            failure = None
            try:
                shown.doing("compiling")
                one_model.score(model, prepared(), run, shown)
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
    if isinstance(error, hosts.HostError):
        return True
    return isinstance(error, OSError) and disk.is_full(error)
