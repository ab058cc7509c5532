"""A low-rank factorisation of the loss table, its text side from the features.

L_ix - mean_i = u_i . (W f_x), u_i of rank R

the form of RouteLLM's matrix factorisation (Ong et al., arXiv 2406.18665).
With squared errors and a ridge penalty on W u_i no descent is needed: the best
B = W^T U^T of rank R is the ridge solution projected on the R leading
eigenvectors of B^T (F^T F + p I) B (reduced-rank ridge regression, Mukherjee
and Zhu 2011, Statistical Analysis and Data Mining 4).

M models, X texts, D features, R rank.
"""

import numpy as np
import scipy.linalg

from mmc_jax.realizable.routers import ridge, scaling, selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("features",)

# Ranks that are tried; the largest is at most the number of models.
_RANKS = (1, 2, 4, 8, 16, 32)


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the vectors of the features [D, R] and of the models [M, R].

    Penalty and rank are those that route best texts that are left out one by
    one, where the models' vectors are those of all texts.
    """
    del seed
    scales = scaling.scales(seen.features)
    table = ridge.Table(scaling.scaled(seen.features, scales), losses)
    ranks = sorted({min(rank, len(losses)) for rank in _RANKS})
    settings, apart = [(np.inf, 1)], [table.single]
    means = table.means[:, None]
    for penalty in ridge.PENALTIES:
        offsets = table.left_out(penalty) - means
        for rank in ranks:
            by_model = _by_model(table, penalty, rank)
            settings.append((penalty, rank))
            apart.append(means + by_model @ (by_model.T @ offsets))
    penalty, rank = settings[selection.chosen_setting(apart, losses)]
    by_model = _by_model(table, penalty, rank)
    by_features = table.directions @ (table.shrunk(penalty) @ by_model)
    return {
        **scales,
        "by_features": by_features,
        "by_model": by_model,
        "intercept": table.means,
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the predicted loss of each model, [M, X]."""
    features = scaling.scaled(seen.features, fitted)
    offsets = (features @ fitted["by_features"]) @ fitted["by_model"].T
    return (offsets + fitted["intercept"]).T


def _by_model(table: ridge.Table, penalty: float, rank: int) -> np.ndarray:
    """Returns the vectors of the models, orthonormal, [M, R]."""
    products = table.projected.T @ table.shrunk(penalty)
    _, vectors = scipy.linalg.eigh(products)
    return vectors[:, ::-1][:, :rank]
