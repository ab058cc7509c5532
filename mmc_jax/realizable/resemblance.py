"""Texts that are nearly the same, found by shingles and MinHash.

X texts, H hashes of a signature.
"""

import functools
from collections.abc import Sequence

import numpy as np

from mmc_jax.realizable.ngrams import hashed_ngrams

# Characters of a shingle. Case and white space do not count.
_SHINGLE = 5
# Two texts of resemblance s share a band with probability 1 - (1 - s^5)^24:
# 99 percent at 0.7, 0.5 percent at 0.1.
_BANDS, _ROWS = 24, 5
_NUM_HASHES = _BANDS * _ROWS
_SEED = 20101


def near_duplicates(
    texts: Sequence[str], least_resemblance: float = 0.7
) -> np.ndarray:
    """Returns the group of each text: int64 [X], the index of its first text.

    Two texts are near-duplicates if the share of their shingles of five
    characters that both have is at least `least_resemblance`, as estimated from
    120 hashes (standard error at most 0.046). Groups are what chains of
    near-duplicates connect.

    Args:
      texts: The texts, [X].
      least_resemblance: Least share of shingles, between 0 and 1; below 0.6
        some pairs stay unseen.

    Raises:
      ValueError: A resemblance outside (0, 1].

    Source: Broder 1997, On the resemblance and containment of documents.

    >>> near_duplicates(["one two three", "others", "One two  three!"], 0.5)
    array([0, 1, 0])
    """
    if not 0 < least_resemblance <= 1:
        raise ValueError(
            f"least_resemblance is {least_resemblance}; above 0 and up to 1 is "
            "needed."
        )
    signatures = np.stack([_signature(text) for text in texts])
    group = np.arange(len(texts))

    def first(x: int) -> int:
        while group[x] != x:
            group[x] = group[group[x]]
            x = group[x]
        return x

    for band in range(0, _NUM_HASHES, _ROWS):
        keys = np.ascontiguousarray(signatures[:, band : band + _ROWS])
        _, bucket = np.unique(keys, axis=0, return_inverse=True)
        by_bucket = np.argsort(bucket.ravel(), kind="stable")
        ends = np.flatnonzero(np.diff(bucket.ravel()[by_bucket])) + 1
        for members in np.split(by_bucket, ends):
            # Each is compared with one text of each group that is there.
            kept: list[int] = []
            for x in members:
                if kept:
                    same = signatures[kept] == signatures[x]
                    alike = same.mean(axis=1) >= least_resemblance
                    for other in np.array(kept)[alike]:
                        a, b = sorted((first(int(x)), first(int(other))))
                        group[b] = a
                    if alike.any():
                        continue
                kept.append(int(x))
    return np.array([first(x) for x in range(len(texts))])


@functools.cache
def _factors() -> np.ndarray:
    """Returns an odd random number for each hash, uint64 [H]."""
    rng = np.random.default_rng(_SEED)
    numbers = rng.integers(2**63, size=_NUM_HASHES, dtype=np.uint64)
    return 2 * numbers + np.uint64(1)


def _signature(text: str) -> np.ndarray:
    """Returns the least value of each hash over the shingles: uint32 [H]."""
    plain = " ".join(text.lower().split())
    (shingles,) = hashed_ngrams(plain or " ", (_SHINGLE,))
    shingles = np.unique(shingles)
    # Multiply-shift: the high bits of a product with an odd number.
    factors = _factors()
    least = np.full(_NUM_HASHES, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), 4096):
        products = shingles[start : start + 4096, None] * factors
        least = np.minimum(least, products.min(axis=0))
    return (least >> np.uint64(32)).astype(np.uint32)
