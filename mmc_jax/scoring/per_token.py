"""The score of one text under one model, token by token."""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax import scores
from mmc_jax.models import loading, sharding
from mmc_jax.scoring import batching, checkpoints, device, tokenization, windows
from mmc_jax.scoring.settings import Settings


class Surprisal(NamedTuple):
    """The score of one text, token by token.

    Attributes:
      tokens: Tokens as the tokenizer's vocabulary spells them, [T].
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
      settings: How to score; one window goes at a time, so that batches are not
        spread over devices.

    Raises:
      FileNotFoundError: The checkpoint is not there.
      ValueError: It cannot be loaded, or the text cannot be scored.
    """
    opened = checkpoints.open(checkpoint, revision, settings)
    prefix = opened.tokenizer.prefix
    title = text if len(text) <= 20 else text[:17] + "..."
    (tokens,) = opened.encoded([text], [title]).tokens
    plan = opened.windows(len(tokens))
    # Each window is a row, and would be a text of its own for the batches.
    rows = [
        batching.Row(i, *windows.model_input(tokens, window, prefix.token))
        for i, window in enumerate(plan)
    ]
    mesh = sharding.mesh(1, settings.num_model, jax.local_devices())
    network = loading.load(
        opened.folder,
        dtype=jnp.dtype(settings.dtype),
        mesh=mesh,
        cache_dir=settings.cache_dir,
    )
    nll = np.full(len(tokens), np.nan)
    one_by_one = batching.batches(
        rows, batching.bucket_lengths(opened.context), tokens_per_batch=1
    )
    for batch, values in device.Scorer(network, mesh).scored(one_by_one):
        (row,) = batch.rows
        window = plan[row.text]
        nll[window.scored_from : window.end] = values[
            0, row.first : len(row.targets)
        ]
    first = 0 if prefix.token is not None else 1
    total = float(nll[first:].sum())
    return Surprisal(
        tokens=list(map(opened.tokenizer.backend.id_to_token, tokens.tolist())),
        nll_nats=nll,
        num_scored=len(tokens) - first,
        total_nats=total,
        bits_per_byte=float(scores.bits_per_byte(total, len(text.encode()))),
        prefix=prefix,
    )
