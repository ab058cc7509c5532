"""From texts and checkpoints to a table of negative log-likelihoods.

    checkpoints (tokenization, windows) -> texts -> batching
        -> device (likelihood) -> texts -> engine

`score` runs all of it for a pool, `surprisal` for one text and model, and
`dry_run` tells of a pool what it would take (`dry_runs`, `flops`). The parts
before the device run in a thread, ahead of it. Several processes meet in
`hosts`.
"""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "dry_runs": ["DryRun", "Plan", "dry_run"],
        "engine": ["ScoringError", "score"],
        "likelihood": ["token_nll"],
        "per_token": ["Surprisal", "surprisal"],
        "settings": ["Settings"],
    },
)
