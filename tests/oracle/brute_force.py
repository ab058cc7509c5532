"""The kernels one text after the other, in exact sums; cases to run them on."""

import math

import numpy as np


def random_case(num_subsets, num_models, num_texts, dtype=np.float64, seed=0):
    """Returns losses, values, masks and whole weights, some of them 0."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    shapes = (num_models, num_texts), (num_subsets, num_texts)
    if dtype.kind == "f":
        losses, values = (rng.lognormal(size=s).astype(dtype) for s in shapes)
    else:
        top = np.iinfo(dtype).max
        losses, values = (
            rng.integers(0, top, s, dtype, endpoint=True) for s in shapes
        )
    masks = rng.random((num_subsets, num_models)) < 0.5
    masks[:, 0] |= ~masks.any(axis=1)
    weights = rng.integers(0, 3, num_texts)
    weights[:1] = 1
    return losses, values, masks, weights


def oracle_sums(losses, masks, weights=None):
    """Returns [S]: exact for integers, of floats the nearest to exact."""
    if weights is None:
        weights = np.ones(losses.shape[1], np.int64)
    # Python's integers have no largest; floats become float64.
    rows = np.array(losses.tolist(), object).reshape(losses.shape)
    add = math.fsum if losses.dtype.kind == "f" else sum
    nothing = (
        math.inf
        if losses.dtype.kind == "f"
        else int(np.iinfo(losses.dtype).max)
    )
    return np.array(
        [
            add(
                int(weight) * min(column[mask], default=nothing)
                for weight, column in zip(weights, rows.T, strict=True)
                if weight
            )
            for mask in masks
        ]
    )


def min_sum(values, losses, weights=None):
    """Returns [S, M], likewise: each pair's as the sum of a pair of models."""
    return np.array(
        [
            [
                oracle_sums(np.stack([value, loss]), [[True, True]], weights)[0]
                for loss in losses
            ]
            for value in values
        ]
    ).reshape(len(values), len(losses))
