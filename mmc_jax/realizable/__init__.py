"""What systems that exist reach of the oracle's frontier.

The oracle knows the losses. What is here does not: a mixture of all models of
a subset, which is guaranteed to come near the oracle, and systems that choose
one model for each text, which are not.
"""

from mmc_jax.lazy import attach

# The public names of each module.
_NAMES: dict[str, list[str]] = {
    "contests": ["Contest"],
    "equal_budgets": ["Choice", "EqualBudget", "equal_budget"],
    "evaluation": ["Evaluation", "evaluated"],
    "features": [
        "Features",
        "joined",
        "noise_features",
        "read_features",
    ],
    "fitted": [
        "FittedRouter",
        "Texts",
        "chosen_models",
        "fit_router",
        "load_router",
        "predicted_losses",
        "save_router",
    ],
    "granularities": [
        "Controls",
        "GranularityStudy",
        "Level",
        "OnlineSystems",
        "Regret",
        "granularity",
    ],
    "noise_control": ["ControlLosses", "control_losses"],
    "online": [
        "bayes_mixture",
        "fixed_share",
        "follow_the_leader",
        "prefix_router",
        "switch_distribution",
        "tuned_rate",
    ],
    "partitions": ["best_partitions", "fixed_share_bound", "switch_bound"],
    "readings": ["model_features"],
    "ngrams": ["ngram_features"],
    "matching": ["matched_texts"],
    "preparation": [
        "SPLITS",
        "Prepared",
        "Split",
        "cheapest_model",
        "prepared_contest",
        "text_features",
    ],
    "prefixes": ["prefix_losses"],
    "resemblance": ["near_duplicates"],
    "router_laws": ["RouterLaw", "router_law"],
    "router_lines": ["LearnedRouter", "learned_router"],
    "router_studies": [
        "ColdStart",
        "Entry",
        "cold_start",
        "compared_routers",
    ],
    "routers": ["ROUTERS"],
    "routing": ["RouterStudy", "router_study"],
    "segment_arrays": ["SegmentLosses", "segment_losses"],
    "splits": ["folds", "leaked_texts", "split_by_domain", "split_by_text"],
    "held_out_mixtures": ["HeldOutSystems", "held_out_systems"],
    "sandwich_of_tables": [
        "Length",
        "Sandwich",
        "Systems",
        "by_length",
        "overheads",
        "sandwich",
        "systems",
    ],
    "weights": ["FittedWeights", "fitted_weights"],
}

__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
