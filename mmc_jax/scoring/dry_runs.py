"""What a run would take, before it is begun: memory, batches and time.

In a dry run nothing is scored and nothing is written. Of a hub id the config
and the tokenizer are fetched but not the weights; where those are not there
yet, or do not fit, everything but the time is told.

B batch, T position.
"""

import collections
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import transformers

from mmc_jax import corpus, pool
from mmc_jax.models import hub, shapes
from mmc_jax.scoring import (
    batching,
    calibration,
    checkpoints,
    device,
    flops,
    meshes,
    preparation,
)
from mmc_jax.scoring.settings import Settings


class Plan(NamedTuple):
    """What it takes to score a corpus with one model.

    Attributes:
      name: Name of the model.
      num_params: Number of parameters of the whole model.
      num_active_params: Those that take part in one token.
      weight_bytes: Bytes of the parameters on each device.
      work_bytes: Bytes of activations and logits at the longest bucket, on each
        device, as the compiled program states them. (That of a CPU computes
        bfloat16 in float32 and holds a copy of all weights for it.)
      num_tokens: Number of tokens of the corpus.
      buckets: What is needed of them, the longest first.
      padding_share: Positions of the batches that hold no token.
      flops: That the texts need, without padding.
      seconds: Expected times, or None.
      why_no_seconds: What they would have needed; empty where they are there.
    """

    name: str
    num_params: int
    num_active_params: int
    weight_bytes: int
    work_bytes: int
    num_tokens: int
    buckets: tuple[calibration.Bucket, ...]
    padding_share: float
    flops: float
    seconds: calibration.Seconds | None
    why_no_seconds: str


class DryRun(NamedTuple):
    """What it takes to score a corpus with a pool.

    Attributes:
      num_texts: Number of texts of the corpus.
      num_tokenized: Number of texts that were looked at. The others are taken
        to be like them, byte for byte.
      num_devices: Number of devices of the mesh.
      plans: Plan of each model, in the order of the pool.
      failures: Reason of each model without a plan, by its name.
    """

    num_texts: int
    num_tokenized: int
    num_devices: int
    plans: tuple[Plan, ...]
    failures: dict[str, Exception]

    def __str__(self) -> str:
        """Returns a table, a line for each model and its batches below."""
        heads = ("M params", "GiB held", "GiB work", "M tokens", "padding")
        heads += ("TFLOP", "time")
        lines = [f"{'model':<32}" + "".join(f"{head:>12}" for head in heads)]
        for plan in self.plans:
            cells = (
                f"{plan.num_params / 1e6:,.1f}",
                f"{plan.weight_bytes / 2**30:,.3f}",
                f"{plan.work_bytes / 2**30:,.3f}",
                f"{plan.num_tokens / 1e6:,.2f}",
                f"{plan.padding_share:.1%}",
                f"{plan.flops / 1e12:,.2f}",
                "?" if plan.seconds is None else str(plan.seconds),
            )
            lines.append(
                f"{plan.name:<32}" + "".join(f"{c:>12}" for c in cells)
            )
            sizes = (
                f"{bucket.num_batches} of {bucket.num_rows}x{bucket.length}"
                for bucket in plan.buckets
            )
            lines.append(f"  batches: {', '.join(sizes)}")
            if plan.seconds is None:
                lines.append(f"  no time: {plan.why_no_seconds}")
        lines.append(
            f"on {self.num_devices} devices; {self.num_tokenized} of "
            f"{self.num_texts} texts were looked at"
        )
        failed = (f"{name}: {e}" for name, e in self.failures.items())
        return "\n".join([*lines, *failed])


