"""The model of the least mean loss in the text's domain.

M models, X texts, C domains.
"""

import numpy as np

from mmc_jax.realizable.routers import selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("domains",)


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the mean losses of each domain and, last, of all texts: [M, C+1].

    A domain that no text has gets the means of all texts.
    """
    del seed
    num_domains = int(seen.domains.max(initial=-1)) + 1
    known = seen.domains >= 0
    sums, counts = _sums(seen.domains[known], losses[:, known], num_domains)
    overall = losses.mean(axis=1, keepdims=True)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    # Each text is judged by the means of the others.
    others = counts[seen.domains[known]] - 1
    apart = (sums[:, seen.domains[known]] - losses[:, known]) / np.maximum(
        others, 1
    )
    apart = np.where(others > 0, apart, overall)
    single = np.repeat(overall, known.sum(), axis=1)
    if not selection.chosen_setting([single, apart], losses[:, known]):
        means = np.repeat(overall, num_domains, axis=1)
    return {"means": np.concatenate([means, overall], axis=1)}


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the mean losses of each text's domain, [M, X]."""
    means = fitted["means"]
    known = (seen.domains >= 0) & (seen.domains < means.shape[1] - 1)
    return means[:, np.where(known, seen.domains, -1)]


def _sums(domains, losses, num_domains):
    """Returns the sum of losses [M, C] and the number of texts [C]."""
    counts = np.bincount(domains, minlength=num_domains)
    sums = np.stack(
        [np.bincount(domains, row, minlength=num_domains) for row in losses]
    )
    return sums, counts
