"""How much a router trusts what it sees: chosen by texts it was not fitted on.

M models, X texts, J settings.
"""

from collections.abc import Callable, Iterable

import numpy as np

# Standard errors by which a setting must be better than the best single model.
# Of routers that see noise one in forty would pass.
_STANDARD_ERRORS = 2.0
_NUM_FOLDS = 4


def chosen_setting(
    predictions: Iterable[np.ndarray], losses: np.ndarray
) -> int:
    """Returns the setting of least routed loss; 0 unless it is surely better.

    The first setting predicts the same for all texts: the best single model.
    Another is chosen if its routed loss is lower by two standard errors of the
    paired difference.

    Args:
      predictions: Predicted losses [M, X] of each of the J settings, for texts
        that the setting was not fitted on. The first setting is the simplest.
      losses: Losses of the same texts, [M, X].

    >>> losses = np.tile([[1.0, 2.0], [2.0, 1.1]], 8)
    >>> single = np.repeat([[1.5], [1.55]], 16, axis=1)
    >>> chosen_setting([single, losses], losses)
    1
    """
    texts = np.arange(losses.shape[1])
    routed = [
        losses[prediction.argmin(axis=0), texts] for prediction in predictions
    ]
    best = int(np.argmin([row.mean() for row in routed]))
    gain = routed[0] - routed[best]
    if len(texts) < 2:
        return 0
    error = gain.std(ddof=1) / np.sqrt(len(texts))
    return best if gain.mean() > _STANDARD_ERRORS * error else 0


def cross_validated(
    fit_and_predict: Callable[[np.ndarray], np.ndarray],
    num_texts: int,
    seed: int,
) -> np.ndarray:
    """Returns what each setting predicts for texts it was not fitted on.

    Args:
      fit_and_predict: Takes which texts are held out, bool [X]; fits every
        setting to the others, and returns predicted losses of the held-out
        texts, [J, M, K].
      num_texts: Number of texts X.
      seed: Seed by which texts are dealt out to the folds.

    Returns:
      Predicted losses of all texts, [J, M, X].

    Raises:
      ValueError: Fewer than 4 texts.
    """
    if num_texts < _NUM_FOLDS:
        raise ValueError(
            f"{num_texts} texts to learn from; at least {_NUM_FOLDS} are "
            "needed."
        )
    order = np.random.default_rng(seed).permutation(num_texts)
    found = None
    for fold in range(_NUM_FOLDS):
        held_out = np.zeros(num_texts, bool)
        held_out[order[fold::_NUM_FOLDS]] = True
        predicted = fit_and_predict(held_out)
        if found is None:
            found = np.empty((*predicted.shape[:2], num_texts))
        found[:, :, held_out] = predicted
    return found
