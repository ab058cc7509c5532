"""A JAX engine for the Law of Multi-Model Collaboration (arXiv 2512.23340).

Data flows one way, and so do the imports:

    corpus, pool -> models -> scoring -> scores -> oracle -> frontier -> law
                              importers ^                        -> report

A submodule is imported when it is first used.
"""

from mmc_jax.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    submodules=[
        "at_once",
        "catalogue",
        "comparisons",
        "certificate_checker",
        "corpus",
        "dates",
        "disk",
        "diversity",
        "early_stops",
        "exporters",
        "frontier",
        "hosts",
        "importers",
        "law",
        "limits",
        "models",
        "oracle",
        "overviews",
        "pool",
        "realizable",
        "referee",
        "report",
        "scores",
        "scoring",
        "stages",
        "statistics",
        "studies",
        "synthetic",
        "training",
        "user_cache",
    ],
)
