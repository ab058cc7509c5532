"""Routers: from what is known of a text to the model that should run.

One file each. A router is a module with
  `fit(seen, losses, *, seed) -> {name: array}`: what it learns from texts whose
      losses are known, [M, X];
  `predict(fitted, seen) -> [M, X]`: the loss that it expects of each model on
      new texts;
  `NEEDS`: the fields of `Seen` that it reads.
A new one is one file and one line of ROUTERS.

Each chooses how much to trust what it sees by texts that it was not fitted on,
and trusts nothing, which is the best single model, unless that is better by two
standard errors (`selection`).

M models, X texts.
"""

from mmc_jax.realizable.routers import (
    best_per_domain,
    best_single,
    clusters,
    factorisation,
    nearest_neighbours,
    perceptron,
    prefix,
    random_choice,
    ridge,
)

ROUTERS = {
    "best_single": best_single,
    "random": random_choice,
    "best_per_domain": best_per_domain,
    "clusters": clusters,
    "nearest_neighbours": nearest_neighbours,
    "ridge": ridge,
    "mlp": perceptron,
    "factorisation": factorisation,
    "prefix": prefix,
}
