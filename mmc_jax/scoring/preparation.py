"""What a model needs before its first batch, but for its weights.

The next two models are prepared in threads while one is scored: their
tokenizers are read, their files are hashed and their programs are compiled.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from mmc_jax import hosts, pool
from mmc_jax.corpus import Corpus, Stream
from mmc_jax.models import shapes
from mmc_jax.scoring import batching, checkpoints, device, flops, tokenization
from mmc_jax.scoring.settings import Settings

# Scores of another version of the engine are not mixed with these.
_ENGINE_VERSION = 1
# Texts that are tokenized at once.
TEXTS_PER_CHUNK = 128
# With more texts, which lengths occur is not looked up, and programs are
# compiled when they are needed.
_MOST_TEXTS = 20_000
# With fewer tokens, lengths do not follow from the texts: a few texts have the
# same bits beside others.
_FEWEST_TOKENS = 2**15

# Models that are prepared while another is scored. Of small models one alone
# would take longer than scoring does.
_NUM_AHEAD = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Prepared(NamedTuple):
    """A model that is ready to be loaded and scored.

    Attributes:
      checkpoint: Its tokenizer, config and window plan.
      key: All that its scores depend on but the texts, as JSON.
      lengths: Lengths T that its batches may have, the longest first.
      kept_as: Name under which the key is kept for the next run, from
        `earlier_runs.name_of`; None where it is not.
    """

    checkpoint: checkpoints.Checkpoint
    key: dict[str, Any]
    lengths: list[int]
    kept_as: str | None = None


def prepared(
    model: pool.Model,
    corpus: Corpus | Stream,
    settings: Settings,
    mesh: jax.sharding.Mesh,
    *,
    is_finished: Callable[[dict[str, Any]], bool],
) -> Prepared:
    """Returns a model ready to be scored. All processes call it.

    Args:
      model: Model of the pool.
      corpus: All texts, scored or not: the lengths depend on them.
      settings: How to score.
      mesh: Devices that will score.
      is_finished: Says for a key whether there is nothing to score; then
        nothing is compiled.

    Raises:
      FileNotFoundError: The checkpoint is not there.
      ValueError: It cannot be scored.
      hosts.HostError: Another process has failed.
    """
    with hosts.together():
        checkpoint = checkpoints.open(
            model.checkpoint, model.revision, settings, context=model.context
        )
    prefix = checkpoint.tokenizer.prefix
    key = {
        # Read by one process: it may be hundreds of gigabytes.
        "files": hosts.of_first(
            lambda: checkpoints.file_hashes(
                checkpoint.folder, settings.cache_dir
            )
        ),
        "dtype": settings.dtype,
        "context": checkpoint.context,
        "stride": checkpoint.stride,
        "prefix_policy": prefix.policy,
        "prefix_token": prefix.token,
        "engine_version": _ENGINE_VERSION,
    }
    with hosts.together():
        num_rows = None
        if not device.spans_processes(mesh) and not is_finished(key):
            num_rows = _num_rows(checkpoint, corpus)
        lengths = bucket_lengths(checkpoint, corpus, settings, mesh, num_rows)
        if num_rows is not None:
            _compile(checkpoint, lengths, num_rows, settings, mesh)
    return Prepared(checkpoint, key, lengths)


def bucket_lengths(
    checkpoint: checkpoints.Checkpoint,
    corpus: Corpus | Stream,
    settings: Settings,
    mesh: jax.sharding.Mesh,
    num_rows: Mapping[int, float] | None = None,
) -> list[int]:
    """Returns the lengths T that a model's batches may have, longest first.

    They depend on the full corpus, scored or not, so that a run that is resumed
    has the same. On CPUs, where a program is compiled quickly, they follow from
    the lengths of the rows if there are more than a few; elsewhere, and of more
    texts than are looked at, from the bytes of all texts alone.

    Args:
      checkpoint: Checkpoint of the model.
      corpus: All texts to score.
      settings: How to score.
      mesh: Devices that will score.
      num_rows: How many rows have each length, for all texts; None where that
        is not known.
    """
    tokens_per_batch = device.tokens_per_batch(settings)
    num_data = mesh.shape["data"]
    per_token = flops.matmul_flops_per_token(checkpoint.config)
    known = num_rows is not None and len(corpus) <= _MOST_TEXTS
    if known and jax.default_backend() == "cpu":
        num_tokens = sum(length * num for length, num in num_rows.items())
        if num_tokens >= _FEWEST_TOKENS:
            return batching.lengths_of_rows(
                num_rows,
                checkpoint.context,
                device.flops_per_program() / per_token,
            )
    num_batches = batching.expected_batches(
        int(corpus.counts.num_bytes.sum()), tokens_per_batch, num_data
    )
    num_tokens = num_batches * tokens_per_batch * num_data
    num_flops = num_tokens * per_token
    return batching.bucket_lengths(
        checkpoint.context, num_batches, num_flops / device.flops_per_program()
    )


def _num_rows(
    checkpoint: checkpoints.Checkpoint, corpus: Corpus | Stream
) -> collections.Counter[int] | None:
    """Returns how many rows of each length there are; None of many texts."""
    if len(corpus) > _MOST_TEXTS:
        return None
    return collections.Counter(
        row_length
        for chunk in corpus.chunks(TEXTS_PER_CHUNK)
        for num in tokenization.num_tokens(checkpoint.tokenizer, chunk.texts)
        for row_length in checkpoint.row_lengths(num)
    )


def _compile(
    checkpoint: checkpoints.Checkpoint,
    lengths: Sequence[int],
    num_rows: Mapping[int, float],
    settings: Settings,
    mesh: jax.sharding.Mesh,
) -> None:
    """Compiles the programs that a model's batches will need."""
    needed = {
        min(length for length in lengths if length >= row_length)
        for row_length in num_rows
    }
    abstract = shapes.abstract(
        checkpoint.config, dtype=jnp.dtype(settings.dtype), mesh=mesh
    )
    programs = device.programs(abstract, mesh)
    for length in sorted(needed):
        num_rows = batching.rows_per_batch(
            length, device.tokens_per_batch(settings), mesh.shape["data"]
        )
        programs.compile(abstract, (num_rows, length))


