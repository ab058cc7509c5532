"""The kernels beneath every search over subsets, one file a backend."""

from mmc_jax.oracle.exact import exact_losses, exact_means
from mmc_jax.oracle.exact_mixing import exact_mixture_losses, mixture_nll
from mmc_jax.oracle.integers import Quantised, quantised
from mmc_jax.oracle.kernels import (
    min_sum,
    oracle_losses,
    oracle_sums,
    union_sums,
)
from mmc_jax.oracle.mixing import mixture_losses

__all__ = [
    "Quantised",
    "exact_losses",
    "exact_means",
    "exact_mixture_losses",
    "min_sum",
    "mixture_losses",
    "mixture_nll",
    "oracle_losses",
    "oracle_sums",
    "quantised",
    "union_sums",
]
