"""All routers on one table: beside noise, as models come, at every budget.

M models, X texts, F subsets, B budgets.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax import frontier, law, oracle
from mmc_jax.frontier.pareto import places_at, subset_costs
from mmc_jax.realizable.evaluation import Evaluation, evaluated
from mmc_jax.realizable.features import noise_features
from mmc_jax.realizable.fitted import (
    Texts,
    fit_router,
    predicted_losses,
)
from mmc_jax.realizable.routers import ROUTERS
from mmc_jax.statistics import Estimate, attempt


class Contest(NamedTuple):
    """A loss table, what is known of its texts, and which of them judge.

    Attributes:
      losses: Loss of each text under each model, float64 [M, X].
      models: Name of each model, [M].
      texts: What is known of the texts.
      test: Whether each text judges, bool [X]; routers learn from the others.
      costs: Cost of each model, [M]; None where not known.
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
    prefix_share: float = 0.0
    clusters: Sequence[str] | None = None
    num_resamples: int = 1000
    seed: int = 0

    @property
    def best_single(self) -> int:
        """The model of the least mean loss where routers learn, an index."""
        return int(oracle.exact_means(self.losses[:, ~self.test]).argmin())

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
        costs = None if self.costs is None else self.costs[mask]
        domains = self.texts.domains
        return evaluated(
            losses[:, self.test],
            predicted,
            best_single=int(
                oracle.exact_means(losses[:, ~self.test]).argmin()
            ),
            costs=costs,
            reading_cost=self._reading_cost(name, predicted, costs),
            domains=None if domains is None else _chosen(domains, self.test),
            clusters=(
                None
                if self.clusters is None
                else _chosen(self.clusters, self.test)
            ),
            num_resamples=self.num_resamples,
            seed=self.seed,
        )

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
        return np.array([self._reader_cost()]) if "features" in needs else (
            np.zeros(1)
        )

    def _reader_cost(self) -> float:
        """Returns the cost of the model that reads texts for their features."""
        features = self.texts.features
        if features is None or features.reader is None:
            return 0.0
        return float(self.costs[list(self.models).index(features.reader)])

    def subset_costs(self, name: str, masks: np.ndarray) -> np.ndarray:
        """Returns the cost of subsets, with what reads for the router: [F].

        Args:
          name: Name of the router.
          masks: Models of each subset, bool [F, M].
        """
        features = self.texts.features
        if "features" in ROUTERS[name].NEEDS and features.reader is not None:
            masks = masks.copy()
            masks[:, list(self.models).index(features.reader)] = True
        return subset_costs(masks, self.costs)


class Entry(NamedTuple):
    """One router among others.

    Attributes:
      evaluation: What it is worth.
      on_noise: What it is worth where its features are noise; None for a
        router without features.
      seconds: Time that it took to learn, in seconds.
    """

    evaluation: Evaluation
    on_noise: Evaluation | None
    seconds: float


def compared_routers(
    contest: Contest,
    names: Sequence[str] = tuple(ROUTERS),
    on_start: Callable[[str], None] = lambda name: None,
) -> tuple[dict[str, Entry], dict[str, str]]:
    """Returns all routers side by side, and why others are not among them.

    A router with features is also fitted to noise of the same shape: what it
    seems to close there is chance.

    Args:
      contest: The losses, the texts, and which of them judge.
      names: Names of the routers, of `ROUTERS`.
      on_start: Is told the name of each router before it learns.

    Returns:
      The routers by name; the reasons by the names of those that could not
      learn, because something that they need is not known of the texts.

    Raises:
      ValueError: No such router.
    """

    def entry(name: str) -> Entry:
        on_start(name)
        started = time.monotonic()
        found = contest.evaluation(name, _predicted(contest, name))
        seconds, on_noise = time.monotonic() - started, None
        if "features" in ROUTERS[name].NEEDS:
            texts = contest.texts
            noise = noise_features(
                texts.ids, texts.features.values.shape[1], contest.seed
            )
            noisy = contest._replace(texts=texts._replace(features=noise))
            on_noise = contest.evaluation(name, _predicted(noisy, name))
        return Entry(found, on_noise, seconds)

    for name in names:
        if name not in ROUTERS:
            raise ValueError(
                f"no router {name!r}; there are {', '.join(ROUTERS)}."
            )
    return attempt({name: lambda name=name: entry(name) for name in names})


class ColdStart(NamedTuple):
    """What a router makes of a model that few texts were scored with.

    Attributes:
      router: Name of the router.
      model: Name of the new model.
      num_texts: Numbers of texts with a score of the new model, [N]; the last
        is all from which the router learns.
      evaluations: What the router is worth at each, [N].
      without: What it is worth without the new model. Its gap is that of the
        other models.
    """

    router: str
    model: str
    num_texts: list[int]
    evaluations: list[Evaluation]
    without: Evaluation


def cold_start(
    contest: Contest,
    name: str,
    model: str,
    num_texts: Sequence[int] = (10, 100, 1000),
) -> ColdStart:
    """Returns what a router makes of a model as its scores come.

    The other models are predicted from all texts. The new one is predicted as
    their mean plus its difference from their mean on the texts that it was
    scored on, as a router learns it that is fitted to these texts alone.

    Args:
      contest: The losses, the texts, and which of them judge.
      name: Name of the router, one of `ROUTERS`.
      model: Name of the model that is new.
      num_texts: Numbers of texts with a score of the new model, each at least
        4. Those beyond the texts to learn from are left out.

    Raises:
      ValueError: A model that is not there or alone; fewer than 4 texts.
    """
    if model not in contest.models or len(contest.models) < 2:
        raise ValueError(
            f"no model {model!r} beside others; there are "
            f"{', '.join(contest.models)}."
        )
    new = list(contest.models).index(model)
    old = np.arange(len(contest.models)) != new
    learned = np.flatnonzero(~contest.test)
    order = np.random.default_rng(contest.seed).permutation(len(learned))
    of_old = _predicted(contest, name, mask=old)
    numbers = sorted(n for n in set(num_texts) if n < len(learned))
    found = []
    for number in [*numbers, len(learned)]:
        few = np.zeros(len(contest.test), bool)
        few[learned[order[:number]]] = True
        together = _predicted(contest, name, learn=few)
        predicted = np.empty_like(together)
        predicted[old] = of_old
        difference = together[new] - together[old].mean(axis=0)
        predicted[new] = of_old.mean(axis=0) + difference
        found.append(contest.evaluation(name, predicted))
    return ColdStart(
        name,
        model,
        [*numbers, len(learned)],
        found,
        contest.evaluation(name, of_old, old),
    )


