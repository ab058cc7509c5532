"""The frontier of pools of models: the oracle loss that a cost can buy."""

from mmc_jax.frontier.bootstrap import Band, bootstrap_band
from mmc_jax.frontier.certificate import Certificate, write_certificate
from mmc_jax.frontier.certified import Certified, Progress, certified
from mmc_jax.frontier.co_failures import CoFailures, co_failures
from mmc_jax.frontier.cross_fitted import CrossFitted, Search, cross_fitted
from mmc_jax.frontier.exhaustive import exhaustive
from mmc_jax.frontier.held_out import HeldOut, held_out
from mmc_jax.frontier.missed import Missed, missed
from mmc_jax.frontier.pareto import (
    Frontier,
    non_dominated,
    of_subsets,
    single_models,
)
from mmc_jax.frontier.pruned import pruned
from mmc_jax.frontier.repeats import Repeated, repeated_losses
from mmc_jax.frontier.routed import Routed, expected_costs, routed

__all__ = [
    "Band",
    "Certificate",
    "Certified",
    "CoFailures",
    "CrossFitted",
    "Frontier",
    "HeldOut",
    "Missed",
    "Progress",
    "Repeated",
    "Routed",
    "Search",
    "bootstrap_band",
    "certified",
    "co_failures",
    "cross_fitted",
    "exhaustive",
    "expected_costs",
    "held_out",
    "missed",
    "non_dominated",
    "of_subsets",
    "pruned",
    "repeated_losses",
    "routed",
    "single_models",
    "write_certificate",
]
