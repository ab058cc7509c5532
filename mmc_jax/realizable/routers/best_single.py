"""The model of the least mean loss, for every text. M models, X texts."""

import numpy as np

from mmc_jax import oracle
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ()


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the mean loss of each model, [M]."""
    del seen, seed
    return {"means": oracle.exact_means(losses)}


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the mean losses for every text, [M, X]."""
    return np.repeat(fitted["means"][:, None], seen.num_texts, axis=1)
