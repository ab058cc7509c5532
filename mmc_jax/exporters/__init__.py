"""Score tables written for other programs, and for `importers` to read back."""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"tables": ["LAYOUTS", "Written", "write"]}
)
