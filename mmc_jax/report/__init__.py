"""What a study says: numbers, tables and figures in one folder."""

from mmc_jax.report.figures import domains, laws, membership
from mmc_jax.report.fits import read_points, write_fits
from mmc_jax.report.pool_card import pool_card, unigram_bits_per_byte
from mmc_jax.report.result import law_numbers, write_result
from mmc_jax.report.study import METHODS, Study, study, write_study

__all__ = [
    "METHODS",
    "Study",
    "domains",
    "law_numbers",
    "laws",
    "membership",
    "pool_card",
    "read_points",
    "study",
    "unigram_bits_per_byte",
    "write_fits",
    "write_result",
    "write_study",
]
