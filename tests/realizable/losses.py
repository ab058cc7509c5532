"""Small tables that tests of routers share."""

import numpy as np

from mmc_jax.realizable.contests import Contest
from mmc_jax.realizable.features import Features
from mmc_jax.realizable.fitted import Texts

NAMES = ("a", "b", "c", "d")


def contest(features, losses, *, test_share=0.5, costs=None, **known):
    """Returns a contest of which the last texts judge."""
    num_texts = losses.shape[1]
    ids = tuple(f"t{x}" for x in range(num_texts))
    return Contest(
        losses,
        NAMES[: len(losses)],
        Texts(
            ids, features=Features(ids, features.astype(np.float32)), **known
        ),
        np.arange(num_texts) >= num_texts * (1 - test_share),
        costs,
        num_resamples=100,
    )


def random_losses(num_texts, seed, num_models=4):
    """Returns losses [M, X] in which models and texts differ."""
    rng = np.random.default_rng(seed)
    return (
        2
        + rng.normal(size=num_texts)
        + 0.1 * np.arange(num_models)[:, None]
        + rng.normal(size=(num_models, num_texts))
    )


def answers(num_texts, seed, num_models=4):
    """Returns features that say which model is the best, and the losses."""
    rng = np.random.default_rng(seed)
    best = rng.integers(num_models, size=num_texts)
    right = np.arange(num_models)[:, None] == best
    return right.T.astype(np.float32), 1.0 - right
