"""The frontier of mixtures: what a subset buys without an oracle.

M models, X texts, S subsets, F frontier points.

A mixture of more models can be worse: each shares its weight with the others.
So this search drops models as well as it adds them.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import logging
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.frontier.pareto import (
    Frontier,
    no_subsets,
    non_dominated,
    padded_rows,
    subset_costs,
)
from mmc_jax.frontier.pruning import pruned
from mmc_jax.statistics.inputs import (
    Inputs,
    checked_inputs,
    checked_subsets,
)

# Models of which all subsets can be tried.
_MOST_EXHAUSTIVE = 20
# Subsets that are evaluated at once.
_TILE = 4096
# Of more models so many of those of a start are added to a subset.
_MOST_CANDIDATES = 128
# And so many subsets are tried: a minute of 10,000 texts on one core.
_MOST_TRIED = 2**16
# Texts on which exchanges are tried.
_MOST_TEXTS = 2**15
# Losses are compared in units of this share of the largest, so that equal
# models are ties on every machine.
_UNIT = 2.0**-40


def mixture(
    nll_nats: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    exhaustive: bool = False,
    on_progress: Callable[[int], None] = lambda num_subsets: None,
) -> Frontier:
    """Returns the frontier of the mixtures with uniform weights.

    Starts from the subsets of the oracle's frontier and the single models. Of
    every subset on the frontier each model is dropped, each other one added,
    and each exchanged for each other one, until nothing changes. Every point is
    true, but a better subset may exist: a heuristic. Of more than 128 models
    only those of a start are added, and of these the 128 that alone lose least
    beyond the best model of their cost; after 65,536 subsets no more are
    tried, which is said. Of more than 32,768 texts exchanges are tried on as
    many, spread evenly; what they find is judged on all.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      lengths: What each text's loss is divided by, [X], above 0, such as its
        number of bytes; 1 each if left out.
      starts: Subsets to start from, [S, M] of booleans; those of
        `frontier.pruned` if left out.
      exhaustive: Whether all subsets are tried, of up to 20 models.
      on_progress: Function of how many further subsets were evaluated, called
        after each thousand or so.

    Raises:
      ValueError: arguments that do not fit, with the place; more than 20 models
        for all subsets.

    >>> nll_nats = [[1.0, 9.0], [8.0, 2.0], [2.0, 8.0]]
    >>> found = mixture(nll_nats, costs=[1, 2, 4], exhaustive=True)
    >>> found.costs, found.losses.round(4)
    (array([1., 3.]), array([5.    , 2.1922]))
    """
    inputs = checked_inputs(nll_nats, costs, weights)
    num_models, num_texts = inputs.losses.shape
    if lengths is None:
        lengths = np.ones(num_texts)
    lengths = np.asarray(lengths, np.float64)
    singles = np.eye(num_models, dtype=bool)
    if exhaustive:
        if num_models > _MOST_EXHAUSTIVE:
            raise ValueError(
                f"{num_models} models have {2**num_models - 1:,} subsets; all "
                f"are tried of up to {_MOST_EXHAUSTIVE}: leave exhaustive out."
            )
        found = no_subsets(num_models)
        for masks in _all_subsets(num_models):
            found = _joined(found, inputs, lengths, masks)
            on_progress(len(masks))
    else:
        if starts is None:
            oracle.exact_mixture_losses(  # Checks the lengths.
                inputs.losses,
                singles[:1],
                None,
                inputs.weights,
                lengths=lengths,
            )
            starts = pruned(
                inputs.losses / lengths, inputs.costs, inputs.weights
            ).masks
        starts = checked_subsets(starts, num_models)
        starts = np.concatenate([singles, starts])
        if num_texts <= _MOST_TEXTS:
            found = _polished(starts, inputs, lengths, on_progress)
        else:
            some = np.linspace(0, num_texts - 1, _MOST_TEXTS).astype(int)
            near = _polished(
                starts, _of_texts(inputs, some), lengths[some], on_progress
            )
            masks = np.unique(np.concatenate([starts, near.masks]), axis=0)
            found = _joined(no_subsets(num_models), inputs, lengths, masks)
    losses = oracle.exact_mixture_losses(
        inputs.losses, found.masks, None, inputs.weights, lengths=lengths
    )
    return non_dominated(found.costs, losses, found.masks)


def _of_texts(inputs: Inputs, texts: np.ndarray) -> Inputs:
    weights = None if inputs.weights is None else inputs.weights[texts]
    return Inputs(inputs.losses[:, texts], inputs.costs, weights)


def _polished(
    starts: np.ndarray,
    inputs: Inputs,
    lengths: np.ndarray,
    on_progress: Callable[[int], None],
) -> Frontier:
    """Returns a frontier of which no subset is one exchange from a better."""
    num_models = len(inputs.costs)
    candidates = np.arange(num_models)
    if num_models > _MOST_CANDIDATES:
        more = starts[starts.sum(axis=1) > 1]
        candidates = _best_for_their_costs(
            np.flatnonzero(more.any(axis=0)), inputs, lengths
        )
    starts = np.unique(starts, axis=0)
    seen = {_key(mask) for mask in starts}
    found = _joined(no_subsets(num_models), inputs, lengths, starts)
    done: set[bytes] = set()
    while True:
        bases = [mask for mask in found.masks if _key(mask) not in done]
        if not bases:
            return found
        done |= {_key(mask) for mask in bases}
        new: list[np.ndarray] = []
        for base in bases:
            if num_models > _MOST_CANDIDATES and len(seen) > _MOST_TRIED:
                logging.log_first_n(
                    logging.WARNING,
                    "%d models: the search of mixtures ends after %d subsets",
                    1,
                    num_models,
                    len(seen),
                )
                break
            for mask in _neighbours(base, candidates):
                key = _key(mask)
                if key not in seen:
                    seen.add(key)
                    new.append(mask)
            if len(new) >= _TILE:
                found = _joined(found, inputs, lengths, np.array(new))
                on_progress(len(new))
                new = []
        if new:
            found = _joined(found, inputs, lengths, np.array(new))
            on_progress(len(new))


def _key(mask: np.ndarray) -> bytes:
    """Returns a subset's models, eight a byte: hundreds of thousands fit."""
    return np.packbits(mask).tobytes()


