"""What diversity buys: how models of a pool complement each other."""

from mmc_jax.diversity.contributions import (
    Elimination,
    Shapley,
    elimination,
    marginal_contributions,
    shapley,
    win_shares,
)
from mmc_jax.diversity.correlations import (
    GroupMeans,
    group_means,
    residual_correlations,
)
from mmc_jax.diversity.diagnosis import Finding, diagnosis
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
from mmc_jax.diversity.optimism import Optimism, numbers_of_texts, optimism
from mmc_jax.diversity.pairs import (
    PairTest,
    TokenEffect,
    pair_test,
    token_effect,
)
from mmc_jax.diversity.robustness import (
    SIZES,
    Conclusion,
    LineLaw,
    Part,
    in_all,
    line_name,
    part,
)
from mmc_jax.diversity.similarity import Estimate, PairGroup, similarity

__all__ = [
    "GROUPINGS",
    "SIZES",
    "Bonus",
    "Comparison",
    "Conclusion",
    "Elimination",
    "Estimate",
    "Finding",
    "GroupMeans",
    "LineLaw",
    "Optimism",
    "PairGroup",
    "PairTest",
    "Part",
    "Shapley",
    "TokenEffect",
    "bonus",
    "compare",
    "diagnosis",
    "elimination",
    "equal_cost_gains",
    "group_means",
    "groups_of",
    "heterogeneous",
    "homogeneous",
    "in_all",
    "line_name",
    "marginal_contributions",
    "numbers_of_texts",
    "optimism",
    "pair_bonus",
    "pair_gains",
    "pair_gains_per_cost",
    "pair_test",
    "part",
    "residual_correlations",
    "shapley",
    "similarity",
    "token_effect",
    "win_shares",
]
