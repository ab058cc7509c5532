"""The mean losses of the most similar texts, as many as route best.

By cosine between scaled features. The bar that learned routers are measured
against: arXiv 2505.12601 finds that none beats it when it is tuned.

M models, X texts, K neighbours, D features.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax.realizable.routers import scaling, selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("features",)

# Numbers of neighbours that are tried.
_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128)
# Texts whose neighbours are looked for at once.
_ROWS = 512


def fit(
    seen: Seen,
    losses: np.ndarray,
    *,
    seed: int,
    num_neighbours: int | None = None,
) -> dict[str, np.ndarray]:
    """Returns the texts themselves, and how many neighbours count.

    The number of neighbours is that which routes each text best by the others:
    all texts, or one of 1, 2, 4, ..., 128.

    Args:
      seen: What is seen of the texts to learn from, with features.
      losses: Losses of these texts, [M, X].
      seed: Seed of random choices, of which there are none.
      num_neighbours: A number of neighbours, instead of the best.

    Raises:
      ValueError: Fewer texts than neighbours.
    """
    del seed
    scales = scaling.scales(seen.features)
    points = scaling.scaled(seen.features, scales, unit=True)
    num_texts = len(points)
    if num_neighbours is None:
        numbers = tuple(k for k in _NUMBERS if k < num_texts)
        apart = _means(points, points, losses, numbers, apart=True)
        single = np.repeat(losses.mean(axis=1)[:, None], num_texts, axis=1)
        best = selection.chosen_setting([single, *apart], losses)
        num_neighbours = (num_texts, *numbers)[best]
    if not 1 <= num_neighbours <= num_texts:
        raise ValueError(
            f"{num_neighbours} neighbours among {num_texts} texts to learn "
            f"from: 1 to {num_texts} is possible (--num_neighbours)."
        )
    return {
        **scales,
        "points": points,
        "losses": np.asarray(losses, np.float64),
        "num_neighbours": np.array(num_neighbours),
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the mean losses of each text's neighbours, [M, X]."""
    losses, number = fitted["losses"], int(fitted["num_neighbours"])
    if number == losses.shape[1]:
        means = losses.mean(axis=1, dtype=np.float64)
        return np.repeat(means[:, None], seen.num_texts, axis=1)
    points = scaling.scaled(seen.features, fitted, unit=True)
    (means,) = _means(points, fitted["points"], losses, (number,), apart=False)
    return means


def _means(
    queries: np.ndarray,
    points: np.ndarray,
    losses: np.ndarray,
    numbers: tuple[int, ...],
    *,
    apart: bool,
) -> np.ndarray:
    """Returns mean losses over some numbers of neighbours, float64 [N, M, X].

    Args:
      queries: Texts whose neighbours are wanted, of length 1, [Q, D].
      points: Texts that may be neighbours, of length 1, [X, D].
      losses: Losses of those, [M, X].
      numbers: Numbers of neighbours, rising, N of them.
      apart: Whether queries and points are the same texts, of which none is
        its own neighbour.
    """
    if not numbers:
        return np.empty((0, len(losses), len(queries)))
    # float32 would lose what tells models apart beside a large loss.
    by_text, last = losses.T.astype(np.float64), numbers[-1]
    device_points = jnp.asarray(points)
    found = np.empty((len(numbers), len(losses), len(queries)))
    for start in range(0, len(queries), _ROWS):
        rows = queries[start : start + _ROWS]
        # One shape, so that one program is compiled.
        padded = np.pad(rows, ((0, _ROWS - len(rows)), (0, 0)))
        own = np.arange(start, start + _ROWS) if apart else np.full(_ROWS, -1)
        nearest = _nearest(
            jnp.asarray(padded),
            jnp.asarray(own, jnp.int32),
            device_points,
            last,
        )
        # Not in the program: XLA gathers short rows slowly on CPUs.
        sums = by_text[np.asarray(nearest)[: len(rows)]].cumsum(axis=1)
        for n, number in enumerate(numbers):
            found[n, :, start : start + len(rows)] = (
                sums[:, number - 1].T / number
            )
    return found


@functools.partial(jax.jit, static_argnames="number")
def _nearest(queries, own, points, number):
    """Returns the most similar points of each query, [Q, K]."""
    similarity = queries @ points.T
    itself = own[:, None] == jnp.arange(len(points), dtype=jnp.int32)
    similarity = jnp.where(itself, -jnp.inf, similarity)
    return jax.lax.top_k(similarity, number)[1]
