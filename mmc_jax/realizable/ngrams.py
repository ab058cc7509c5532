"""Hashed character n-grams: features of the text alone.

X texts, D features, C characters of a text.
"""

import os
from collections.abc import Sequence

import numpy as np

from mmc_jax.corpus import Corpus
from mmc_jax.realizable.features import Features, cached_features

# Numbers of characters of an n-gram.
_SIZES = (1, 2, 3, 4)
# Odd numbers that mix bits well (Knuth's and Steele's golden-ratio constants).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_VERSION = 1


def ngram_features(
    texts: Corpus,
    num_features: int = 1024,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Features:
    """Returns how often hashed n-grams of 1 to 4 characters occur: [X, D].

    f_d = sum over n-grams g with hash d of sign(g) log(1 + count(g)), scaled
    so that each text has length 1. Upper and lower case are told apart.

    Args:
      texts: The corpus with its texts in memory.
      num_features: Number of features D, a power of two.
      cache_dir: Folder where features are kept; None to keep nothing.

    Raises:
      ValueError: num_features is no power of two from 2 on.

    Source: Weinberger et al. 2009, Feature Hashing for Large Scale Multitask
    Learning, arXiv 0902.2206.
    """
    if num_features < 2 or num_features & (num_features - 1):
        raise ValueError(
            f"num_features is {num_features}; a power of two is needed."
        )

    def make() -> Features:
        rows = [_row(text, num_features) for text in texts.texts]
        return Features(texts.ids, np.stack(rows))

    made_from = {
        "kind": "ngrams",
        "num_features": num_features,
        "sizes": _SIZES,
        "version": _VERSION,
    }
    return cached_features(make, made_from, texts, cache_dir)


def _row(text: str, num_features: int) -> np.ndarray:
    """Returns the features of one text, float32 [D]."""
    found = np.zeros(num_features)
    for hashes in hashed_ngrams(text, _SIZES):
        unique, counts = np.unique(hashes, return_counts=True)
        place = (unique >> np.uint64(1)) & np.uint64(num_features - 1)
        sign = 1.0 - 2.0 * (unique & np.uint64(1)).astype(np.float64)
        found += np.bincount(
            place.astype(np.int64),
            sign * np.log1p(counts),
            num_features,
        )
    length = np.sqrt(np.sum(found * found))
    return (found / max(length, 1e-12)).astype(np.float32)


def hashed_ngrams(text: str, sizes: Sequence[int]) -> list[np.ndarray]:
    """Returns a hash of each n-gram of a text, for each size: uint64 arrays.

    A text of fewer characters than a size has one n-gram, itself.

    Args:
      text: The text, of C characters.
      sizes: Numbers of characters of an n-gram.

    >>> [len(hashes) for hashes in hashed_ngrams("abcd", (1, 3, 9))]
    [4, 2, 1]
    """
    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    characters = characters.astype(np.uint64)
    found = []
    for size in sizes:
        size = min(size, len(characters))
        number = max(1, len(characters) - size + 1)
        hashes = np.full(number, size, np.uint64)
        # Unsigned numbers wrap around, as hashes should.
        for i in range(size):
            hashes = (hashes + characters[i : i + number] + _MIX) * _STEP
            hashes ^= hashes >> np.uint64(29)
        hashes *= _MIX
        found.append(hashes ^ (hashes >> np.uint64(32)))
    return found