class RouterLaw(NamedTuple):
    """What one model a text buys at each budget, and its law.

    Attributes:
      router: Name of the router.
      costs: Cost of each subset, with what reads for the router, rising, [F].
      masks: Models of each subset, bool [F, M].
      evaluations: What the router is worth on each subset, [F].
      closed_gaps: Share of the gap between the best single model of the budget
        and the oracle of that model and the subset that the router closes, [F];
        NaN where there is no gap.
      routed: Frontier of the routed losses.
      oracle: Frontier of the subsets' oracle losses on the same texts.
      single: Frontier of the single models on the same texts.
      laws: Fitted laws by "routed", "oracle" and "single".
      reasons: Why a law was not fitted, by the same names.
      floor_share: Share of the distance between the floors of single models
        and oracle that the router's floor has come; NaN where a law is missing
        or the oracle's floor is not the lower.
    """

    router: str
    costs: np.ndarray
    masks: np.ndarray
    evaluations: list[Evaluation]
    closed_gaps: list[Estimate]
    routed: frontier.Frontier
    oracle: frontier.Frontier
    single: frontier.Frontier
    laws: dict[str, law.Fit]
    reasons: dict[str, str]
    floor_share: float


def router_law(
    contest: Contest,
    name: str,
    num_subsets: int = 20,
    on_subset: Callable[[int], None] = lambda subset: None,
) -> RouterLaw:
    """Returns what a router makes of the oracle's frontier, and its law.

    The frontier is searched on the texts from which routers learn. For each of
    its subsets a router learns to choose among its models, and is judged on the
    other texts.

    Args:
      contest: The losses, the costs, the texts, and which of them judge.
      name: Name of the router, one of `ROUTERS`.
      num_subsets: Largest number of subsets, evenly spaced on the frontier;
        the cheapest and the dearest are among them.
      on_subset: Is told the number of each subset before its router learns.

    Raises:
      ValueError: No costs; what the router needs is not known.
    """
    if contest.costs is None:
        raise ValueError("the models have no costs: there are no budgets.")
    costs, test = contest.costs, contest.test
    known = contest.losses[:, ~test]
    masks = frontier.pruned(known, costs).masks
    places = np.linspace(0, len(masks) - 1, min(num_subsets, len(masks)))
    masks = masks[np.unique(places.round().astype(int))]
    # The best single model of each budget, where routers learn.
    single = frontier.single_models(known, costs)
    total, found, gaps = contest.subset_costs(name, masks), [], []
    for number, (mask, cost) in enumerate(zip(masks, total, strict=True)):
        on_subset(number)
        predicted = _predicted(contest, name, mask=mask)
        evaluation = contest.evaluation(name, predicted, mask)
        found.append(evaluation)
        best = single.masks[places_at(single.costs, [cost])[0]].argmax()
        gaps.append(_gap_of_budget(contest, predicted, mask, int(best)))
    losses = contest.losses[:, test]
    routed = frontier.non_dominated(
        total, [e.routed.value for e in found], masks
    )
    lines = {
        "routed": routed,
        "oracle": frontier.of_subsets(losses, costs, masks),
        "single": frontier.single_models(losses, costs),
    }
    laws, reasons = attempt(
        {
            line: lambda points=points: law.fit(points.costs, points.losses)
            for line, points in lines.items()
        }
    )
    share = float("nan")
    if not reasons:
        floors = {line: fit.L_inf for line, fit in laws.items()}
        if floors["oracle"] < floors["single"]:
            share = (floors["single"] - floors["routed"]) / (
                floors["single"] - floors["oracle"]
            )
    return RouterLaw(
        name,
        total,
        masks,
        found,
        gaps,
        **lines,
        laws=laws,
        reasons=reasons,
        floor_share=share,
    )


def _gap_of_budget(
    contest: Contest, predicted: np.ndarray, mask: np.ndarray, best: int
) -> Estimate:
    """Returns the closed gap against the best single model of the budget."""
    members = np.flatnonzero(mask)
    rows = [*members] if best in members else [*members, best]
    losses = contest.losses[np.ix_(rows, np.flatnonzero(contest.test))]
    if best not in members:
        # A model of the budget that no text may go to.
        beyond = np.full((1, predicted.shape[1]), predicted.max() + 1.0)
        predicted = np.concatenate([predicted, beyond])
    clusters = contest.clusters
    return evaluated(
        losses,
        predicted,
        best_single=rows.index(best),
        clusters=None if clusters is None else _chosen(clusters, contest.test),
        num_resamples=contest.num_resamples,
        seed=contest.seed,
    ).closed_gap


def _predicted(
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
        _chosen(contest.models, mask),
        texts.select(learn),
        seed=contest.seed,
    )
    return predicted_losses(router, texts.select(contest.test))


def _chosen(names: Sequence[str], mask: np.ndarray) -> list[str]:
    return [name for name, kept in zip(names, mask, strict=True) if kept]
