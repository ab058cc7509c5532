"""The losses of the beginnings of texts, from the scores of their tokens.

M models, X texts.
"""

import numpy as np

from mmc_jax.scores import ScoreTable


def prefix_losses(table: ScoreTable, num_bytes: int) -> np.ndarray:
    """Returns the nats a byte of the beginning of each text: float64 [M, X].

    Of the tokens that end within the first `num_bytes` bytes: their nats by the
    bytes up to the end of the last of them. Where no token ends there, or none
    of them is scored, the mean of the model's other texts stands in.

    Args:
      table: A score table with the scores of tokens.
      num_bytes: Bytes of the beginning, at least 1.

    Raises:
      ValueError: num_bytes below 1; a model whose tokens were not kept; a text
        whose tokens cannot be followed through its bytes; a model of which no
        text has a token there.
    """
    if num_bytes < 1:
        raise ValueError(f"num_bytes is {num_bytes}; at least 1 is needed.")
    found = np.empty((len(table.models), len(table.texts)))
    for m, model in enumerate(table.models):
        if table.tokens is None or model.name not in table.tokens:
            raise ValueError(
                f"model {model.name!r} has no scores of tokens: score with "
                "--keep_tokens for a router that reads beginnings."
            )
        tokens = table.tokens[model.name]
        if not tokens.is_followed.all():
            text = table.texts.ids[int(np.argmin(tokens.is_followed))]
            raise ValueError(
                f"model {model.name!r}: the tokens of text {text!r} cannot be "
                "followed through its bytes; leave it out."
            )
        for x in range(len(table.texts)):
            nll, ends = tokens.of_text(x)
            begun = (ends <= num_bytes) & ~np.isnan(nll)
            found[m, x] = np.nan
            if begun.any() and ends[begun][-1] > 0:
                nats = nll[begun].sum(dtype=np.float64)
                found[m, x] = nats / ends[begun][-1]
        known = ~np.isnan(found[m])
        if not known.any():
            raise ValueError(
                f"model {model.name!r}: no token of any text ends within "
                f"{num_bytes} bytes; a longer beginning is needed."
            )
        found[m, ~known] = found[m, known].mean()
    return found