def _best_for_their_costs(
    models: np.ndarray, inputs: Inputs, lengths: np.ndarray
) -> np.ndarray:
    """Returns the 128 of the models that lose least beyond the best so cheap.

    Args:
      models: Indices of models, rising.
      inputs: Negative log-likelihoods, costs and weights of all models.
      lengths: What each text's loss is divided by, [X].
    """
    means = oracle.exact_means(inputs.losses / lengths, inputs.weights)
    by_cost = np.lexsort((means, inputs.costs))
    beyond = np.empty(len(means))
    beyond[by_cost] = means[by_cost] - np.minimum.accumulate(means[by_cost])
    first = np.argsort(beyond[models], kind="stable")[:_MOST_CANDIDATES]
    return np.sort(models[first])


def _neighbours(mask: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns the subsets that are one exchange away, [S, M]."""
    members = np.flatnonzero(mask)
    others = candidates[~mask[candidates]]
    dropped = np.repeat(mask[None], len(members), axis=0)
    dropped[np.arange(len(members)), members] = False
    bases = np.concatenate([mask[None], dropped])
    joined = np.repeat(bases, len(others), axis=0)
    joined[np.arange(len(joined)), np.tile(others, len(bases))] = True
    near = np.concatenate([dropped, joined])
    return near[near.any(axis=1)]


def _all_subsets(num_models: int) -> Iterator[np.ndarray]:
    """Yields the masks of all subsets, some at a time."""
    for start in range(1, 2**num_models, _TILE):
        numbers = np.arange(start, min(start + _TILE, 2**num_models))
        yield (numbers[:, None] >> np.arange(num_models) & 1).astype(bool)


def _joined(
    found: Frontier, inputs: Inputs, lengths: np.ndarray, masks: np.ndarray
) -> Frontier:
    """Returns the frontier of what was found and of further subsets."""
    unit = _UNIT * float(np.abs(inputs.losses / lengths).max()) or 1.0
    for start in range(0, len(masks), _TILE):
        tile = masks[start : start + _TILE]
        with jax.enable_x64(True):
            losses = oracle.mixture_losses(
                inputs.losses,
                padded_rows(tile, factor=16),
                weights=inputs.weights,
                lengths=lengths,
            )
        losses = unit * np.rint(np.asarray(losses)[: len(tile)] / unit)
        new = subset_costs(tile, inputs.costs), losses, tile
        found = non_dominated(
            *map(np.concatenate, zip(found, new, strict=True))
        )
    return found
