"""What systems that exist reach of the oracle's frontier.

The oracle knows the losses. What is here does not: a mixture of all models of
a subset, which is guaranteed to come near the oracle, and systems that choose
one model for each text, which are not.
"""

from mmc_jax.lazy import attach

# The public names of each module.
_NAMES: dict[str, list[str]] = {}

__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
