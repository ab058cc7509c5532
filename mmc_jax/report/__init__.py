"""What a study says: sections, and result folders with tables and figures."""

from mmc_jax.lazy import attach
from mmc_jax.report import drawing  # noqa: F401  Imports Matplotlib safely.

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "answer": ["RouterAnswer", "answer_section", "router_answer"],
        "cards": ["pool_card"],
        "checklist": ["Item", "checklist_section", "referee_items"],
        "comparison": ["comparison_section"],
        "diversity": [
            "diagnosis_section",
            "diversity_sections",
            "optimism_section",
        ],
        "families": ["families_sections"],
        "first_experiments": [
            "all_subsets_sections",
            "pair_test_section",
            "token_effect_section",
        ],
        "granularity": ["granularity_section"],
        "law_results": ["write_laws"],
        "law_trials": ["write_coverage"],
        "overview": ["overview_sections"],
        "page.document": ["write_page"],
        "page.encoding": ["read_embedded"],
        "page.gathering": ["result_chapters"],
        "page.places": ["folder_of"],
        "points": ["read_points"],
        "referee": [
            "ages_section",
            "countings_section",
            "extrapolation_section",
            "referee_chapters",
            "referee_sections",
            "tokens_section",
        ],
        "refit": ["write_refit"],
        "result": ["check_file", "write_result"],
        "routers": ["routers_sections"],
        "sandwich": ["sandwich_sections"],
        "search_errors": [
            "pool_sentence",
            "search_error_table",
            "search_errors_section",
        ],
        "sections": ["Section", "chapter", "write_sections"],
        "similarity": ["similarity_section"],
        "study": ["law_sections", "study_sections"],
        "whose_words": ["coloured_text", "winners_section"],
    },
)
