"""What diversity buys: how models of a pool complement each other."""

from mmc_jax.diversity.gains import (
    Bonus,
    bonus,
    equal_cost_gains,
    pair_bonus,
    pair_gains,
    pair_gains_per_cost,
)

__all__ = [
    "Bonus",
    "bonus",
    "equal_cost_gains",
    "pair_bonus",
    "pair_gains",
    "pair_gains_per_cost",
]
