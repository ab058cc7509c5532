"""All subsets in plain Python, with exact sums: what the searches must find."""

import itertools
import math

import numpy as np


def subsets(num_models, max_size):
    """Returns tuples of models: fewest first, then the earliest models."""
    return [
        subset
        for size in range(1, max_size + 1)
        for subset in itertools.combinations(range(num_models), size)
    ]


def point(losses, costs, subset, weights=None):
    """Returns the cost and the oracle loss of a subset, correctly rounded."""
    num_texts = len(losses[0])
    weights = [1.0] * num_texts if weights is None else weights
    least = [min(losses[i][x] for i in subset) for x in range(num_texts)]
    return (
        math.fsum(costs[i] for i in subset),
        math.fsum(w * v for w, v in zip(weights, least, strict=True))
        / math.fsum(weights),
    )


def frontier(losses, costs, weights=None, max_size=None, counts=None):
    """Returns [(cost, loss, subset)], found by comparing all with all.

    Of the subsets that count, which a function of the subset says; of all if
    left out.
    """
    found = [
        (*point(losses, costs, subset, weights), subset)
        for subset in subsets(len(losses), max_size or len(losses))
        if counts is None or counts(subset)
    ]
    best = {}
    for cost, loss, subset in found:
        best.setdefault((cost, loss), subset)
    return sorted(
        (cost, loss, subset)
        for (cost, loss), subset in best.items()
        if not any(
            other != (cost, loss) and other[0] <= cost and other[1] <= loss
            for other in best
        )
    )


def pool(num_models, num_texts, seed, whole_numbers=False):
    """Returns losses [M, X] and costs [M]; whole numbers tie and repeat."""
    rng = np.random.default_rng(seed)
    if whole_numbers:
        losses = rng.integers(0, 4, (num_models, num_texts)).astype(float)
        costs = rng.integers(1, 5, num_models).astype(float)
        if num_models > 2:
            losses[-1], costs[-1] = losses[0], costs[0]
    else:
        costs = rng.lognormal(size=num_models)
        losses = costs[:, None] ** -0.3 * rng.lognormal(
            size=(num_models, num_texts)
        )
    return losses, costs
