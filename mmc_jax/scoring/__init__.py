"""From texts and checkpoints to a table of negative log-likelihoods.

    tokenization -> windows -> batches -> likelihood -> engine

`score` runs all of it for a pool, `surprisal` for one text and model.
"""

from mmc_jax.scoring.engine import Settings, Surprisal, score, surprisal
from mmc_jax.scoring.likelihood import token_nll

__all__ = ["Settings", "Surprisal", "score", "surprisal", "token_nll"]