def some_ahead(
    items: Iterable[_Item], make: Callable[[_Item], _Result]
) -> Iterator[tuple[_Item, Callable[[], _Result]]]:
    """Yields each item with what `make` makes of it, made two items ahead.

    The second is a function that waits for the result, or raises what `make`
    has raised. With several processes, and on devices whose compiler needs
    their memory, nothing is made ahead.

    Args:
      items: What is gone through.
      make: Is called once for each item; they are begun in their order, and
        two may be under way at a time.
    """
    if jax.process_count() > 1 or jax.default_backend() != "cpu":
        for item in items:
            yield item, lambda item=item: make(item)
        return
    threads = concurrent.futures.ThreadPoolExecutor(_NUM_AHEAD)
    waiting = collections.deque()
    make = _with_settings_of_this_thread(make)
    try:
        for item in items:
            waiting.append((item, threads.submit(make, item)))
            if len(waiting) > _NUM_AHEAD:
                item, future = waiting.popleft()
                yield item, future.result
        for item, future in waiting:
            yield item, future.result
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _with_settings_of_this_thread(
    function: Callable[[_Item], _Result],
) -> Callable[[_Item], _Result]:
    """Returns the function, for a thread that lacks JAX's context managers."""
    promotion = jax.config.jax_numpy_dtype_promotion
    precision = jax.config.jax_default_matmul_precision

    def run(item: _Item) -> _Result:
        with (
            jax.numpy_dtype_promotion(promotion),
            jax.default_matmul_precision(precision),
        ):
            return function(item)

    return run
