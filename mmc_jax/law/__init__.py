"""Laws of the loss that a budget can buy, and their fits."""

from mmc_jax.law.fitting import HUBER_DELTA, Fit, fit
from mmc_jax.law.forms import power_law

__all__ = ["HUBER_DELTA", "Fit", "fit", "power_law"]
