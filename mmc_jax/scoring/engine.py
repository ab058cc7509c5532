"""Scores a corpus with a pool, one model after the other, and resumes.

One text under one model can be looked at token by token.
"""

import hashlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
import tqdm
import transformers

from mmc_jax import models, pool, scores
from mmc_jax.corpus import Corpus
from mmc_jax.models import loading
from mmc_jax.scoring import batches, likelihood, tokenization, windows

# Scores of another version of the engine are not mixed with these.
_ENGINE_VERSION = 1
# Positions for a model that has no limit of its own (a state-space model).
_CONTEXT = 4096


class Settings(NamedTuple):
    """How texts are scored.

    Attributes:
      dtype: Of the parameters, "float32" or "bfloat16".
      max_context: Positions that a window takes; the model's own limit if it is
        less, or where None is given.
      stride: Tokens by which windows move on; half the window's positions where
        None is given.
      tokens_per_batch: Token budget of a batch, padding included.
      part_seconds: Finished texts are written to disk this often.
    """

    dtype: str = "float32"
    max_context: int | None = None
    stride: int | None = None
    tokens_per_batch: int = 8192
    part_seconds: float = 10.0


class Surprisal(NamedTuple):
    """The score of one text, token by token.

    Attributes:
      tokens: As the tokenizer's vocabulary spells them, [T].
      nll_nats: Surprisal of each, float64 [T]; NaN for a first token that is
        not scored because the tokenizer has no prefix to stand before it.
      num_scored: Tokens that are scored.
      total_nats: Sum over those.
      bits_per_byte: The total by the bytes of the raw text.
      prefix: What stood before each window.
    """

    tokens: list[str]
    nll_nats: np.ndarray
    num_scored: int
    total_nats: float
    bits_per_byte: float
    prefix: tokenization.Prefix


def score(
    pool: pool.Pool,
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    settings: Settings = Settings(),  # noqa: B008
    rescore: bool = False,
) -> scores.ScoreTable:
    """Returns the score table of a corpus under a pool, and writes it.

    Whatever `out` holds already is kept and not scored again; a run that was
    killed goes on where it was.

    Args:
      pool: The models.
      corpus: The texts, with the texts themselves.
      out: The table's folder.
      settings: How to score.
      rescore: Replace scores that were made with other settings or another
        checkpoint, instead of refusing.

    Returns:
      The table, its models in the order of the pool.

    Raises:
      FileNotFoundError: A checkpoint is not there.
      ValueError: A checkpoint cannot be loaded, a text cannot be scored, or
        `out` holds scores of another corpus, checkpoint or settings. A note
        names the model; what was finished before stays.
    """
    if corpus.texts is None:
        raise ValueError(
            "the corpus holds counts only; scoring needs its texts"
        )
    scores.write_corpus(out, corpus)
    bar = tqdm.tqdm(total=len(pool.models) * len(corpus), unit="text")
    with bar:
        for model in pool.models:
            bar.set_description(model.name)
            try:
                _score_model(model, corpus, out, settings, rescore, bar)
            except Exception as error:
                error.add_note(f"while scoring the model {model.name}")
                raise
    return scores.open(out, leave_out_unfinished=True).select(
        models=[model.name for model in pool.models]
    )


def surprisal(
    checkpoint: str | os.PathLike[str],
    text: str,
    *,
    revision: str | None = None,
    settings: Settings = Settings(),  # noqa: B008
) -> Surprisal:
    """Returns how surprised a model is by each token of a text.

    Tokens, prefix, windows and likelihood are those of `score`.

    Args:
      checkpoint: A folder or a hub id, as for `mmc_jax.models.load`.
      text: The text, not empty.
      revision: A branch, tag or commit of the hub id.
      settings: How to score; one window goes at a time.

    Raises:
      FileNotFoundError: The checkpoint is not there.
      ValueError: It cannot be loaded, or the text cannot be scored.
    """
    num_bytes = len(text.encode())
    folder = loading.resolve(checkpoint, revision)
    config = loading.read_config(folder).get_text_config()
    tokenizer = tokenization.load(folder)
    prefix = tokenizer.prefix
    context, stride = _window_plan(config, settings)
    encoded = tokenization.encode(
        tokenizer, [text], [_title(text)], config.vocab_size
    )
    tokens = encoded.tokens[0]
    plan = windows.plan(
        len(tokens), context, stride, has_prefix=prefix.token is not None
    )
    # Each window is a row, and would be a text of its own for the batches.
    rows = [
        batches.Row(i, *windows.model_input(tokens, window, prefix.token))
        for i, window in enumerate(plan)
    ]
    network = loading.load(folder, dtype=jnp.dtype(settings.dtype))
    nll = np.full(len(tokens), np.nan)
    one_row = settings._replace(tokens_per_batch=1)
    for batch, token_nll in _scored_batches(network, rows, context, one_row):
        for row, values in zip(batch.rows, token_nll, strict=True):
            window = plan[row.text]
            nll[window.scored_from : window.end] = values[
                row.first : len(row.targets)
            ]
    first = 0 if prefix.token is not None else 1
    total = float(nll[first:].sum())
    return Surprisal(
        tokens=list(map(tokenizer.backend.id_to_token, tokens.tolist())),
        nll_nats=nll,
        num_scored=len(tokens) - first,
        total_nats=total,
        bits_per_byte=float(scores.bits_per_byte(total, num_bytes)),
        prefix=prefix,
    )


def _title(text: str) -> str:
    """Returns a short name of a text that has none, for errors."""
    return text if len(text) <= 20 else text[:17] + "..."


