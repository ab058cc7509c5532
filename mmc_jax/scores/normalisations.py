"""Scores to losses: one number per text, fair between tokenizers.

M models, X texts. With nll in nats, b bytes, c characters and t tokens of the
text. Everything is float64, in NumPy: it runs once a table, on the host.
"""

import numpy as np
from numpy.typing import ArrayLike


def bits_per_byte(nll_nats: ArrayLike, num_bytes: ArrayLike) -> np.ndarray:
    """Returns bits per byte of the raw text, float64 [M, X].

    loss = nll / (b ln 2)

    Args:
      nll_nats: Negative log-likelihood of each text under each model, [M, X].
      num_bytes: UTF-8 bytes of each raw text, [X].

    >>> bits_per_byte([[np.log(16.0)]], [2]).tolist()
    [[2.0]]
    """
    return _float64(nll_nats) / (_float64(num_bytes) * np.log(2.0))


def nats_per_char(nll_nats: ArrayLike, num_chars: ArrayLike) -> np.ndarray:
    """Returns nats per character of the raw text, float64 [M, X].

    loss = nll / c

    Args:
      nll_nats: Negative log-likelihood of each text under each model, [M, X].
      num_chars: Characters of each raw text, [X].

    >>> nats_per_char([[6.0, 3.0]], [4, 1]).tolist()
    [[1.5, 3.0]]
    """
    return _float64(nll_nats) / _float64(num_chars)


def chars_per_token(num_chars: ArrayLike, num_tokens: ArrayLike) -> float:
    """Returns k, characters per token averaged over the pool's tokenizers.

    k = (1/M) sum_m (sum_x c_x) / (sum_x t_mx)

    It is one constant for the whole study: work it out over all its models and
    its full corpus.

    Args:
      num_chars: Characters of each raw text, [X].
      num_tokens: Tokens of each text under each model's tokenizer, [M, X].

    >>> chars_per_token([6, 6], [[3, 3], [2, 1]])
    3.0
    """
    num_tokens = _float64(num_tokens)
    return float(np.mean(np.sum(_float64(num_chars)) / num_tokens.sum(axis=1)))


def text_length(
    nll_nats: ArrayLike, num_chars: ArrayLike, chars_per_token: float
) -> np.ndarray:
    """Returns nats per token of average length, float64 [M, X].

    loss = nll / (c / k)

    It reads like a loss per token and ranks models as `nats_per_char` does.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, [M, X].
      num_chars: Characters of each raw text, [X].
      chars_per_token: k, one positive number for the whole study.

    Raises:
      ValueError: `chars_per_token` is an array, so that each tokenizer would
        have its own and the losses would be unfair again, or is not positive.

    Source: the text-length-normalised loss of arXiv 2512.23340.

    >>> text_length([[6.0], [3.0]], [4], 2.0).tolist()
    [[3.0], [1.5]]
    """
    if np.ndim(chars_per_token) != 0:
        raise ValueError(
            "chars_per_token has the shape "
            f"{np.shape(chars_per_token)}; text_length takes one constant for "
            "the whole study, for with one per tokenizer the losses of two "
            "models could not be compared"
        )
    if not 0 < chars_per_token < np.inf:
        raise ValueError(
            f"chars_per_token is {chars_per_token}; it must be positive"
        )
    return _float64(nll_nats) / (_float64(num_chars) / chars_per_token)


def nats_per_token(nll_nats: ArrayLike, num_scored: ArrayLike) -> np.ndarray:
    """Returns nats per token, float64 [M, X]: not fair between tokenizers.

    loss = nll / t, t the tokens that were scored

    Kept for diagnosis: a tokenizer with longer tokens has a higher loss per
    token at the same likelihood.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, [M, X].
      num_scored: Scored tokens of each text under each tokenizer, [M, X].

    >>> nats_per_token([[6.0], [6.0]], [[2], [3]]).tolist()
    [[3.0], [2.0]]
    """
    return _float64(nll_nats) / _float64(num_scored)


def raw(nll_nats: ArrayLike) -> np.ndarray:
    """Returns the scores as they are, float64 [M, X].

    loss = score

    For imported losses of any kind, as long as lower is better: surprisals of
    words, bits per byte, 1 - accuracy.

    >>> raw([[0.25, 1.0]]).tolist()
    [[0.25, 1.0]]
    """
    return np.array(nll_nats, np.float64)


def _float64(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, np.float64)
