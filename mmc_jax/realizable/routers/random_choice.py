"""Any model, all equally likely: what a router has to beat at least.

M models, X texts.
"""

import numpy as np

from mmc_jax.realizable.routers.seen import Seen

NEEDS = ()


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the seed and the range of the losses."""
    del seen
    return {
        "seed": np.array(seed),
        "range": np.array([losses.min(), losses.max()]),
        "num_models": np.array(len(losses)),
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns random numbers in the range of the losses, [M, X]."""
    rng = np.random.default_rng(int(fitted["seed"]))
    shape = int(fitted["num_models"]), seen.num_texts
    return rng.uniform(*fitted["range"], size=shape)
