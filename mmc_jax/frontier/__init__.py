"""The frontier of pools of models: the oracle loss that a cost can buy."""

from mmc_jax.frontier.enumeration import exhaustive
from mmc_jax.frontier.generalisation.bootstrap import Band, bootstrap_band
from mmc_jax.frontier.generalisation.checks import (
    Checks,
    Generalisation,
)
from mmc_jax.frontier.generalisation.cross_fitting import (
    CrossFitted,
    Search,
    cross_fitted,
)
from mmc_jax.frontier.generalisation.failures import CoFailures, co_failures
from mmc_jax.frontier.generalisation.other_texts import HeldOut, held_out
from mmc_jax.frontier.generalisation.repeated_scores import (
    Repeated,
    repeated_losses,
)
from mmc_jax.frontier.generalisation.search_quality import (
    SearchError,
    search_error,
)
from mmc_jax.frontier.generalisation.synthetic_pools import (
    kept_search_errors,
    search_errors,
)
from mmc_jax.frontier.mixture_search import mixture
from mmc_jax.frontier.pareto import (
    Frontier,
    non_dominated,
    of_subsets,
    single_models,
)
from mmc_jax.frontier.proof.certificate import Certificate, write_certificate
from mmc_jax.frontier.proof.certification import certified
from mmc_jax.frontier.proof.outcome import Certified, Progress
from mmc_jax.frontier.pruning import pruned
from mmc_jax.frontier.routing import Routed, expected_costs, routed

__all__ = [
    "Band",
    "Certificate",
    "Certified",
    "Checks",
    "CoFailures",
    "CrossFitted",
    "Frontier",
    "Generalisation",
    "HeldOut",
    "Progress",
    "Repeated",
    "Routed",
    "Search",
    "SearchError",
    "bootstrap_band",
    "certified",
    "co_failures",
    "cross_fitted",
    "exhaustive",
    "expected_costs",
    "held_out",
    "kept_search_errors",
    "mixture",
    "non_dominated",
    "of_subsets",
    "pruned",
    "repeated_losses",
    "routed",
    "search_error",
    "search_errors",
    "single_models",
    "write_certificate",
]
