"""Features on one scale. X texts, D features."""

import numpy as np


def scales(features: np.ndarray) -> dict[str, np.ndarray]:
    """Returns mean and standard deviation of each feature, float32 [D] each.

    A feature that is the same for all texts has the deviation infinity, so
    that it becomes 0.

    Args:
      features: Features of the texts to learn from, [X, D].
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation <= 1e-7 * np.abs(mean)] = np.inf
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
    }


def scaled(
    features: np.ndarray, scales: dict[str, np.ndarray], *, unit: bool = False
) -> np.ndarray:
    """Returns features with mean 0 and deviation 1, float32 [X, D].

    Args:
      features: Features of any texts, [X, D].
      scales: What `scales` returns; other entries are ignored.
      unit: Whether each text is scaled to length 1, so that a product of two is
        the cosine between them.

    Raises:
      ValueError: Another number of features than the router was fitted with.

    >>> known = scales(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaled(np.array([[4.0, 5.0]]), known)
    array([[2., 0.]], dtype=float32)
    """
    mean = scales["mean"]
    if features.shape[1] != len(mean):
        raise ValueError(
            f"{features.shape[1]} features of a text; the router was fitted "
            f"with {len(mean)}."
        )
    found = (features - mean).astype(np.float32) / scales["deviation"]
    if unit:
        lengths = np.sqrt(np.einsum("xd,xd->x", found, found))
        found /= np.maximum(lengths, 1e-12)[:, None]
    return found
