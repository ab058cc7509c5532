"""The frontier of pools of models: the oracle loss that a cost can buy."""

from mmc_jax.frontier.exhaustive import exhaustive
from mmc_jax.frontier.pareto import (
    Frontier,
    non_dominated,
    of_subsets,
    single_models,
)
from mmc_jax.frontier.pruned import pruned

__all__ = [
    "Frontier",
    "exhaustive",
    "non_dominated",
    "of_subsets",
    "pruned",
    "single_models",
]
