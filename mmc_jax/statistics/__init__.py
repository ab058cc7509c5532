"""Checked inputs, resampled texts, and numbers with their intervals.

What searches, laws and studies of diversity share.
"""

from mmc_jax.statistics.attempts import attempt
from mmc_jax.statistics.estimates import (
    Estimate,
    estimate,
    percentile_interval,
)
from mmc_jax.statistics.inputs import (
    Inputs,
    checked_inputs,
    checked_level,
    checked_losses,
    checked_masks,
    checked_max_size,
    checked_subsets,
)
from mmc_jax.statistics.resampling import (
    cluster_index,
    counted_sums,
    halves,
    held_out_texts,
    resampled_counts,
    resampled_means,
    resampled_means_of,
)
from mmc_jax.statistics.sums import (
    pair_minima_sums,
    pair_products,
    weighted_sums,
)

__all__ = [
    "Estimate",
    "Inputs",
    "attempt",
    "checked_inputs",
    "checked_level",
    "checked_losses",
    "checked_masks",
    "checked_max_size",
    "checked_subsets",
    "cluster_index",
    "counted_sums",
    "estimate",
    "halves",
    "held_out_texts",
    "pair_minima_sums",
    "pair_products",
    "percentile_interval",
    "resampled_counts",
    "resampled_means",
    "resampled_means_of",
    "weighted_sums",
]
