"""What a study says: numbers, tables and figures in one folder."""

from mmc_jax.report import drawing  # noqa: F401  Imports Matplotlib safely.
from mmc_jax.report.families import write_families
from mmc_jax.report.figures import domains, laws, membership
from mmc_jax.report.first_experiments import (
    write_all_subsets,
    write_pair_test,
    write_token_effect,
)
from mmc_jax.report.honest import Checks
from mmc_jax.report.law_results import write_laws
from mmc_jax.report.law_trials import write_coverage
from mmc_jax.report.measures import (
    write_diagnosis,
    write_diversity,
    write_optimism,
)
from mmc_jax.report.points import read_columns, read_points
from mmc_jax.report.pool_card import pool_card, unigram_bits_per_byte
from mmc_jax.report.proof import Limits
from mmc_jax.report.pruning import compared, write_pruning
from mmc_jax.report.refit import write_refit
from mmc_jax.report.result import law_numbers, read_arrays, write_result
from mmc_jax.report.sections import Section, write_sections
from mmc_jax.report.similarity import write_similarity
from mmc_jax.report.study import METHODS, Study, study, write_study

__all__ = [
    "METHODS",
    "Checks",
    "Limits",
    "Section",
    "Study",
    "compared",
    "domains",
    "law_numbers",
    "laws",
    "membership",
    "pool_card",
    "read_arrays",
    "read_columns",
    "read_points",
    "study",
    "unigram_bits_per_byte",
    "write_all_subsets",
    "write_coverage",
    "write_diagnosis",
    "write_diversity",
    "write_families",
    "write_laws",
    "write_optimism",
    "write_pair_test",
    "write_pruning",
    "write_refit",
    "write_result",
    "write_sections",
    "write_similarity",
    "write_study",
    "write_token_effect",
]