def dry_run(
    pool: pool.Pool,
    corpus: corpus.Corpus | corpus.Stream,
    *,
    settings: Settings = Settings(),  # noqa: B008
    num_texts: int = 2000,
) -> DryRun:
    """Returns what `score` would take, having looked at a sample.

    Args:
      pool: Models that `score` would take.
      corpus: Texts that `score` would take.
      settings: Settings that `score` would take.
      num_texts: At most so many are tokenized, chosen by their hashes. For a
        corpus that has no more, all but the times is exact.

    Raises:
      ValueError: The corpus cannot be read, or the mesh of the settings cannot
        be had.
    """
    counts = corpus.counts
    if not len(counts):
        raise ValueError("the corpus has no texts")
    by_hash = sorted(range(len(counts)), key=counts.sha256.__getitem__)
    (sample,) = corpus.select(sorted(by_hash[:num_texts])).chunks(num_texts)
    share = float(sample.num_bytes.sum() / counts.num_bytes.sum())
    mesh = meshes.mesh(settings)
    plans, failures = [], {}
    for model in pool.models:
        try:
            plans.append(_plan(model, corpus, sample, share, settings, mesh))
        except Exception as error:  # The others have a plan all the same.
            failures[model.name] = error
    return DryRun(
        num_texts=len(counts),
        num_tokenized=len(sample),
        num_devices=mesh.devices.size,
        plans=tuple(plans),
        failures=failures,
    )


def _plan(
    model: pool.Model,
    texts: corpus.Corpus | corpus.Stream,
    sample: corpus.Corpus,
    share: float,
    settings: Settings,
    mesh: jax.sharding.Mesh,
) -> Plan:
    """Returns the plan of a model; the sample is a share of the corpus."""
    folder = hub.resolve(model.checkpoint, model.revision, with_weights=False)
    checkpoint = checkpoints.open(folder, None, settings, context=model.context)
    with calibration.Timer() as tokenizing:
        encoded = checkpoint.encoded(sample.texts, sample.ids)
    num_tokens = [len(tokens) for tokens in encoded.tokens]
    lengths = [
        length for num in num_tokens for length in checkpoint.row_lengths(num)
    ]
    if not lengths:
        raise ValueError("no text has a token that the model would score")
    num_rows = {
        length: num / share
        for length, num in collections.Counter(lengths).items()
    }
    of_bucket = preparation.bucket_lengths(
        checkpoint, texts, settings, mesh, num_rows
    )
    buckets = _buckets(lengths, share, of_bucket, settings, mesh)
    row_flops = _row_flops(checkpoint.config)
    abstract = shapes.abstract(
        checkpoint.config, dtype=settings.dtype, mesh=mesh
    )
    weight_bytes = shapes.memory(abstract).bytes_per_device
    why_no_seconds = calibration.why_no_seconds(folder, weight_bytes, mesh)
    seconds = None
    if not why_no_seconds:
        seconds = calibration.seconds(
            folder,
            buckets,
            row_flops,
            tokenizing.seconds / share,
            settings,
            mesh,
        )
    num_positions = sum(b.num_batches * b.num_rows * b.length for b in buckets)
    return Plan(
        name=model.name,
        num_params=sum(p.size for p in jax.tree.leaves(abstract)),
        num_active_params=flops.num_active_params(checkpoint.config),
        weight_bytes=weight_bytes,
        work_bytes=calibration.work_bytes(abstract, buckets[0], mesh),
        num_tokens=round(sum(num_tokens) / share),
        buckets=buckets,
        padding_share=max(0.0, 1 - sum(lengths) / share / num_positions),
        flops=sum(map(row_flops, lengths)) / share,
        seconds=seconds,
        why_no_seconds=why_no_seconds,
    )


def _buckets(
    lengths: Sequence[int],
    share: float,
    of_bucket: Sequence[int],
    settings: Settings,
    mesh: jax.sharding.Mesh,
) -> tuple[calibration.Bucket, ...]:
    """Returns the buckets that rows of such lengths fall in, longest first."""
    of_bucket = sorted(of_bucket)
    places = np.searchsorted(of_bucket, lengths)
    buckets = []
    for place, num_rows in sorted(collections.Counter(places.tolist()).items()):
        length = of_bucket[place]
        size = batching.rows_per_batch(
            length, device.tokens_per_batch(settings), mesh.shape["data"]
        )
        # Rounded first: a share of 1/3 is none in binary.
        num_batches = math.ceil(round(num_rows / share, 6) / size)
        buckets.append(calibration.Bucket(size, length, num_batches))
    return tuple(reversed(buckets))


def _row_flops(
    config: transformers.PreTrainedConfig,
) -> Callable[[int], int]:
    """Returns `flops.forward_flops` by length alone."""
    per_token = flops.matmul_flops_per_token(config)
    return functools.cache(
        lambda T: T * per_token + flops.mixing_flops(config, T)
    )
