"""The two kernels beneath every search over subsets, one file a backend."""

from mmc_jax.oracle.kernels import min_sum, oracle_losses, oracle_sums

__all__ = ["min_sum", "oracle_losses", "oracle_sums"]
