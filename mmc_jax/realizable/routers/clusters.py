"""The model of the least mean loss among similar texts: k-means clusters.

M models, X texts, K clusters, D features.
"""

import numpy as np

from mmc_jax.realizable.routers import scaling, selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("features",)

# Numbers of clusters that are tried, and texts that a cluster has on average.
_NUMBERS = (4, 8, 16, 32, 64, 128)
_FEWEST_TEXTS = 10
_ITERATIONS = 10


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns centres [K, D] and the mean losses of each cluster, [M, K].

    K is 1, or what routes best the texts of four folds by the others.
    """
    scales = scaling.scales(seen.features)
    points = scaling.scaled(seen.features, scales, unit=True)
    fewest = len(points) * 3 // 4 // _FEWEST_TEXTS
    numbers = (1, *(k for k in _NUMBERS if k <= fewest))

    def routed(held_out: np.ndarray) -> np.ndarray:
        rest, found = points[~held_out], []
        for number in numbers:
            centres, labels = _centres(rest, number, seed)
            means = _means(losses[:, ~held_out], labels, number)
            found.append(means[:, _nearest(points[held_out], centres)])
        return np.stack(found)

    apart = selection.cross_validated(routed, len(points), seed)
    number = numbers[selection.chosen_setting(apart, losses)]
    centres, labels = _centres(points, number, seed)
    return {
        **scales,
        "centres": centres,
        "means": _means(losses, labels, number),
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the mean losses of each text's nearest cluster, [M, X]."""
    points = scaling.scaled(seen.features, fitted, unit=True)
    return fitted["means"][:, _nearest(points, fitted["centres"])]


def _centres(
    points: np.ndarray, num_clusters: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centres [K, D] and the cluster of each text [X].

    Ten steps of Lloyd's algorithm. It starts from k-means++ (Arthur and
    Vassilvitskii 2007): each centre is a text, the likelier the farther it is
    from the centres before it.
    """
    rng = np.random.default_rng(seed)
    centres = points[rng.integers(len(points), size=1)]
    away = np.full(len(points), np.inf)
    while len(centres) < num_clusters:
        distance = 2 - 2 * (points @ centres[-1]).astype(np.float64)
        away = np.minimum(away, np.maximum(distance, 0))
        total = away.sum()
        shares = away / total if total > 0 else None
        centres = np.append(
            centres, points[[rng.choice(len(points), p=shares)]], axis=0
        )
    for _ in range(_ITERATIONS if num_clusters > 1 else 1):
        labels = _nearest(points, centres)
        members = labels == np.arange(num_clusters)[:, None]
        counts = members.sum(axis=1, keepdims=True)
        sums = members.astype(np.float32) @ points
        # An empty cluster keeps its centre.
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        centres = centres.astype(np.float32)
    return centres, _nearest(points, centres)


def _means(
    losses: np.ndarray, labels: np.ndarray, num_clusters: int
) -> np.ndarray:
    """Returns the mean losses of each cluster, for empty ones of all texts."""
    counts = np.bincount(labels, minlength=num_clusters)
    sums = np.stack([np.bincount(labels, row, num_clusters) for row in losses])
    overall = losses.mean(axis=1, keepdims=True)
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns the nearest centre of each point, [X]."""
    # |p - c|^2 without what is the same for all centres.
    return (np.sum(centres**2, axis=1) - 2 * points @ centres.T).argmin(axis=1)
