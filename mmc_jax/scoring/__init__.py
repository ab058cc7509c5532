"""From texts and checkpoints to a table of negative log-likelihoods.

    checkpoints (tokenization, windows) -> texts -> batching
        -> device (likelihood) -> texts -> engine

`score` runs all of it for a pool, `surprisal` for one text and model, and
`dry_run` tells of a pool what it would take (`dry_runs`, `flops`). The parts
before the device run in a thread, ahead of it. Several processes meet in
`hosts`.
"""

from mmc_jax.scoring.dry_runs import DryRun, Plan, dry_run
from mmc_jax.scoring.engine import ScoringError, score
from mmc_jax.scoring.likelihood import token_nll
from mmc_jax.scoring.per_token import Surprisal, surprisal
from mmc_jax.scoring.settings import Settings

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
