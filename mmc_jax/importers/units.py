"""Units and directions of scores, stated and never guessed. M models, X texts.

Each refusal names the flag that would be right.
"""

import math

import numpy as np

from mmc_jax.importers.frame import Imported

# What a number may be, with what becomes of it.
VALUES = {
    "nll_nats": "negative log-likelihood of a text, in nats",
    "nll_bits": "negative log-likelihood of a text, in bits",
    "bits_per_byte": "negative log-likelihood of a text, in bits per byte",
    "log_likelihood": "log-likelihood of a text, in nats; it is negated",
    "score": "accuracy between 0 and 1; the loss is 1 - score",
    "error": "1 - score, between 0 and 1; lower is better",
    "raw": "any number, taken as it is; lower is better",
}


def in_losses(
    imported: Imported, value: str | None, higher_is_better: bool | None
) -> tuple[np.ndarray, str | None, str]:
    """Returns losses [M, X], the unit of a table of them, and what was done.

    The unit is one of `scores.UNITS`, or None where `value` is None: then lower
    is better, and nothing else is known.

    Args:
      imported: Scores without gaps.
      value: What the numbers are, a key of `VALUES`; None if nothing is said.
      higher_is_better: Whether higher is better, of numbers of which `value`
        is "raw" or None. Then numbers between 0 and 1 become 1 - score where
        `value` is None, and all others are negated.

    Raises:
      ValueError: A number that cannot be what `value` says, or most numbers are
        negative and nothing is said. The message names it and the right flag.
    """
    values = imported.values
    if value not in (None, "raw") and higher_is_better not in (
        None,
        value in ("log_likelihood", "score"),
    ):
        raise ValueError(
            f"{imported.path}: --value={value} says which direction is better; "
            "leave --higher_is_better and --lower_is_better out"
        )
    if value is None and higher_is_better is None:
        if values.size and np.mean(values < 0) > 0.5:
            raise ValueError(
                f"{imported.path}: most scores are negative, as "
                "log-likelihoods are, of which higher is better; say so with "
                "--value=log_likelihood or --higher_is_better, or "
                "--nohigher_is_better if lower is better all the same"
            )
        return values, None, ""
    if value in (None, "raw"):
        unit = value
        if not higher_is_better:
            return values, unit, ""
        if value is None and values.min() >= 0 and values.max() <= 1:
            return 1 - values, "error", "1 - score"
        return 0 - values, unit, "-score"
    if value in ("score", "error"):
        _refuse(imported, (values < 0) | (values > 1), value, _for_score)
        if value == "error":
            return values, value, ""
        return 1 - values, "error", "1 - score"
    if value == "log_likelihood":
        _refuse(imported, values > 0, value, _for_log_likelihood)
        return 0 - values, "nll_nats", "-log_likelihood"
    _refuse(imported, values < 0, value, _for_nll)
    if value == "nll_bits":
        return values * math.log(2), "nll_nats", "nll_bits * ln 2"
    if value == "bits_per_byte" and imported.num_bytes is not None:
        nats = values * (imported.num_bytes * math.log(2))
        return nats, "nll_nats", "bits_per_byte * num_bytes * ln 2"
    return values, value, ""


def _refuse(imported: Imported, bad: np.ndarray, value: str, cure) -> None:
    """Raises the error of the first number that is not what is said."""
    if bad.any():
        m, x = np.unravel_index(np.argmax(bad), bad.shape)
        # A unit that the format fixes has no other flag.
        advice = "" if imported.unit else f"; {cure(imported.values)}"
        raise ValueError(
            f"{imported.place(m, x)}: {imported.values[m, x]:g} is no "
            f"{value} ({VALUES[value].split(';')[0]}){advice}"
        )


def _for_nll(values: np.ndarray) -> str:
    if np.mean(values <= 0) > 0.5:
        return "log-likelihoods are --value=log_likelihood"
    return "any number of which lower is better is --value=raw"


def _for_log_likelihood(values: np.ndarray) -> str:
    if values.min() >= 0:
        if values.max() <= 1:
            return "accuracies are --value=score, losses --value=nll_nats"
        return "negative log-likelihoods are --value=nll_nats"
    return "any number of which higher is better is --value=raw with " + (
        "--higher_is_better"
    )


def _for_score(values: np.ndarray) -> str:
    if values.max() <= 0:
        return "log-likelihoods are --value=log_likelihood"
    if values.min() >= 0 and values.max() <= 100:
        return (
            "divide percentages by 100; losses are --value=nll_nats or "
            "--value=raw, other scores --value=raw with --higher_is_better"
        )
    return (
        "losses are --value=nll_nats or --value=raw, scores of which higher is "
        "better --value=raw with --higher_is_better"
    )
