"""What a router buys at each budget, each text judged by who never saw it.

`router_law` searches subsets on the texts from which a router learns and judges
it on the others. Here every text is judged, so that the line stands beside
those of the oracle and of single models on the same texts.

M models, X texts, F subsets.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.oracle.subset_minima import first_least
from mmc_jax.realizable.contests import predicted_of
from mmc_jax.realizable.preparation import Prepared
from mmc_jax.realizable.splits import folds

# Parts of the texts: each is judged by a router that learned from the others.
_NUM_FOLDS = 3


class LearnedRouter(NamedTuple):
    """A router's predictions for every text, learned from other texts.

    Attributes:
      router: Name of the router.
      predicted: Loss that it predicts of each model and text, [M, X].
      reader: Index of the model that reads a text for it; None where none does.
    """

    router: str
    predicted: np.ndarray
    reader: int | None

    def chosen(self, masks: np.ndarray) -> np.ndarray:
        """Returns the model that runs of each subset, an index: int [F, X].

        Of models with equal predictions the first runs.

        Args:
          masks: Models of each subset, bool [F, M].
        """
        found = np.empty((len(masks), self.predicted.shape[1]), np.int32)
        for f, mask in enumerate(masks):
            members = np.flatnonzero(mask)
            found[f] = members[first_least(self.predicted[m] for m in members)]
        return found

    def with_reader(self, masks: np.ndarray) -> np.ndarray:
        """Returns the subsets with the model that reads in each: bool [F, M].

        Args:
          masks: Models of each subset, bool [F, M].
        """
        if self.reader is None:
            return masks
        masks = np.array(masks)
        masks[:, self.reader] = True
        return masks


def learned_router(prepared: Prepared, name: str) -> LearnedRouter:
    """Returns what a router predicts for each text, from the other texts.

    The texts are cut into three parts; near-duplicates stay together, and
    domains do where whole domains judge. For each the router learns from the
    other two, with all models.

    Args:
      prepared: The contest; which of its texts judge does not matter here.
      name: Name of the router, one of `ROUTERS`.

    Raises:
      ValueError: What the router needs is not known; fewer than two parts.
    """
    contest = prepared.contest
    ids = contest.texts.ids
    if prepared.by_domain:
        domains = np.array(contest.texts.domains)
        groups = np.unique(domains, return_inverse=True)[1]
    elif prepared.groups is not None:
        groups = prepared.groups
    else:
        groups = np.arange(len(ids))
    fold = folds(ids, groups, _NUM_FOLDS, contest.seed)
    predicted = np.empty(contest.losses.shape)
    for part in range(fold.max() + 1):
        judged = contest._replace(test=fold == part)
        predicted[:, fold == part] = predicted_of(judged, name)
    return LearnedRouter(name, predicted, contest.reader(name))
