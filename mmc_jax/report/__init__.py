"""What a study says: sections, and result folders with tables and figures."""

from mmc_jax.report import drawing  # noqa: F401  Imports Matplotlib safely.
from mmc_jax.report.cards import pool_card
from mmc_jax.report.diversity import (
    diagnosis_section,
    diversity_sections,
    optimism_section,
)
from mmc_jax.report.families import families_sections
from mmc_jax.report.first_experiments import (
    all_subsets_sections,
    pair_test_section,
    token_effect_section,
)
from mmc_jax.report.granularity import granularity_section
from mmc_jax.report.law_results import write_laws
from mmc_jax.report.law_trials import write_coverage
from mmc_jax.report.points import read_points
from mmc_jax.report.refit import write_refit
from mmc_jax.report.result import check_file, write_result
from mmc_jax.report.routers import routers_sections
from mmc_jax.report.sandwich import sandwich_sections
from mmc_jax.report.search_errors import (
    pool_sentence,
    search_error_table,
    search_errors_section,
)
from mmc_jax.report.sections import Section, write_sections
from mmc_jax.report.similarity import similarity_section
from mmc_jax.report.study import study_sections
from mmc_jax.report.whose_words import coloured_text, winners_section

__all__ = [
    "Section",
    "all_subsets_sections",
    "check_file",
    "coloured_text",
    "diagnosis_section",
    "diversity_sections",
    "families_sections",
    "granularity_section",
    "optimism_section",
    "pair_test_section",
    "pool_card",
    "pool_sentence",
    "read_points",
    "routers_sections",
    "sandwich_sections",
    "search_error_table",
    "search_errors_section",
    "similarity_section",
    "study_sections",
    "token_effect_section",
    "winners_section",
    "write_coverage",
    "write_laws",
    "write_refit",
    "write_result",
    "write_sections",
]
