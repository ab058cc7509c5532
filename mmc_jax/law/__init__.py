"""Laws of the loss that a budget can buy, and their fits."""

from mmc_jax.law.fitting import (
    HUBER_DELTA,
    LEAST_SQUARES,
    Fit,
    FormFit,
    Fits,
    fit,
    fit_batch,
    fit_form,
    form_loss,
    loss,
)
from mmc_jax.law.forms import FORMS, power_law
