"""What the cheapest model of a pool makes of a text, as features.

The model reads the text's first window. What stands before its head says what
the text is about; how surprised it is says how hard the text is. That reading
is in the router's budget.

X texts, B batch, T position, D width, Q quantiles.
"""

import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mmc_jax import pool
from mmc_jax.corpus import Corpus
from mmc_jax.models import layers, loading
from mmc_jax.realizable.features import Features, cached_features
from mmc_jax.scoring import batching, checkpoints, likelihood, windows
from mmc_jax.scoring.settings import Settings

KINDS = ("hidden", "nll")

# Shares of the tokens that are less surprising than the quantile.
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Tokens of a batch, padding included.
_TOKENS_PER_BATCH = 8192
_VERSION = 1


def model_features(
    kind: str,
    model: pool.Model,
    texts: Corpus,
    *,
    settings: Settings = Settings(),  # noqa: B008  It is immutable.
    cache_dir: str | os.PathLike[str] | None = None,
) -> Features:
    """Returns what a model makes of the first window of each text: [X, D].

    "hidden": what stands before the head, its mean over the positions and its
    last position, 2 x the model's width. "nll": of the nats of each token the
    mean, the standard deviation, five quantiles, the mean of the first and of
    the second half, and the logarithm of the number of tokens, 10 numbers.

    Args:
      kind: One of `KINDS`.
      model: The model that reads, of a pool; the cheapest, commonly.
      texts: The corpus with its texts in memory.
      settings: How texts are read: dtype and largest window count.
      cache_dir: Folder where features are kept; None to keep nothing.

    Raises:
      FileNotFoundError: The checkpoint is not there.
      ValueError: No such kind; the checkpoint cannot be loaded; a text has no
        tokens or only one that cannot be scored.
    """
    if kind not in KINDS:
        raise ValueError(f"no features {kind!r}; there are {', '.join(KINDS)}.")
    opened = checkpoints.open(
        model.checkpoint, model.revision, settings, context=model.context
    )
    hashes = checkpoints.file_hashes(opened.folder, settings.cache_dir)

    def make() -> Features:
        network = loading.load(
            opened.folder,
            dtype=jnp.dtype(settings.dtype),
            cache_dir=settings.cache_dir,
        )
        rows: list[np.ndarray] = [np.empty(0)] * len(texts)
        for batch, found in _read(
            network, _rows(opened, texts), opened.context
        ):
            for row, *values in zip(batch.rows, *found, strict=False):
                rows[row.text] = (
                    np.concatenate(values[1:])
                    if kind == "hidden"
                    else _statistics(values[0][row.first : len(row.targets)])
                )
        return Features(
            texts.ids, np.stack(rows).astype(np.float32), model.name
        )

    made_from = {
        "kind": kind,
        "reader": model.name,
        "checkpoint": hashes,
        "context": opened.context,
        "dtype": settings.dtype,
        "version": _VERSION,
    }
    return cached_features(make, made_from, texts, cache_dir)


def _rows(
    opened: checkpoints.Checkpoint, texts: Corpus
) -> Iterator[batching.Row]:
    """Yields the first window of each text, under the text's place.

    Raises:
      ValueError: A text has no window; the message names it.
    """
    encoded = opened.encoded(texts.texts, texts.ids)
    for place, tokens in enumerate(encoded.tokens):
        plan = opened.windows(len(tokens))
        if not plan:
            raise ValueError(
                f"text {texts.ids[place]!r} has one token and no score: the "
                "tokenizer has no prefix to stand before it."
            )
        yield batching.Row(
            place,
            *windows.model_input(
                tokens, plan[0], opened.tokenizer.prefix.token
            ),
        )


def _read(
    network: layers.LanguageModel, rows: Iterator[batching.Row], context: int
) -> Iterator[tuple[batching.Batch, tuple[np.ndarray, ...]]]:
    """Yields each batch with nll [B, T], mean and last hidden states [B, D]."""
    graph, params = nnx.split(network)

    @jax.jit
    def found(params, inputs, targets, lengths):
        model = nnx.merge(graph, params)
        hidden = model.hidden_states(inputs).astype(jnp.float32)
        positions = jnp.arange(inputs.shape[1], dtype=jnp.int32)
        read = (positions < lengths[:, None])[..., None]
        mean = jnp.where(read, hidden, 0.0).sum(axis=1)
        mean = mean / lengths.astype(jnp.float32)[:, None]
        last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)
        last = last[:, 0]
        return likelihood.token_nll(model, inputs, targets), mean, last

    # Few lengths: a text is short beside what a program takes to compile.
    buckets = batching.bucket_lengths(context, num_batches=1, num_programs=1)
    for batch in batching.batches(rows, buckets, _TOKENS_PER_BATCH):
        lengths = np.ones(len(batch.inputs), np.int32)
        lengths[: len(batch.rows)] = [len(row.inputs) for row in batch.rows]
        yield (
            batch,
            tuple(
                np.asarray(values)
                for values in found(
                    params, batch.inputs, batch.targets, lengths
                )
            ),
        )


def _statistics(nll: np.ndarray) -> np.ndarray:
    """Returns what `model_features` says of the nats of each token."""
    nll = nll.astype(np.float64)
    half = max(1, len(nll) // 2)
    return np.array(
        [
            nll.mean(),
            nll.std(),
            *np.quantile(nll, _QUANTILES),
            nll[:half].mean(),
            nll[-half:].mean(),
            np.log(len(nll)),
        ]
    )
