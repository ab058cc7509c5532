"""Which texts a router learns from, and which judge it.

X texts.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def split_by_text(
    keys: Sequence[str],
    groups: np.ndarray,
    share: float = 0.3,
    seed: int = 0,
) -> np.ndarray:
    """Returns which texts judge, by a seeded hash of each text: bool [X].

    A text stays on its side whatever other texts there are, unless one is its
    near-duplicate: a group goes by the least of its keys.

    Args:
      keys: What names each text for good, [X]: its SHA-256 or its id.
      groups: Group of near-duplicates of each text, [X], as from
        `near_duplicates`; they stay on one side.
      share: Share of the groups that judge, between 0 and 1, nearly.
      seed: Seed of the hash.

    Raises:
      ValueError: A share outside (0, 1); one side without texts; another
        number of groups than of texts.

    >>> split_by_text(["a", "b", "c", "d"], np.array([0, 1, 1, 3]), 0.5)
    array([False, False, False,  True])
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; between 0 and 1 is needed.")
    if len(groups) != len(keys):
        raise ValueError(f"{len(groups)} groups for {len(keys)} texts.")
    least: dict[int, str] = {}
    for group, key in zip(groups.tolist(), keys, strict=True):
        least[group] = min(key, least.get(group, key))
    judges = {
        group: _fraction(key, seed) < share for group, key in least.items()
    }
    test = np.array([judges[group] for group in groups.tolist()])
    if test.all() or not test.any():
        raise ValueError(
            f"a share of {share} of {len(keys)} texts in {len(least)} groups "
            "leaves one side without texts: another seed, share or more texts "
            "are needed."
        )
    return test


def split_by_domain(
    domains: Sequence[str],
    test_domains: Sequence[str] | None = None,
    share: float = 0.3,
    seed: int = 0,
) -> np.ndarray:
    """Returns which texts judge, so that no domain is on both sides: bool [X].

    Args:
      domains: Domain of each text, [X].
      test_domains: Names of the domains that judge; for None a random share of
        them.
      share: Share of the domains that judge where no names are given; at least
        one does and one does not.
      seed: Seed of the random choice.

    Raises:
      ValueError: All texts are of one domain; a domain that is not there; all
        domains are named.

    >>> split_by_domain(["a", "b", "a"], ["b"])
    array([False,  True, False])
    """
    names = sorted(set(domains))
    if len(names) < 2:
        raise ValueError(
            f"all texts are of the domain {names[0]!r}: a split by domain "
            "needs two (--domain names the column, --split=text needs none)."
        )
    if test_domains is None:
        number = min(max(round(share * len(names)), 1), len(names) - 1)
        order = np.random.default_rng(seed).permutation(len(names))
        test_domains = [names[d] for d in order[:number]]
    for name in test_domains:
        if name not in names:
            raise ValueError(
                f"no text of domain {name!r}; the domains are "
                f"{', '.join(map(repr, names))}."
            )
    if set(test_domains) == set(names):
        raise ValueError("all domains judge: none is left to learn from.")
    return np.isin(np.array(domains), list(test_domains))


def folds(
    keys: Sequence[str], groups: np.ndarray, number: int, seed: int = 0
) -> np.ndarray:
    """Returns the fold of each text, by a seeded hash: int [X], from 0.

    Folds without texts are left out, so that each number below the largest is
    there.

    Args:
      keys: What names each text for good, [X]: its SHA-256 or its id.
      groups: Group of each text, [X], such as near-duplicates or a domain; a
        group stays in one fold.
      number: Number of folds, at most.
      seed: Seed of the hash.

    Raises:
      ValueError: Fewer than two folds have texts.

    >>> folds(["a", "b", "c", "d"], np.array([0, 1, 1, 3]), 2)
    array([1, 0, 0, 0])
    """
    least: dict[int, str] = {}
    for group, key in zip(groups.tolist(), keys, strict=True):
        least[group] = min(key, least.get(group, key))
    # By rank, so that few groups fill all folds as well.
    order = sorted(least, key=lambda group: _fraction(least[group], seed))
    fold = {group: rank % number for rank, group in enumerate(order)}
    if len(set(fold.values())) < 2:
        raise ValueError(
            f"{len(keys)} texts in {len(least)} groups make no two folds: more "
            "texts, or texts that are less alike, are needed."
        )
    return np.array([fold[group] for group in groups.tolist()])


def leaked_texts(groups: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Returns texts that judge with a near-duplicate on the other side: [K].

    Args:
      groups: Group of near-duplicates of each text, [X].
      test: Whether each text judges, bool [X].

    >>> leaked_texts(np.array([0, 1, 0]), np.array([False, False, True]))
    array([2])
    """
    return np.flatnonzero(test & np.isin(groups, groups[~test]))


def _fraction(key: str, seed: int) -> float:
    """Returns a number in [0, 1) that seed and key decide."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
