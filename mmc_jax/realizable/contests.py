"""A loss table, what is known of its texts, and which of them judge.

M models, X texts, F subsets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.pareto import subset_costs
from mmc_jax.realizable.evaluation import Evaluation, evaluated
from mmc_jax.realizable.fitted import (
    Texts,
    fit_router,
    predicted_losses,
)
from mmc_jax.realizable.routers import ROUTERS


class Contest(NamedTuple):
    """A loss table, what is known of its texts, and which of them judge.

    Attributes:
      losses: Loss of each text under each model, float64 [M, X].
      models: Name of each model, [M].
      texts: What is known of the texts.
      test: Whether each text judges, bool [X]; routers learn from the others.
      costs: Cost of each model, which subsets add up, [M]; None where not
        known.
      query_costs: What each model cost on each text, [M, X]; None where that is
        `costs`. Routers decide by its mean where they learn.
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X]; None where the losses are no likelihoods.
      lengths: What these are divided by to be losses, [X]; None without them.
      prefix_share: Share of a text that the prefix router lets all models
        read.
      clusters: What is resampled together, [X]; None for single texts.
      num_resamples: Number of resamples behind the intervals.
      seed: Seed of all random choices.
    """

    losses: np.ndarray
    models: Sequence[str]
    texts: Texts
    test: np.ndarray
    costs: np.ndarray | None = None
    query_costs: np.ndarray | None = None
    nll_nats: np.ndarray | None = None
    lengths: np.ndarray | None = None
    prefix_share: float = 0.0
    clusters: Sequence[str] | None = None
    num_resamples: int = 1000
    seed: int = 0

    @property
    def best_single(self) -> int:
        """The model of the least mean loss where routers learn, an index."""
        return int(oracle.exact_means(self.losses[:, ~self.test]).argmin())

    def mixture_losses(self, masks: np.ndarray) -> np.ndarray | None:
        """Returns the loss of subsets' mixtures on texts that judge: [F].

        Weights are uniform. None where the losses are no likelihoods.

        Args:
          masks: Models of each subset, bool [F, M].
        """
        if self.nll_nats is None:
            return None
        return oracle.exact_mixture_losses(
            self.nll_nats[:, self.test], masks, lengths=self.lengths[self.test]
        )

    def evaluation(
        self, name: str, predicted: np.ndarray, mask: np.ndarray | None = None
    ) -> Evaluation:
        """Returns what predictions are worth on the texts that judge.

        Args:
          name: Name of the router, which decides what it reads itself.
          predicted: Losses that are predicted for the texts that judge,
            [M, X], or [models of the mask, X].
          mask: Models that the router chooses among, bool [M]; None for all.
        """
        mask = np.ones(len(self.models), bool) if mask is None else mask
        losses = self.losses[mask]
        costs = self._costs_of_calls()
        costs = None if costs is None else costs[mask]
        domains = self.texts.domains
        return evaluated(
            losses[:, self.test],
            predicted,
            best_single=int(oracle.exact_means(losses[:, ~self.test]).argmin()),
            costs=costs,
            query_costs=(
                None
                if self.query_costs is None
                else self.query_costs[np.ix_(mask, self.test)]
            ),
            reading_cost=self._reading_cost(name, predicted, costs),
            domains=None
            if domains is None
            else chosen_names(domains, self.test),
            clusters=(
                None
                if self.clusters is None
                else chosen_names(self.clusters, self.test)
            ),
            num_resamples=self.num_resamples,
            seed=self.seed,
        )

    def _costs_of_calls(self) -> np.ndarray | None:
        """Returns what a router expects a call of each model to cost, [M]."""
        if self.query_costs is None:
            return self.costs
        return self.query_costs[:, ~self.test].mean(axis=1)

    def _reading_cost(
        self, name: str, predicted: np.ndarray, costs: np.ndarray | None
    ) -> np.ndarray:
        """Returns the cost of what a router itself reads of each text."""
        if costs is None:
            return np.zeros(1)
        needs = ROUTERS[name].NEEDS
        if "prefix_losses" in needs:
            # The chosen model reads the beginning once, as it would anyway.
            others = costs.sum() - costs[predicted.argmin(axis=0)]
            return self.prefix_share * others
        reader = self.reader(name)
        if reader is None:
            return np.zeros(1)
        return self._costs_of_calls()[[reader]]

    def reader(self, name: str) -> int | None:
        """Returns the model that reads a text for a router, an index; or None.

        Args:
          name: Name of the router.

        Raises:
          ValueError: It is none of the models, so that its cost is not known.
        """
        features = self.texts.features
        if "features" not in ROUTERS[name].NEEDS or features.reader is None:
            return None
        if features.reader not in self.models:
            raise ValueError(
                f"the features are read by the model {features.reader!r}, "
                "whose cost is not known here: it is none of the models."
            )
        return list(self.models).index(features.reader)

    def subset_costs(self, name: str, masks: np.ndarray) -> np.ndarray:
        """Returns the cost of subsets, with what reads for the router: [F].

        Args:
          name: Name of the router.
          masks: Models of each subset, bool [F, M].
        """
        reader = self.reader(name)
        if reader is not None:
            masks = masks.copy()
            masks[:, reader] = True
        return subset_costs(masks, self.costs)


def predicted_of(
    contest: Contest,
    name: str,
    *,
    mask: np.ndarray | None = None,
    learn: np.ndarray | None = None,
) -> np.ndarray:
    """Returns what a router predicts for the texts that judge.

    Args:
      contest: The losses, the texts, and which of them judge.
      name: Name of the router.
      mask: Models that the router knows, bool [M]; None for all.
      learn: Texts that it learns from, bool [X]; None for all that do not
        judge.
    """
    mask = np.ones(len(contest.models), bool) if mask is None else mask
    learn = ~contest.test if learn is None else learn
    texts = contest.texts.of_models(mask)
    router = fit_router(
        name,
        contest.losses[np.ix_(mask, learn)],
        chosen_names(contest.models, mask),
        texts.select(learn),
        seed=contest.seed,
    )
    return predicted_losses(router, texts.select(contest.test))


def chosen_names(names: Sequence[str], mask: np.ndarray) -> list[str]:
    """Returns the names that a mask chooses.

    Args:
      names: Name of each item, [N].
      mask: Whether each is chosen, bool [N].
    """
    return [name for name, kept in zip(names, mask, strict=True) if kept]
