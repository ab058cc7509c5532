"""From texts and checkpoints to a table of negative log-likelihoods.

    checkpoints (tokenization, windows) -> texts -> batches
        -> device (likelihood) -> texts -> engine

`score` runs all of it for a pool, `surprisal` for one text and model, and
`dry_run` tells of a pool what it would take (`plans`, `flops`). The parts
before the device run in a thread, ahead of it. Several processes meet in
`hosts`.
"""

from mmc_jax.scoring.engine import ScoringError, score
from mmc_jax.scoring.likelihood import token_nll
from mmc_jax.scoring.plans import DryRun, Plan, dry_run
from mmc_jax.scoring.settings import Settings
from mmc_jax.scoring.surprisal import Surprisal, surprisal

__all__ = [
    "DryRun",
    "Plan",
    "ScoringError",
    "Settings",
    "Surprisal",
    "dry_run",
    "score",
    "surprisal",
    "token_nll",
]
