"""What diversity buys: how models of a pool complement each other."""

from mmc_jax.diversity.contributions import (
    Shapley,
    marginal_contributions,
    shapley,
    win_shares,
)
from mmc_jax.diversity.correlations import (
    GroupMeans,
    group_means,
    residual_correlations,
)
from mmc_jax.diversity.gains import (
    Bonus,
    bonus,
    equal_cost_gains,
    pair_bonus,
    pair_gains,
    pair_gains_per_cost,
)

__all__ = [
    "Bonus",
    "GroupMeans",
    "Shapley",
    "bonus",
    "equal_cost_gains",
    "group_means",
    "marginal_contributions",
    "pair_bonus",
    "pair_gains",
    "pair_gains_per_cost",
    "residual_correlations",
    "shapley",
    "win_shares",
]
