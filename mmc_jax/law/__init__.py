"""Laws of the loss that a budget can buy: forms, fits, what they leave open.

`fit` is the beginning. `profile` says what the points leave open, the
bootstraps and the jackknife what the texts and the models do; `compare_forms`
and `compare_groups` compare; `budget_for` and its neighbours answer.
"""

from mmc_jax.law.answers import (
    Interval,
    budget_for,
    budget_ratio,
    floor_gap_percent,
    interval,
    usable,
)
from mmc_jax.law.fitting import (
    HUBER_DELTA,
    LEAST_SQUARES,
    Fit,
    Fits,
    FormFit,
    fit,
    fit_batch,
    fit_form,
    form_loss,
    loss,
    objective,
)
from mmc_jax.law.forms import FORMS, power_law
from mmc_jax.law.groups import SharedFit, compare_groups
from mmc_jax.law.points import (
    interval_weights,
    log_spaced,
    variants,
    without_largest,
)
from mmc_jax.law.profiles import (
    Profile,
    deviances,
    profile,
    statement,
    threshold,
)
from mmc_jax.law.resampling import (
    Bootstrap,
    HeldOut,
    Jackknife,
    Search,
    full_bootstrap,
    held_out,
    jackknife,
    residual_bootstrap,
    standard_error,
    text_bootstrap,
)
from mmc_jax.law.selection import (
    ONE_BUDGET,
    SHARES,
    Extrapolation,
    FormScore,
    compare_forms,
)

__all__ = [
    "FORMS",
    "HUBER_DELTA",
    "LEAST_SQUARES",
    "ONE_BUDGET",
    "SHARES",
    "Bootstrap",
    "Extrapolation",
    "Fit",
    "Fits",
    "FormFit",
    "FormScore",
    "HeldOut",
    "Interval",
    "Jackknife",
    "Profile",
    "Search",
    "SharedFit",
    "budget_for",
    "budget_ratio",
    "compare_forms",
    "compare_groups",
    "deviances",
    "fit",
    "fit_batch",
    "fit_form",
    "floor_gap_percent",
    "form_loss",
    "full_bootstrap",
    "held_out",
    "interval",
    "interval_weights",
    "jackknife",
    "log_spaced",
    "loss",
    "objective",
    "power_law",
    "profile",
    "residual_bootstrap",
    "standard_error",
    "statement",
    "text_bootstrap",
    "threshold",
    "usable",
    "variants",
    "without_largest",
]
