"""Which texts: drawn with replacement, or halves, clusters of texts whole.

X texts, C clusters, R resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# Counts of resampled texts that are held at once, [resamples, X].
_COUNTS_AT_ONCE = 2**24


def cluster_index(
    num_texts: int, clusters: Sequence[str] | None
) -> tuple[np.ndarray, int]:
    """Returns the cluster of each text [X], and C.

    Args:
      num_texts: X.
      clusters: the source, domain or document of each text, [X]; each text is
        a cluster of its own if left out.

    Raises:
      ValueError: fewer than 2 texts or clusters; clusters of a wrong length.
    """
    if clusters is None:
        index, num_clusters = np.arange(num_texts), num_texts
    else:
        if len(clusters) != num_texts:
            raise ValueError(
                f"{len(clusters)} clusters for {num_texts} texts: one for each "
                "is needed."
            )
        names, index = np.unique(np.array(clusters), return_inverse=True)
        num_clusters = len(names)
    if num_clusters < 2:
        raise ValueError(
            f"{num_clusters} text or cluster of texts; at least 2 are needed "
            "to draw from."
        )
    return index, num_clusters


def resamples(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yields how often each text was drawn: [some of the R, X] at a time.

    As many clusters are drawn as there are. The same arguments draw the same.

    Raises:
      ValueError: as `cluster_index`; num_resamples below 1.
    """
    if num_resamples < 1:
        raise ValueError(
            f"num_resamples is {num_resamples}; at least 1 is needed."
        )
    index, num_clusters = cluster_index(num_texts, clusters)
    rng = np.random.default_rng(seed)
    step = max(1, _COUNTS_AT_ONCE // num_texts)
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        counts = np.empty((rows, num_clusters))
        for row in counts:
            drawn = rng.integers(num_clusters, size=num_clusters)
            row[:] = np.bincount(drawn, minlength=num_clusters)
        yield counts[:, index]


def halves(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_splits: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yields which texts are in the first half of each split: bool [X].

    Half of the clusters; of an odd number one more.

    Raises:
      ValueError: as `cluster_index`; num_splits below 1.
    """
    if num_splits < 1:
        raise ValueError(f"num_splits is {num_splits}; at least 1 is needed.")
    index, num_clusters = cluster_index(num_texts, clusters)
    rng = np.random.default_rng(seed)
    for _ in range(num_splits):
        order = rng.permutation(num_clusters)
        yield np.isin(index, order[: (num_clusters + 1) // 2])


def part(
    num_texts: int, clusters: Sequence[str] | None, share: float, seed: int
) -> np.ndarray:
    """Returns which texts are in a part of about this share: bool [X].

    The nearest whole number of clusters, but neither none nor all.

    Raises:
      ValueError: as `cluster_index`; a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; between 0 and 1 is needed.")
    index, num_clusters = cluster_index(num_texts, clusters)
    num_drawn = min(max(round(share * num_clusters), 1), num_clusters - 1)
    order = np.random.default_rng(seed).permutation(num_clusters)
    return np.isin(index, order[:num_drawn])
