"""All models read the beginning of the text, the best of them reads the rest.

The loss that is expected of a model is a line through its loss on the
beginning: one slope for all models, an intercept for each.

M models, X texts.
"""

import numpy as np

from mmc_jax.realizable.routers import selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("prefix_losses",)


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the slope and the intercept of each model, [M].

    Difficulty that all models share is taken off before the slope is fitted:
    it says nothing about which model is the best.
    """
    del seed
    offsets = _without_difficulty(losses)
    begun = _without_difficulty(seen.prefix_losses)
    squares = float(np.sum(begun * begun))
    slope = float(np.sum(begun * offsets)) / squares if squares > 0 else 0.0
    fitted = {
        "slope": np.array(slope),
        "intercept": _intercept(losses, seen.prefix_losses, slope),
    }
    single = np.repeat(losses.mean(axis=1)[:, None], losses.shape[1], axis=1)
    if not selection.chosen_setting([single, predict(fitted, seen)], losses):
        return {
            "slope": np.array(0.0),
            "intercept": losses.mean(axis=1),
        }
    return fitted


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the predicted loss of each model, [M, X]."""
    return (
        fitted["intercept"][:, None]
        + float(fitted["slope"]) * seen.prefix_losses
    )


def _without_difficulty(losses: np.ndarray) -> np.ndarray:
    """Returns losses less the means of their texts and of their models."""
    centred = losses - losses.mean(axis=0)
    return centred - centred.mean(axis=1, keepdims=True)


def _intercept(
    losses: np.ndarray, prefix_losses: np.ndarray, slope: float
) -> np.ndarray:
    return losses.mean(axis=1) - slope * prefix_losses.mean(axis=1)
