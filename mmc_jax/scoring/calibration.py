"""How long scoring would take: a model is loaded and scores a batch of zeros.

B batch, T position.
"""

import datetime
import math
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmc_jax.models import layers, loading
from mmc_jax.scoring import batching, device, likelihood
from mmc_jax.scoring.settings import Settings

# Rounds of a calibration. Their median counts, because the fastest round
# promises too much.
_NUM_ROUNDS = 5
# Seconds after which no other round begins.
_ROUND_SECONDS = 3.0


class Bucket(NamedTuple):
    """Batches of one shape.

    Attributes:
      num_rows: B, over all devices.
      length: Number of positions T.
      num_batches: How many are expected.
    """

    num_rows: int
    length: int
    num_batches: int


class Seconds(NamedTuple):
    """Expected times of one model.

    Attributes:
      load: Reading and placing the parameters: measured.
      compile: The programs of all buckets: from that of one. A later run finds
        them in JAX's cache.
      score: All batches: from those of one bucket, by FLOPs with padding.
      tokenize: All texts: from the sample. It goes on beside the scoring.
    """

    load: float
    compile: float
    score: float
    tokenize: float

    @property
    def total(self) -> float:
        """Seconds from the beginning of a model to its end."""
        return self.load + self.compile + max(self.score, self.tokenize)

    def __str__(self) -> str:
        """Returns the total as hours, minutes and seconds."""
        return str(datetime.timedelta(seconds=math.ceil(self.total)))


def why_no_seconds(folder: pathlib.Path, weight_bytes: int, mesh: Mesh) -> str:
    """Returns why a model cannot be loaded for a calibration, or "".

    Args:
      folder: Folder of the checkpoint.
      weight_bytes: Bytes of the parameters on each device.
      mesh: Devices that would hold them.
    """
    try:
        loading.model_files(folder)
    except FileNotFoundError:
        return f"{folder}: the weights are not there"
    devices = mesh.local_devices
    room = min(_free_bytes(each, len(devices)) for each in devices)
    if weight_bytes > room:
        return (
            f"the weights take {weight_bytes} bytes on each device, which has "
            f"{room} left"
        )
    return ""


def _free_bytes(one: jax.Device, num_devices: int) -> int:
    """Returns what a device has left; CPU devices share what the host has."""
    stats = one.memory_stats()
    if stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    pages = os.sysconf("SC_AVPHYS_PAGES")
    return pages * os.sysconf("SC_PAGE_SIZE") // num_devices


def work_bytes(
    abstract: layers.LanguageModel, bucket: Bucket, mesh: Mesh
) -> int:
    """Returns the bytes that a bucket's program needs beside the weights.

    Args:
      abstract: A model without values, from `shapes.abstract`.
      bucket: The shape of the batches.
      mesh: Devices of the program; the bytes are those of each of them.
    """
    tokens = jax.ShapeDtypeStruct(
        (bucket.num_rows, bucket.length),
        jnp.int32,
        sharding=NamedSharding(mesh, PartitionSpec("data")),
    )
    program = jax.jit(likelihood.token_nll).lower(abstract, tokens, tokens)
    return program.compile().memory_analysis().temp_size_in_bytes


def seconds(
    folder: pathlib.Path,
    buckets: Sequence[Bucket],
    row_flops: Callable[[int], int],
    tokenize: float,
    settings: Settings,
    mesh: Mesh,
) -> Seconds:
    """Returns the expected times of a model, which it loads.

    Args:
      folder: Folder of the checkpoint, with its weights.
      buckets: Batches that the corpus makes.
      row_flops: FLOPs of a row of so many tokens.
      tokenize: Seconds that tokenizing all texts takes.
      settings: How to score.
      mesh: Devices that would score.
    """
    padded = [b.num_batches * b.num_rows * row_flops(b.length) for b in buckets]
    heaviest = buckets[int(np.argmax(padded))]
    tokens = np.zeros(heaviest.length, np.int32)
    row = batching.Row(0, tokens, tokens, 0)
    (batch,) = batching.batches(
        [row] * heaviest.num_rows,
        [heaviest.length],
        device.tokens_per_batch(settings),
        mesh.shape["data"],
    )
    with Timer() as load:
        network = loading.load(folder, dtype=settings.dtype, mesh=mesh)
        jax.block_until_ready(network)
    scorer = device.Scorer(network, mesh)
    with Timer() as first:
        list(scorer.scored([batch]))
    rounds = []
    while len(rounds) < _NUM_ROUNDS and sum(rounds) < _ROUND_SECONDS:
        with Timer() as later:
            list(scorer.scored([batch]))
        rounds.append(later.seconds)
    batch_seconds = float(np.median(rounds))
    per_flop = batch_seconds / (heaviest.num_rows * row_flops(heaviest.length))
    return Seconds(
        load=load.seconds,
        compile=max(0.0, first.seconds - batch_seconds) * len(buckets),
        score=sum(padded) * per_flop,
        tokenize=tokenize,
    )


class Timer:
    """Measures the seconds that its block takes.

    Attributes:
      seconds: Seconds from the block's beginning to its end.
    """

    def __enter__(self) -> "Timer":
        self._started = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.monotonic() - self._started
