"""Made-up losses of real models: pools for tests and benchmarks of searches.

M models, X texts.
"""

import functools
from typing import NamedTuple

import numpy as np

from mmc_jax.pool import Model, read

CATALOGUE = "base71"

# Near the paper's law of single models: from 2.9 to 2.3 over the catalogue.
_A, _ALPHA, _FLOOR = 400.0, 0.35, 2.21
_NUM_DOMAINS = 8

# Standard deviations of logs. With these the frontiers of 71 models on 1,000
# texts have 500 to 800 points at noise 0.03 and 2,500 to 4,500 at 0.10.
_QUALITY, _STRENGTH, _DIFFICULTY = 0.05, 0.08, 0.3

# Models beyond the catalogue are its models again, so many times at most.
_MOST_TIMES = 100


class SyntheticPool(NamedTuple):
    """A pool with losses, the smallest model first.

    Attributes:
      losses: Loss of each text under each model, above 0, [M, X] float64; in
        nats, if a unit is wanted.
      costs: Number of parameters of each model, [M] float64; some are equal.
      families: Family of each model, [M].
      names: Name of each model in the catalogue, [M].
    """

    losses: np.ndarray
    costs: np.ndarray
    families: tuple[str, ...]
    names: tuple[str, ...]


@functools.cache
def _catalogue() -> tuple[Model, ...]:
    """Returns the catalogue, which is read once: that takes a while."""
    return read(CATALOGUE).models


def pool(
    num_models: int, num_texts: int, noise: float, seed: int = 0
) -> SyntheticPool:
    """Returns models of the shipped catalogue with losses drawn for them.

    L_jx = t_x q_f(j) s_f(j)d(x) (A P_j^-alpha + L_inf) exp(noise e_jx)

    P_j is the model's true number of parameters, f(j) its family, d(x) the
    text's domain, one of 8. Log-normal are the text's difficulty t (of scale
    0.3), the family's quality q (0.05) and its strength in the domain, s
    (0.08). e_jx is standard normal: what only this model has on this text. With
    little noise (0.03) the families decide which subsets are good, with more
    (0.10) chance does too.

    The same arguments draw the same numbers. Fewer texts are the first of more,
    and a model's losses do not depend on the others of the pool.

    Args:
      num_models: Number of models M, 1 to 7,100. Fewer than 71 are spread
        evenly over the catalogue in order of size, the smallest and the largest
        among them. More are the models of the catalogue several times, each
        time with other noise; from the second time on, the name ends in "-2",
        "-3" and so on.
      num_texts: Number of texts X.
      noise: Standard deviation of the model's own part in a text's log loss.
      seed: Seed of all random draws, 0 or more.

    Raises:
      ValueError: models that the catalogue does not have, or none; no texts;
        noise that is negative or not finite; a negative seed.

    >>> drawn = pool(num_models=3, num_texts=5, noise=0.03)
    >>> drawn.names
    ('gpt2', 'Qwen3-4B-Base', 'Meta-Llama-3-70B')
    >>> drawn.losses.shape
    (3, 5)
    """
    models = _catalogue()
    if not 1 <= num_models <= _MOST_TIMES * len(models):
        raise ValueError(
            f"num_models is {num_models}; 1 to {_MOST_TIMES * len(models):,} "
            f"is needed, {_MOST_TIMES} times the catalogue {CATALOGUE}."
        )
    if num_texts < 1:
        raise ValueError(f"num_texts is {num_texts}; at least 1 is needed.")
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise is {noise}; 0 or more, finite, is needed.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; 0 or more is needed.")
    # Stable: among equals the catalogue's order.
    by_size = sorted(
        range(len(models)), key=lambda j: models[j].costs["num_params"]
    )
    chosen = _chosen(by_size, num_models)
    names = sorted({model.family for model in models})
    # One stream for each quantity, so that neither M nor X changes the others.
    families = np.random.default_rng([seed, 0])
    quality = families.lognormal(0, _QUALITY, (len(names), 1))
    strengths = quality * families.lognormal(
        0, _STRENGTH, (len(names), _NUM_DOMAINS)
    )
    domains = np.random.default_rng([seed, 1]).integers(
        _NUM_DOMAINS, size=num_texts
    )
    difficulty = np.random.default_rng([seed, 2]).lognormal(
        0, _DIFFICULTY, num_texts
    )
    losses = np.empty((num_models, num_texts))
    for row, (j, time) in zip(losses, chosen, strict=True):
        # The first time has the stream that it always had.
        stream = [seed, 3, j, *([time] if time else [])]
        own = np.random.default_rng(stream).lognormal(0, noise, num_texts)
        size = models[j].costs["num_params"]
        mean = _A * size**-_ALPHA + _FLOOR
        strength = strengths[names.index(models[j].family), domains]
        row[:] = mean * difficulty * strength * own
    return SyntheticPool(
        losses,
        np.array([models[j].costs["num_params"] for j, _ in chosen], float),
        tuple(models[j].family for j, _ in chosen),
        tuple(
            models[j].name + (f"-{time + 1}" if time else "")
            for j, time in chosen
        ),
    )


def _chosen(by_size: list[int], num_models: int) -> list[tuple[int, int]]:
    """Returns each model's place in the catalogue, and its earlier copies.

    Args:
      by_size: Models of the catalogue in order of size.
      num_models: Number of models M.
    """
    num_known = len(by_size)
    if num_models <= num_known:
        places = np.linspace(0, num_known - 1, num_models).round().astype(int)
        return [(by_size[place], 0) for place in places]
    return [
        (j, time)
        for place, j in enumerate(by_size)
        for time in range((num_models - place - 1) // num_known + 1)
    ]
