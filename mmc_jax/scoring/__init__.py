"""From texts and checkpoints to a table of negative log-likelihoods.

    tokenization -> windows -> batches -> likelihood -> engine

`score` runs all of it for a pool.
"""

from mmc_jax.scoring.engine import Settings, score
from mmc_jax.scoring.likelihood import token_nll

__all__ = ["Settings", "score", "token_nll"]
