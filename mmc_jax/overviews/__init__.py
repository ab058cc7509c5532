"""All that one score table says, for a page: every analysis, once."""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "analyses": ["Overview", "overview"],
        "lines": ["LINES", "Line", "View"],
    },
)
