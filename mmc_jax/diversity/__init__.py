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
from mmc_jax.diversity.domains import (
    DomainLosses,
    ExtremeTexts,
    domain_losses,
    extreme_texts,
)
from mmc_jax.diversity.factors import PairGroup, PairMean, similarity
from mmc_jax.diversity.families import (
    GROUPINGS,
    Comparison,
    compare,
    groups_of,
    heterogeneous,
    homogeneous,
)
from mmc_jax.diversity.family_studies import (
    Claim,
    FamilyStudy,
    agreement,
    family_study,
    line_name,
    table_studies,
)
from mmc_jax.diversity.findings import Finding, diagnosis
from mmc_jax.diversity.gains import (
    Gain,
    bonus,
    equal_cost_gains,
    pair_bonus,
    pair_gains,
    pair_gains_per_cost,
    pair_losses,
)
from mmc_jax.diversity.pairs import (
    PairTest,
    TokenEffect,
    mixed_pair_test,
    pair_test,
    token_effect,
)
from mmc_jax.diversity.selection_bias import (
    Optimism,
    optimism,
)
from mmc_jax.diversity.summaries import PairGain, Summary, summary
from mmc_jax.diversity.whose_words import Span, Winner, spans, winners

__all__ = [
    "GROUPINGS",
    "Claim",
    "Comparison",
    "DomainLosses",
    "Elimination",
    "ExtremeTexts",
    "FamilyStudy",
    "Finding",
    "Gain",
    "GroupMeans",
    "Optimism",
    "PairGain",
    "PairGroup",
    "PairMean",
    "PairTest",
    "Shapley",
    "Span",
    "Summary",
    "TokenEffect",
    "Winner",
    "agreement",
    "bonus",
    "compare",
    "diagnosis",
    "domain_losses",
    "elimination",
    "equal_cost_gains",
    "extreme_texts",
    "family_study",
    "group_means",
    "groups_of",
    "heterogeneous",
    "homogeneous",
    "line_name",
    "marginal_contributions",
    "mixed_pair_test",
    "optimism",
    "pair_bonus",
    "pair_gains",
    "pair_gains_per_cost",
    "pair_losses",
    "pair_test",
    "residual_correlations",
    "shapley",
    "similarity",
    "spans",
    "summary",
    "table_studies",
    "token_effect",
    "win_shares",
    "winners",
]