def _score_model(
    model: pool.Model,
    corpus: Corpus,
    out: str | os.PathLike[str],
    settings: Settings,
    rescore: bool,
    bar: tqdm.tqdm,
) -> None:
    """Scores what is missing of one model and writes it."""
    folder = loading.resolve(model.checkpoint, model.revision)
    config = loading.read_config(folder).get_text_config()
    tokenizer = tokenization.load(folder)
    prefix = tokenizer.prefix
    context, stride = _window_plan(config, settings)
    key = {
        "files": file_hashes(folder),
        "dtype": settings.dtype,
        "context": context,
        "stride": stride,
        "prefix_policy": prefix.policy,
        "prefix_token": prefix.token,
        "engine_version": _ENGINE_VERSION,
    }
    num_params = models.num_params(folder)
    scored = scores.ScoredModel(
        name=model.name,
        family=model.family,
        kind=model.kind,
        # All parameters of a dense model are active; of a mixture of experts
        # the pool tells.
        costs={
            "num_active_params": num_params,
            **model.costs,
            "num_params": num_params,
        },
        provenance={
            "checkpoint": model.checkpoint,
            "revision": model.revision,
            "model_type": config.model_type,
            "device": jax.devices()[0].device_kind,
            "versions": {
                "jax": jax.__version__,
                "tokenizers": tokenizers.__version__,
                "transformers": transformers.__version__,
            },
        },
    )
    writer = scores.ModelWriter(out, scored, key, rescore=rescore)
    missing = [
        i for i, id_ in enumerate(corpus.ids) if id_ not in writer.finished_ids
    ]
    bar.update(len(corpus) - len(missing))
    if missing:
        texts = corpus.select(missing)
        encoded = tokenization.encode(
            tokenizer, texts.texts, texts.ids, config.vocab_size
        )
        network = loading.load(folder, dtype=jnp.dtype(settings.dtype))
        num_tokens = np.array([len(tokens) for tokens in encoded.tokens])
        last = time.monotonic()
        for done, nll, num_scored in _finished_texts(
            network, encoded, prefix, context, stride, settings
        ):
            now = time.monotonic()
            # The finite ones first: those that are refused then cost no others.
            finite = np.isfinite(nll)
            for kept in (finite, ~finite):
                writer.append(
                    [texts.ids[i] for i in done[kept]],
                    nll[kept],
                    num_tokens[done[kept]],
                    num_scored[kept],
                    encoded.round_trips[done[kept]],
                    seconds=now - last,
                )
                last = now
            bar.update(len(done))
    writer.finish()


def _finished_texts(
    network: models.layers.LanguageModel,
    encoded: tokenization.Encoded,
    prefix: tokenization.Prefix,
    context: int,
    stride: int,
    settings: Settings,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (texts, their nll in nats, tokens scored) every few seconds.

    Each text comes once, as soon as all of its windows are done.
    """
    num_texts = len(encoded.tokens)
    rows, num_windows = [], np.zeros(num_texts, int)
    for text, tokens in enumerate(encoded.tokens):
        has_prefix = prefix.token is not None
        for window in windows.plan(
            len(tokens), context, stride, has_prefix=has_prefix
        ):
            inputs = windows.model_input(tokens, window, prefix.token)
            rows.append(batches.Row(text, *inputs))
            num_windows[text] += 1
    nll, num_scored = np.zeros(num_texts), np.zeros(num_texts, int)
    # A text of one token, with no prefix before it, has no window at all.
    done = list(np.flatnonzero(num_windows == 0))
    last = time.monotonic()
    for batch, token_nll in _scored_batches(network, rows, context, settings):
        for row, values in zip(batch.rows, token_nll, strict=False):
            scored = values[row.first : len(row.targets)]
            nll[row.text] += scored.sum(dtype=np.float64)
            num_scored[row.text] += scored.size
            num_windows[row.text] -= 1
            if num_windows[row.text] == 0:
                done.append(row.text)
        if done and time.monotonic() - last > settings.part_seconds:
            yield np.array(done), nll[done], num_scored[done]
            done, last = [], time.monotonic()
    if done:
        yield np.array(done), nll[done], num_scored[done]


def _scored_batches(
    network: models.layers.LanguageModel,
    rows: list[batches.Row],
    context: int,
    settings: Settings,
) -> Iterator[tuple[batches.Batch, np.ndarray]]:
    """Yields each batch with the nll of its targets, float32 [B, T].

    One batch is ahead: the device works while the host sums.
    """
    nll_of = jax.jit(likelihood.token_nll)
    ahead = None
    for batch in batches.batches(
        rows, batches.bucket_lengths(context), settings.tokens_per_batch
    ):
        running = batch, nll_of(network, batch.inputs, batch.targets)
        if ahead is not None:
            yield ahead[0], np.asarray(ahead[1])
        ahead = running
    if ahead is not None:
        yield ahead[0], np.asarray(ahead[1])


def _window_plan(
    config: transformers.PreTrainedConfig, settings: Settings
) -> tuple[int, int]:
    """Returns the positions of a window and its stride."""
    context = windows.native_context(config) or _CONTEXT
    if settings.max_context is not None:
        context = min(context, settings.max_context)
    stride = settings.stride
    if stride is None:
        stride = max(1, context // 2)
    if context < 1 or not 1 <= stride <= context:
        raise ValueError(
            f"stride {stride} and window of {context} positions: a stride is "
            "at least 1 and at most the window"
        )
    return context, stride


def file_hashes(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that a score depends on."""
    files = [folder / "config.json", *loading.weight_files(folder)]
    for pattern in tokenization.FILES:
        files += filter(pathlib.Path.is_file, sorted(folder.glob(pattern)))
    hashes = {}
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
        hashes[file.name] = digest.hexdigest()
    return hashes
