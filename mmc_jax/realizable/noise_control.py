"""What the minimum over models would gain if their residuals were noise.

M models, X texts, Y segments, R draws.
"""

from collections.abc import Sequence

import numpy as np

# Up to this many bytes, segments of a class are of equal length; beyond, their
# lengths differ by at most 2^(1/4).
_EXACT_BYTES = 16


def control_losses(
    losses: np.ndarray,
    text_ids: Sequence[str],
    num_bytes: np.ndarray,
    *,
    num_draws: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Returns the oracle's loss of a text where residuals are noise: [R].

    A model's loss on a segment is taken apart into what all models have there
    (their mean), what the model has on this text (by bytes), what it has on
    segments of this length in this text, and a residual. The third is what a
    model is systematically better at, and is left out. The residuals are
    permuted, for each model alone, among segments of equal length within the
    text; up to 16 bytes exactly equal, beyond that within a factor of 2^(1/4).
    The minimum over models of what is put together again gains what noise
    gains. Residuals of models that are alike are dependent, so that it says too
    much rather than too little of noise; and models that specialise by anything
    else than length count as noise.

    Args:
      losses: What each segment adds to its text's loss, [M, Y].
      text_ids: Id of each segment's text, [Y].
      num_bytes: Length of each segment, [Y].
      num_draws: Number of draws R.
      seed: Seed of the permutations.

    Returns:
      The mean over texts of the sum of the minima, of each draw.

    >>> losses = np.array([[1.0, 9.0, 1.0, 9.0], [9.0, 1.0, 9.0, 1.0]])
    >>> control_losses(losses, ["a"] * 4, np.array([2, 4, 2, 4]), num_draws=2)
    array([20., 20.])
    """
    num_models, num_segments = losses.shape
    num_bytes = np.asarray(num_bytes, np.float64)
    _, of_text = np.unique(np.array(text_ids), return_inverse=True)
    classes = np.where(
        num_bytes <= _EXACT_BYTES,
        num_bytes,
        _EXACT_BYTES + np.ceil(4 * np.log2(num_bytes / _EXACT_BYTES)),
    )
    _, group = np.unique(
        np.stack([of_text, classes]), axis=1, return_inverse=True
    )
    group = group.reshape(-1)
    sizes = np.bincount(group)
    in_common = losses.mean(axis=0)
    # The mean over models and over a group has a share of each residual.
    degrees = np.sqrt(num_models / max(num_models - 1, 1)) * np.sqrt(
        sizes / np.maximum(sizes - 1, 1)
    )
    base, residuals = np.empty((2, *losses.shape))
    text_bytes = np.bincount(of_text, num_bytes)
    for row, own in enumerate(losses - in_common):
        rate = np.bincount(of_text, own) / text_bytes
        base[row] = in_common + rate[of_text] * num_bytes
        per_byte = own / num_bytes
        means = np.bincount(group, per_byte) / sizes
        residuals[row] = (per_byte - means[group]) * degrees[group]
    # Rows of a group lie side by side; a permutation sorts random numbers.
    by_group = np.argsort(group, kind="stable")
    rng = np.random.default_rng(seed)
    found = np.empty(num_draws)
    for draw in range(num_draws):
        least = np.full(num_segments, np.inf)
        for row in range(num_models):
            order = np.lexsort((rng.random(num_segments), group))
            drawn = np.empty(num_segments)
            drawn[by_group] = residuals[row, order]
            np.minimum(least, base[row] + drawn * num_bytes, out=least)
        found[draw] = least.sum() / len(text_bytes)
    return found
