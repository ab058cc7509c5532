"""The law of granularity: what a finer choice of the model gains.

The oracle may choose a model for each text, line, sentence, word or token. Each
granularity has a frontier and a law. Beside the oracle's loss stand those of
systems that exist (`online`), and controls: what the minimum would gain if what
the models' losses differ by were noise (`noise_control`).

M models, X texts, Y segments, R resamples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax import corpus, frontier, law, oracle
from mmc_jax.realizable import online, partitions, segment_arrays
from mmc_jax.realizable.noise_control import control_losses
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import Estimate
from mmc_jax.statistics.resampling import halves

KINDS = (
    "text",
    "bytes:512",
    "bytes:256",
    "bytes:128",
    "sentence",
    "line",
    "bytes:64",
    "bytes:32",
    "bytes:16",
    "word",
    "token",
)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
NUM_SWITCHES = (0, 1, 2, 4, 8)
# Losses by the bytes or characters of a text: their sums are systems' losses.
NORMALISATIONS = ("bits_per_byte", "text_length", "nats_per_char")


class OnlineSystems(NamedTuple):
    """Mean losses of systems of all models, in the unit of the study.

    Attributes:
      bayes_mixture: Loss of the Bayes mixture, the same at all granularities.
      fixed_share: Loss of fixed share; each half of the texts has the rate that
        is best on the other.
      switch_distribution: Loss of the switch distribution.
      follow_the_leader: Loss of the model that was best so far.
      prefix_router: Loss of the router that reads a prefix with all models.
      rates: The two halves' rates of fixed share.
    """

    bayes_mixture: float
    fixed_share: float
    switch_distribution: float
    follow_the_leader: float
    prefix_router: float
    rates: tuple[float, float]


class Regret(NamedTuple):
    """Two systems and the best sequences of models, mean nats a text.

    Attributes:
      num_switches: Most switches of the sequence inside a text.
      partition: Loss of the best such sequence, by dynamic programming.
      fixed_share: Loss of fixed share.
      bound: The most that the theorem lets fixed share be above the sequence.
      holds: Whether fixed share is no more than that on each text.
      switch_distribution: Loss of the switch distribution.
      switch_bound: The most that it can be above the sequence.
      switch_holds: Whether it is no more than that on each text.
    """

    num_switches: int
    partition: float
    fixed_share: float
    bound: float
    holds: bool
    switch_distribution: float
    switch_bound: float
    switch_holds: bool


class Controls(NamedTuple):
    """The oracle's loss if models differed by noise, with the range of draws.

    Attributes:
      losses: Each model's losses are permuted inside a text, among segments of
        equal length: an upper bound of what noise gains.
      residuals: Each model's residuals are, and what all models share stays.
      families: Those of a family's models move together; NaN where there is one
        family.
    """

    losses: Estimate
    residuals: Estimate
    families: Estimate


class Level(NamedTuple):
    """What one granularity gives.

    Attributes:
      kind: Kind of the segments.
      num_segments: Number of segments Y.
      bytes_per_choice: Mean length of a segment, in bytes.
      pool: Oracle frontier over subsets.
      law: Law of the frontier; None where there is none.
      alpha: Exponent of the law, with its interval over texts.
      floor: L_inf of the law, with its interval over texts.
      reason: Why there is no law; "" where there is one.
      all_models: Oracle loss of all models, with its interval over texts.
      controls: That loss if models differed by noise.
      systems: What systems of all models reach.
      regrets: Systems against sequences with few switches.
    """

    kind: str
    num_segments: int
    bytes_per_choice: float
    pool: frontier.Frontier
    law: law.Fit | None
    alpha: Estimate | None
    floor: Estimate | None
    reason: str
    all_models: Estimate
    controls: Controls
    systems: OnlineSystems
    regrets: list[Regret]


class GranularityStudy(NamedTuple):
    """The law of granularity of one table.

    Attributes:
      normalisation: Name of what turns scores into losses.
      cost: Name of the cost.
      num_texts: Texts that all models follow.
      left_out: Ids of the others.
      best_model: Name of the model of least mean loss.
      best_loss: Mean loss of that model.
      levels: What each granularity gives, coarsest first.
    """

    normalisation: str
    cost: str
    num_texts: int
    left_out: tuple[str, ...]
    best_model: str
    best_loss: float
    levels: list[Level]

    def noise_share(self, level: Level, control: str = "losses") -> float:
        """Returns the share of a gain over texts that a control has as well.

        NaN where nothing is gained, or the control is not there.

        Args:
          level: One of the levels.
          control: One of the fields of `Controls`.
        """
        coarsest = self.levels[0].all_models.value
        gain = coarsest - level.all_models.value
        if gain <= 0:
            return float("nan")
        return (coarsest - getattr(level.controls, control).value) / gain


def granularity(
    table: ScoreTable,
    texts: corpus.Corpus | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    normalisation: str = "bits_per_byte",
    cost: str = "num_params",
    num_resamples: int = 200,
    num_draws: int = 20,
    prefix_bytes: int = 128,
    seed: int = 0,
    on_level: Callable[[str], None] = lambda kind: None,
) -> GranularityStudy:
    """Returns the law of granularity of a table with tokens.

    Args:
      table: A table of texts, with the tokens of every model.
      texts: Corpus with the texts themselves, for lines, sentences and words,
        where the table does not hold them.
      kinds: Kinds of segments, as `ScoreTable.segments` takes them; "text" is
        added in front where it is not there.
      normalisation: Name of one of `NORMALISATIONS`.
      cost: Name of a cost that every model has.
      num_resamples: Number of resamples of the texts for the intervals.
      num_draws: Number of random draws of the control.
      prefix_bytes: Bytes that the prefix router reads with all models.
      seed: Seed of the resamples, of the draws and of the halves.
      on_level: Is called with each kind before its work begins.

    Raises:
      ValueError: Another normalisation; fewer than 2 texts or models; what
        `ScoreTable.segments` refuses.
    """
    if normalisation not in NORMALISATIONS:
        raise ValueError(
            f"normalisation {normalisation!r}: losses of segments add up to "
            f"those of texts with {', '.join(NORMALISATIONS)} alone"
        )
    if len(table.models) < 2:
        raise ValueError("1 model leaves nothing to choose; at least 2 needed")
    kinds = ["text", *(kind for kind in kinds if kind != "text")]
    whole = table.segments("text")
    losses = whole.losses(normalisation)
    means = oracle.exact_means(losses)
    best = int(means.argmin())
    per_nat = losses[0] / whole.nll_nats[0]
    levels = []
    for kind in kinds:
        on_level(kind)
        cut = whole if kind == "text" else table.segments(kind, texts)
        levels.append(
            _level(
                cut,
                kind,
                dict(zip(whole.places.text_ids, per_nat, strict=True)),
                normalisation,
                cost,
                num_resamples,
                num_draws,
                prefix_bytes,
                seed,
            )
        )
    kept = set(whole.places.text_ids)
    return GranularityStudy(
        normalisation=normalisation,
        cost=cost,
        num_texts=len(kept),
        left_out=tuple(id_ for id_ in table.texts.ids if id_ not in kept),
        best_model=table.models[best].name,
        best_loss=float(means[best]),
        levels=levels,
    )


def _level(
    cut: ScoreTable,
    kind: str,
    per_nat: dict[str, float],
    normalisation: str,
    cost: str,
    num_resamples: int,
    num_draws: int,
    prefix_bytes: int,
    seed: int,
) -> Level:
    """Returns what one granularity gives; per_nat turns nats into losses."""
    losses, weights = cut.weighted_losses(normalisation)
    costs = cut.costs(cost)
    pool = frontier.pruned(losses, costs, weights)
    options = {"clusters": cut.clusters(), "weights": weights, "seed": seed}
    everything = np.ones((1, len(costs)), bool)
    band = frontier.bootstrap_band(
        losses, costs, everything, num_resamples=num_resamples, **options
    )
    fit = alpha = floor = None
    reason = ""
    try:
        fit = law.fit(pool.costs, pool.losses)
        resampled = law.text_bootstrap(
            losses,
            pool.costs,
            pool.masks,
            num_resamples=num_resamples,
            **options,
        )
        alpha = resampled.interval("alpha")._replace(value=float(fit.alpha))
        floor = resampled.interval("L_inf")._replace(value=float(fit.L_inf))
    except ValueError as error:
        reason = str(error)
    scale = np.array([per_nat[id_] for id_ in cut.places.text_ids])
    draws = control_losses(
        cut.nll_nats * scale,
        cut.places.text_ids,
        cut.texts.num_bytes,
        [model.family or model.name for model in cut.models],
        num_draws=num_draws,
        seed=seed,
    )
    segments = segment_arrays.segment_losses(cut)
    of_text = np.array([per_nat[id_] for id_ in segments.text_ids])
    systems, regrets = _systems(segments, of_text, prefix_bytes, seed)
    return Level(
        kind=kind,
        num_segments=len(cut.texts),
        bytes_per_choice=float(cut.texts.num_bytes.mean()),
        pool=pool,
        law=fit,
        alpha=alpha,
        floor=floor,
        reason=reason,
        all_models=band.all_models,
        controls=Controls(
            *(
                Estimate(float(d.mean()), float(d.min()), float(d.max()))
                for d in draws
            )
        ),
        systems=systems,
        regrets=regrets,
    )


def _systems(
    segments: segment_arrays.SegmentLosses,
    per_nat: np.ndarray,
    prefix_bytes: int,
    seed: int,
) -> tuple[OnlineSystems, list[Regret]]:
    """Returns what systems of all models reach, and the regret of one."""
    nll = segments.nll_nats
    masks = np.ones((1, nll.shape[2]), bool)
    (is_first,) = halves(len(nll), None, 1, seed)
    shared, bounds, rates = np.empty(len(nll)), {}, []
    for own, other in ((is_first, ~is_first), (~is_first, is_first)):
        rate = online.tuned_rate(nll[other], masks[0], RATES)
        shared[own] = online.fixed_share(nll[own], masks, rate)[0]
        rates.append(rate)
        for k in NUM_SWITCHES:
            bounds.setdefault(k, np.empty(len(nll)))[own] = (
                partitions.fixed_share_bound(
                    segments.num_segments[own], nll.shape[2], k, rate
                )
            )
    switching = online.switch_distribution(nll, masks)[0]
    least = partitions.best_partitions(nll, masks, max(NUM_SWITCHES))[:, 0]

    def mean(nats: np.ndarray) -> float:
        return float(oracle.exact_means(nats * per_nat))

    systems = OnlineSystems(
        bayes_mixture=mean(online.bayes_mixture(nll, masks)[0]),
        fixed_share=mean(shared),
        switch_distribution=mean(switching),
        follow_the_leader=mean(online.follow_the_leader(nll, masks)[0]),
        prefix_router=mean(
            online.prefix_router(nll, masks, segments.end_bytes, prefix_bytes)[
                0
            ]
        ),
        rates=tuple(rates),
    )
    # Float32 sums of a text's segments.
    slack = 1e-5 * np.abs(least[0]) + 1e-3
    regrets = []
    for k in NUM_SWITCHES:
        most = partitions.switch_bound(segments.num_segments, nll.shape[2], k)
        regrets.append(
            Regret(
                k,
                float(least[k].mean()),
                float(shared.mean()),
                float(bounds[k].mean()),
                bool((shared <= least[k] + bounds[k] + slack).all()),
                float(switching.mean()),
                float(most.mean()),
                bool((switching <= least[k] + most + slack).all()),
            )
        )
    return systems, regrets
