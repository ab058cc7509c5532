"""Seconds that each router takes on simulated losses.

M models, X texts, D features.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from mmc_jax import realizable, synthetic
from mmc_jax.report import result

# Standard deviation of the features' noise; what they know of losses has 1.
_FEATURE_NOISE = 3.0
# Standard deviation of what only one model has on a text, of its log loss.
_NOISE = 0.03
# Directions of the losses that features know.
_NUM_KNOWN = 8


def write(
    out: str | os.PathLike[str],
    *,
    routers: Sequence[str],
    num_models: int,
    num_texts: int,
    num_features: int,
    seed: int,
    flags: Mapping[str, Any],
) -> str:
    """Writes how long each router learns and predicts, and returns it in words.

    Args:
      out: The result folder.
      routers: Names of the routers, of `realizable.ROUTERS`.
      num_models: Number of models M.
      num_texts: Number of texts X.
      num_features: Number of features D of a text.
      seed: Seed of losses and features.
      flags: What the program was called with.
    """
    pool = synthetic.pool(num_models, num_texts, _NOISE, seed)
    rng = np.random.default_rng(seed)
    ids = [f"t{x}" for x in range(num_texts)]
    texts = realizable.Texts(
        ids,
        [f"domain {x % 8}" for x in range(num_texts)],
        realizable.Features(
            tuple(ids), _features(pool.losses, num_features, rng)
        ),
        pool.losses + rng.normal(0, 0.3, pool.losses.shape),
    )
    rows = {}
    names = [f"m{m}" for m in range(num_models)]
    for name in tqdm.tqdm(routers, desc="routers"):
        wall, cpu = time.perf_counter(), time.process_time()
        router = realizable.fit_router(
            name, pool.losses, names, texts, seed=seed
        )
        learned = time.perf_counter()
        cpu_learned = time.process_time()
        realizable.predicted_losses(router, texts)
        rows[name] = {
            "learning_seconds": learned - wall,
            "learning_processor_seconds": cpu_learned - cpu,
            "predicting_seconds": time.perf_counter() - learned,
        }
    path = result.write_result(
        out,
        {
            "num_models": num_models,
            "num_texts": num_texts,
            "num_features": num_features,
            "routers": rows,
        },
        flags=flags,
    )
    lines = [
        f"{'router':<20}{'learns, s':>12}{'processor s':>13}{'predicts, s':>13}"
    ]
    lines += [
        f"{name:<20}{row['learning_seconds']:12.1f}"
        f"{row['learning_processor_seconds']:13.1f}"
        f"{row['predicting_seconds']:13.1f}"
        for name, row in rows.items()
    ]
    return "\n".join([*lines, f"numbers: {path}"])


def _features(
    losses: np.ndarray, num_features: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns features that know a little of the losses, float32 [X, D]."""
    centred = losses - losses.mean(axis=0)
    known = centred.T @ rng.normal(size=(len(losses), _NUM_KNOWN))
    known /= known.std(axis=0)
    mixed = known @ rng.normal(size=(_NUM_KNOWN, num_features))
    noise = rng.normal(0, _FEATURE_NOISE, mixed.shape)
    return (mixed + noise).astype(np.float32)
