"""What keeping the scores of tokens costs: processor time and bytes."""

import functools
import pathlib
import statistics
import tempfile
import time

from mmc_jax import corpus, pool, scores, scoring


def measured(
    models: pool.Pool,
    texts: corpus.Corpus,
    num_repetitions: int,
) -> list[dict[str, float | str | list[float]]]:
    """Returns what `keep_tokens` costs each model.

    With and without take turns, and each goes first as often as the other. Time
    is the processor's, of all threads, so that what others do on the machine
    hardly matters. What a run takes before its first text (loading, compiling)
    is measured by runs over one text and is taken off both.

    Args:
      models: Models to score with.
      texts: Texts to score, with the texts themselves.
      num_repetitions: How often each is run.
    """
    found = []
    for model in models.models:
        alone = models.select([model.name])
        with tempfile.TemporaryDirectory() as folder:
            run = functools.partial(_seconds, alone, pathlib.Path(folder))
            # The first one compiles, and is not counted.
            run("first", texts, keep_tokens=True)
            size = _bytes_per_token(pathlib.Path(folder) / "first", model.name)
            shares, plain = [], []
            for i in range(num_repetitions):
                taken = {}
                for keeps in (True, False) if i % 2 else (False, True):
                    start, end = (
                        run(f"{i}{keeps}{few}", some, keep_tokens=keeps)
                        for few, some in enumerate((texts.select([0]), texts))
                    )
                    taken[keeps] = end - start
                shares.append(taken[True] / taken[False] - 1)
                plain.append(taken[False])
        found.append(
            {
                "model": model.name,
                "bytes_per_token": size,
                "processor_seconds": statistics.median(plain),
                "slow_down": statistics.median(shares),
                "slow_downs": shares,
            }
        )
    return found


def _seconds(
    models: pool.Pool,
    folder: pathlib.Path,
    name: str,
    texts: corpus.Corpus,
    *,
    keep_tokens: bool,
) -> float:
    """Returns the processor's seconds of one run of scoring."""
    start = time.process_time()
    scoring.score(
        models,
        texts,
        folder / name,
        settings=scoring.Settings(keep_tokens=keep_tokens),
    )
    return time.process_time() - start


def _bytes_per_token(folder: pathlib.Path, name: str) -> float:
    size = scores.tokens.token_file(folder, name).stat().st_size
    return size / float(scores.open(folder).num_tokens.sum())
