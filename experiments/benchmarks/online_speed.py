"""How fast the online systems are."""

import functools
import time

import numpy as np

from mmc_jax import realizable

_RATE = 0.05


def measured(
    num_models: int,
    num_texts: int,
    num_segments: int,
    num_subsets: int,
    seed: int,
) -> list[dict[str, float | str]]:
    """Returns seconds of each system, with its compilation.

    Those that go by, and the processor's of all threads.

    Args:
      num_models: Number of models M.
      num_texts: Number of texts X.
      num_segments: Number of segments of each text T.
      num_subsets: Number of subsets S, of random sizes.
      seed: Seed of the losses and the subsets.
    """
    rng = np.random.default_rng(seed)
    shape = num_texts, num_segments, num_models
    nll = rng.exponential(2.0, shape).astype(np.float32)
    shares = rng.uniform(0.05, 0.9, (num_subsets, 1))
    masks = rng.random((num_subsets, num_models)) < shares
    masks[:, 0] = True
    systems = {
        "bayes_mixture": realizable.bayes_mixture,
        "fixed_share": functools.partial(realizable.fixed_share, rate=_RATE),
        "switch_distribution": realizable.switch_distribution,
        "follow_the_leader": realizable.follow_the_leader,
    }
    rows = []
    for name, system in systems.items():
        start, processor = time.perf_counter(), time.process_time()
        system(nll, masks)
        seconds = time.perf_counter() - start
        processor = time.process_time() - processor
        rows.append(
            {
                "system": name,
                "seconds": seconds,
                "processor_seconds": processor,
                "model_segments_per_second": nll.size * num_subsets / seconds,
            }
        )
    return rows
