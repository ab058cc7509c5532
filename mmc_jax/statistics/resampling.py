"""Which texts: resampled with replacement, halves, or a share held out.

Texts of one cluster (a source, a domain, a document) stay together.

X texts, C clusters, R resamples, K rows.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.statistics.inputs import checked_losses

# Counts of resampled texts that are held at once, [resamples, X].
_COUNTS_AT_ONCE = 2**24
# Texts beyond which rows are worked out for some texts and all resamples, the
# texts of such a block, and the bytes of counts that are kept for more rows.
MOST_TEXTS, BLOCK, _MOST_KEPT = 2**17, 2**15, 2**31
# Powers of two up to which products with whole numbers are exact.
_MOST_EXPONENT = 900


def cluster_index(
    num_texts: int, clusters: Sequence[str] | None
) -> tuple[np.ndarray, int]:
    """Returns the cluster of each text, [X], and the number of clusters C.

    Args:
      num_texts: Number of texts X.
      clusters: Source, domain or document of each text, [X]. Each text is a
        cluster of its own if left out.

    Raises:
      ValueError: Fewer than 2 texts or clusters; clusters of a wrong length.
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


def resampled_counts(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yields how often each text occurs in each resample: [some of the R, X].

    Each resample takes C clusters at random with replacement, each with all
    its texts. Equal arguments give equal resamples.

    Args:
      num_texts: Number of texts X.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.

    Raises:
      ValueError: Fewer than 2 texts or clusters; clusters of a wrong length;
        num_resamples below 1.
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
        yield counts if clusters is None else counts[:, index]


def resampled_means(
    rows: ArrayLike,
    weights: ArrayLike | None,
    *,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns the mean of each row over the texts of each resample: [R, K].

    sum_x n_rx w_x v_kx / sum_x n_rx w_x, with n_rx how often text x occurs in
    resample r.

    Args:
      rows: A number for each text in each row, finite, [K, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.

    Raises:
      ValueError: Arguments that do not fit, with the place; fewer than 2 texts
        or clusters; a resample without a text of positive weight.
    """
    rows, weights = checked_losses(rows, weights)
    return resampled_means_of(
        lambda texts: rows[:, texts],
        weights,
        num_texts=rows.shape[1],
        clusters=clusters,
        num_resamples=num_resamples,
        seed=seed,
    )


def resampled_means_of(
    rows_of: Callable[[slice], np.ndarray],
    weights: np.ndarray | None,
    *,
    num_texts: int,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns the same as `resampled_means` of rows that are never all there.

    Of up to 131,072 texts they are asked for once, of more some texts at a
    time, and means then have 8 digits or more.

    Args:
      rows_of: Function of a slice of the texts that returns their number in
        each row, finite, [K, texts].
      weights: Weight of each text, not negative, [X]; None for 1 each.
      num_texts: Number of texts X.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.
      num_resamples: Number of resamples R.
      seed: Seed of the random resamples.

    Raises:
      ValueError: Fewer than 2 texts or clusters; a resample without a text of
        positive weight.
    """
    weights = np.ones(num_texts) if weights is None else weights
    resampling = num_texts, clusters, num_resamples, seed
    if num_texts <= MOST_TEXTS:
        weighted, found = rows_of(slice(0, num_texts)) * weights, []
        for counts in resampled_counts(*resampling):
            totals = _positive(counted_sums(counts, weights[None]))
            found.append(counted_sums(counts, weighted) / totals)
        return np.concatenate(found)
    all_counts = _all_counts(*resampling)
    sums, totals = 0.0, np.zeros((num_resamples, 1))
    for start in range(0, num_texts, BLOCK):
        texts = slice(start, start + BLOCK)
        counts = all_counts[:, texts].astype(np.float64)
        weight = weights[texts]
        totals += counted_sums(counts, weight[None])
        rows = rows_of(texts) * weight
        sums = sums + counted_sums(counts, rows, _num_parts(rows))
    return sums / _positive(totals)


def _num_parts(rows: np.ndarray) -> int:
    """Returns 1 where intervals need no more digits than 36 bits, else 2.

    Digits are counted from the largest number of all rows: most of each row are
    as large, within 10 bits, or two parts are needed.
    """
    sizes = np.abs(rows)
    are_large = sizes > sizes.max(initial=0.0) / 2**10
    is_large = 2 * np.count_nonzero(are_large, axis=1) > rows.shape[1]
    # Of a row of zeros no digit is lost.
    return 1 if (is_large | ~sizes.any(axis=1)).all() else 2


def _positive(totals: np.ndarray) -> np.ndarray:
    if not totals.all():
        raise ValueError(
            "a resample has no text of positive weight: give more texts a "
            "weight."
        )
    return totals


def _all_counts(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns how often each text occurs in each resample, [R, X], small ints.

    Those of single texts are kept for the rows that come next.
    """
    if clusters is None and num_texts * num_resamples <= _MOST_KEPT:
        return _kept_counts(num_texts, num_resamples, seed)
    return _small_counts(num_texts, clusters, num_resamples, seed)


@functools.lru_cache(maxsize=1)
def _kept_counts(num_texts: int, num_resamples: int, seed: int) -> np.ndarray:
    return _small_counts(num_texts, None, num_resamples, seed)


def _small_counts(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_resamples: int,
    seed: int,
) -> np.ndarray:
    """Returns whole numbers of the smallest type that holds them, [R, X]."""
    found = np.empty((max(num_resamples, 0), num_texts), np.uint8)
    row = 0
    for counts in resampled_counts(num_texts, clusters, num_resamples, seed):
        if counts.max() > np.iinfo(found.dtype).max:
            found = found.astype(np.min_scalar_type(int(counts.max())))
        found[row : row + len(counts)] = counts
        row += len(counts)
    return found


def counted_sums(
    counts: np.ndarray, rows: np.ndarray, num_parts: int = 2
) -> np.ndarray:
    """Returns the sum of each row over the texts of each resample: [R, K].

    sum_x n_rx v_kx, with the same bits on every machine. A matrix product in
    float64 rounds in an order that depends on the processor. Here each number
    is cut into a high and a low part of so few bits that no sum of either
    rounds. What is below the low part is left out: for up to 2^22 texts less
    than 2^-60 of the largest number. The high part alone takes half of the
    time; of up to 2^15 texts it leaves out less than 2^-36.

    Args:
      counts: How often each text occurs in each resample, whole numbers,
        [R, X].
      rows: A number for each text in each row, finite, [K, X].
      num_parts: Number of parts that are summed, 1 or 2.

    >>> counted_sums(np.array([[2.0, 0.0, 1.0]]), np.array([[0.1, 0.2, 0.3]]))
    array([[0.5]])
    """
    counts = counts.astype(np.float64, copy=False)
    largest = np.abs(rows).max(initial=0.0)
    if largest == 0:
        return np.zeros((len(counts), len(rows)))
    total = counts.sum(axis=1).max(initial=1.0)
    num_bits = 52 - math.ceil(math.log2(total))
    _, exponent = math.frexp(largest)
    sums = np.zeros((len(counts), len(rows)))
    for part_number in range(num_parts):
        # Whole numbers below 2^num_bits, whose sums are below 2^52.
        part = _times_power(rows, num_bits - exponent)
        np.rint(part, out=part)
        sums += np.ldexp(counts @ part.T, exponent - num_bits)
        if part_number + 1 < num_parts:
            rows = rows - _times_power(part, exponent - num_bits)
            exponent -= num_bits
    return sums


def _times_power(rows: np.ndarray, exponent: int) -> np.ndarray:
    """Returns ldexp(rows, exponent), by a product where that is the same."""
    if abs(exponent) < _MOST_EXPONENT:
        return rows * 2.0**exponent
    return np.ldexp(rows, exponent)


def halves(
    num_texts: int,
    clusters: Sequence[str] | None,
    num_splits: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yields which texts are in the first half of each split: bool [X].

    The first half has half of the clusters, one more if their number is odd.

    Args:
      num_texts: Number of texts X.
      clusters: Source, domain or document of each text, [X]; None to split
        single texts.
      num_splits: Number of random splits.
      seed: Seed of the random splits.

    Raises:
      ValueError: Fewer than 2 texts or clusters; clusters of a wrong length;
        num_splits below 1.
    """
    if num_splits < 1:
        raise ValueError(f"num_splits is {num_splits}; at least 1 is needed.")
    index, num_clusters = cluster_index(num_texts, clusters)
    rng = np.random.default_rng(seed)
    for _ in range(num_splits):
        order = rng.permutation(num_clusters)
        yield np.isin(index, order[: (num_clusters + 1) // 2])


def held_out_texts(
    num_texts: int, clusters: Sequence[str] | None, share: float, seed: int
) -> np.ndarray:
    """Returns which texts are in a random share of all: bool [X].

    The share is rounded to a number of clusters, but never to none or all.

    Args:
      num_texts: Number of texts X.
      clusters: Source, domain or document of each text, [X]; None to choose
        single texts.
      share: Share of the clusters, between 0 and 1.
      seed: Seed of the random choice.

    Raises:
      ValueError: Fewer than 2 texts or clusters; clusters of a wrong length; a
        share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; between 0 and 1 is needed.")
    index, num_clusters = cluster_index(num_texts, clusters)
    num_chosen = min(max(round(share * num_clusters), 1), num_clusters - 1)
    order = np.random.default_rng(seed).permutation(num_clusters)
    return np.isin(index, order[:num_chosen])
