"""The proof of a frontier: whole numbers, bounds, trees and the certificate.

What benchmarks and peers build on; `frontier.certified` puts it together.
"""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "dual": ["thresholds"],
        "integers": ["IntegerPool", "integer_pool"],
        "search_tree": ["SearchTree"],
        "tables": ["device_table"],
    },
)
