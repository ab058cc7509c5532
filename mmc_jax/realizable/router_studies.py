"""All routers on one table, beside noise; what they make of new models.

M models, X texts.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmc_jax.realizable.contests import Contest, predicted_of
from mmc_jax.realizable.evaluation import Evaluation
from mmc_jax.realizable.features import noise_features
from mmc_jax.realizable.routers import ROUTERS
from mmc_jax.statistics import attempt


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
        found = contest.evaluation(name, predicted_of(contest, name))
        seconds, on_noise = time.monotonic() - started, None
        if "features" in ROUTERS[name].NEEDS:
            texts = contest.texts
            noise = noise_features(
                texts.ids, texts.features.values.shape[1], contest.seed
            )
            noisy = contest._replace(texts=texts._replace(features=noise))
            on_noise = contest.evaluation(name, predicted_of(noisy, name))
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
    scored on, as a router learns it that is fitted to these texts alone. With
    all scores it is an ordinary router.

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
    of_old = predicted_of(contest, name, mask=old)
    numbers = sorted(n for n in set(num_texts) if n < len(learned))
    found = []
    for number in [*numbers, len(learned)]:
        few = np.zeros(len(contest.test), bool)
        few[learned[order[:number]]] = True
        predicted = predicted_of(contest, name, learn=few)
        if number < len(learned):
            difference = predicted[new] - predicted[old].mean(axis=0)
            predicted[old] = of_old
            predicted[new] = of_old.mean(axis=0) + difference
        found.append(contest.evaluation(name, predicted))
    return ColdStart(
        name,
        model,
        [*numbers, len(learned)],
        found,
        contest.evaluation(name, of_old, old),
    )
