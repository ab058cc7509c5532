"""Laws of the loss that a budget can buy: forms, fits, what they leave open.

`fit` fits the law of one set of points, `fit_batch` those of thousands.
`profile` says what the points leave open, the bootstraps and the jackknife what
the texts and the models do; `compare_forms` and `compare_groups` compare;
`budget_for` and its neighbours answer. `laws_of_points` and `laws_of_table` do
all of it.
"""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "batches": ["Fits", "fit_batch", "usable"],
        "countings": ["COUNTINGS", "CountedLaws", "laws_by_counting"],
        "evaluation": [
            "budget_for",
            "budget_ratio",
            "floor_gap_percent",
            "form_loss",
            "loss",
            "objective",
        ],
        "extrapolation": ["ExtrapolationError", "extrapolation_errors"],
        "fitting": ["Fit", "FormFit", "fit", "fit_form"],
        "forms": ["FORMS", "power_law"],
        "groups": ["SharedFit", "compare_groups"],
        "optimizers": ["HUBER_DELTA", "LEAST_SQUARES"],
        "profiles": ["Profile", "profile", "statement"],
        "readings": ["Readings", "law_readings"],
        "refitting": ["PUBLISHED", "Refit", "refit"],
        "resampling": [
            "Bootstrap",
            "Jackknife",
            "ResampledFit",
            "SplitLaw",
            "estimate_answer",
            "fit_each",
            "full_bootstrap",
            "jackknife",
            "residual_bootstrap",
            "split_law",
            "standard_error",
            "text_bootstrap",
        ],
        "selection": ["ONE_BUDGET", "SHARES", "FormScore", "compare_forms"],
        "sensitivity": [
            "Answer",
            "GroupLaw",
            "LawStudy",
            "PoolSensitivity",
            "answers",
            "laws_of_points",
            "laws_of_table",
            "variants",
        ],
        "text_dates": [
            "AFTER_ALL",
            "Ages",
            "ModelAge",
            "Period",
            "laws_by_age",
        ],
        "training_tokens": ["TRAINING_TOKENS", "TokensLaw", "tokens_law"],
        "simulation": ["PLANTED", "Coverage", "coverage", "planted_points"],
    },
)
