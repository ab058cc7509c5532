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
from mmc_jax.diversity.families import (
    GROUPINGS,
    Comparison,
    compare,
    groups_of,
    heterogeneous,
    homogeneous,
)
from mmc_jax.diversity.gains import (
    Bonus,
    bonus,
    equal_cost_gains,
    pair_bonus,
    pair_gains,
    pair_gains_per_cost,
)
from mmc_jax.diversity.similarity import Estimate, PairGroup, similarity

__all__ = [
    "GROUPINGS",
    "Bonus",
    "Comparison",
    "Estimate",
    "GroupMeans",
    "PairGroup",
    "Shapley",
    "bonus",
    "compare",
    "equal_cost_gains",
    "group_means",
    "groups_of",
    "heterogeneous",
    "homogeneous",
    "marginal_contributions",
    "pair_bonus",
    "pair_gains",
    "pair_gains_per_cost",
    "residual_correlations",
    "shapley",
    "similarity",
    "win_shares",
]
