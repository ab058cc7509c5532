"""Ridge regression of every model's loss on the features.

W = argmin ||Y - F W||^2 + p ||W||^2, F and Y centred

with the penalty p that routes best texts that are left out one by one; all
penalties come from one eigendecomposition.

M models, X texts, D features, E eigenvectors.
"""

import numpy as np
import scipy.linalg

from mmc_jax.realizable.routers import scaling, selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("features",)

# Penalties that are tried, for each text.
PENALTIES = (1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3)
# Eigenvalues below this share of the largest are roundings.
_LEAST_EIGENVALUE = 1e-7


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the weight of each feature [D, M] and the mean losses [M]."""
    del seed
    scales = scaling.scales(seen.features)
    table = Table(scaling.scaled(seen.features, scales), losses)
    apart = (table.left_out(penalty) for penalty in PENALTIES)
    best = selection.chosen_setting((table.single, *apart), losses)
    penalty = (np.inf, *PENALTIES)[best]
    return {
        **scales,
        "weights": table.directions @ table.shrunk(penalty),
        "intercept": table.means,
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the predicted loss of each model, [M, X]."""
    features = scaling.scaled(seen.features, fitted)
    return (features @ fitted["weights"] + fitted["intercept"]).T


class Table:
    """A loss table whose regression is solved at several penalties.

    Attributes:
      means: Mean loss of each model, [M].
      single: The means for every text, [M, X]: what infinite penalty predicts.
      directions: Principal directions of the features, [D, E].
      projected: Products of the features along these and the centred losses,
        [E, M].
    """

    def __init__(self, features: np.ndarray, losses: np.ndarray):
        """Decomposes the features; the smaller of X and D decides the time.

        Args:
          features: Scaled features, [X, D].
          losses: Losses of the same texts, [M, X].
        """
        features = features.astype(np.float64)
        self.means = losses.mean(axis=1)
        self.single = np.repeat(self.means[:, None], len(features), axis=1)
        self._values, self.directions = _principal(features)
        self._coordinates = features @ self.directions
        self._targets = (losses - self.means[:, None]).T
        self.projected = self._coordinates.T @ self._targets

    def shrunk(self, penalty: float) -> np.ndarray:
        """Returns the weight of each direction, [E, M], at a penalty a text."""
        values = self._values + penalty * len(self._targets)
        return self.projected / values[:, None]

    def left_out(self, penalty: float) -> np.ndarray:
        """Returns what fits to all other texts predict of each, [M, X].

        Source: Allen 1974, Technometrics 16 (PRESS).
        """
        num_texts = len(self._targets)
        fitted = self._coordinates @ self.shrunk(penalty)
        values = self._values + penalty * num_texts
        leverage = self._coordinates**2 @ (1 / values) + 1 / num_texts
        rest = (self._targets - fitted) / np.maximum(1 - leverage, 1e-9)[
            :, None
        ]
        return (self._targets - rest).T + self.means[:, None]


def _principal(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvalues [E] and directions [D, E] of the features."""
    num_texts, num_features = features.shape
    if num_features <= num_texts:
        values, directions = scipy.linalg.eigh(features.T @ features)
    else:
        values, vectors = scipy.linalg.eigh(features @ features.T)
    kept = values > _LEAST_EIGENVALUE * max(values[-1], 1e-300)
    values = values[kept]
    if num_features <= num_texts:
        return values, directions[:, kept]
    return values, features.T @ (vectors[:, kept] / np.sqrt(values))
