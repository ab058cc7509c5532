"""The kernels as users call them: contract and checks; a backend computes.

M models, X texts, S subsets.

Contract of both kernels, whatever the backend:

- float32 and float64 come in, the same dtype comes out. Without 64-bit mode
  (`jax.enable_x64(True)`) JAX turns float64 input into float32.
- +inf is a loss like any other: that model cannot have that text. A text of
  weight 0 counts for nothing, even at +inf.
- NaN never wins or loses a minimum: it is refused where the arrays are known
  at the time of the call, and under `jit` or `vmap`, where they are not, it
  makes every sum NaN that it belongs to. So does a negative weight.
- A sum is off by at most 1e-6 of the sum of its terms' magnitudes in float32,
  for any number of texts.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle import xla


def oracle_losses(
    losses: ArrayLike, masks: ArrayLike, weights: ArrayLike | None = None
) -> jax.Array:
    """Returns the oracle loss of each subset, in the unit of the losses: [S].

    L(S) = sum_x w_x min_{i in S} L_ix / sum_x w_x

    Args:
      losses: [M, X], the loss of model i on text x; M and X at least 1.
      masks: [S, M] of booleans, a row for each subset. A row without a model
        has the loss infinity, the minimum over nothing.
      weights: [X], not negative, with a positive sum; 1 for each text if left
        out. Bootstrap counts are weights.

    Raises:
      ValueError: no models; no texts; a wrong shape or dtype; a loss that is
        NaN or -inf, with its row and column; a weight that is negative or not
        finite; weights that are all 0. Values are checked where they are known
        (not under `jit` or `vmap`), shapes and dtypes always.

    Source: arXiv 2512.23340, eq. 4.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> masks = [[True, False], [True, True], [False, False]]
    >>> print(oracle_losses(losses, masks))
    [2.5 1.5 inf]
    """
    losses = _checked_table("losses", losses, "model")
    if losses.shape[1] == 0:
        raise ValueError("losses [M, X] has no texts: a mean needs one.")
    if not isinstance(masks, jax.Array):
        masks = np.asarray(masks)
    if masks.ndim != 2 or masks.shape[1] != losses.shape[0]:
        raise ValueError(
            f"masks has shape {masks.shape}; [S, {losses.shape[0]}] is needed, "
            "a column for each row of losses."
        )
    if masks.dtype != bool:
        raise ValueError(f"masks has dtype {masks.dtype}; bool is needed.")
    weights = _checked_weights(weights, losses)
    if _is_known(weights) and not np.asarray(weights).any():
        raise ValueError("weights are all 0: their mean is undefined.")
    sums = xla.oracle_sums(losses, jnp.asarray(masks), weights)
    if weights is None:
        total = jnp.asarray(losses.shape[1], losses.dtype)
    else:
        # The loss sum of a model that loses 1 on every text.
        one = jnp.ones((1, losses.shape[1]), losses.dtype)
        total = xla.min_sum(one, one, weights)[0, 0]
    # XLA multiplies by the reciprocal where it sees that all are divided by one
    # number, a rounding more than a division: the barrier hides it.
    return sums / jax.lax.optimization_barrier(jnp.full_like(sums, total))


def min_sum(
    values: ArrayLike, losses: ArrayLike, weights: ArrayLike | None = None
) -> jax.Array:
    """Returns the loss sum of each row of values joined by each model: [S, M].

    out_sm = sum_x w_x min(V_sx, L_mx)

    With the text-by-text minima of S subsets as values it extends all of them
    by every model at once; with one row of +inf it sums the single models. It
    is a matrix product with (min, +) in place of (x, +). A sum, not a mean: no
    texts give 0.

    Args:
      values: [S, X], in the dtype of the losses.
      losses: [M, X], M at least 1.
      weights: [X], not negative; 1 for each text if left out.

    Raises:
      ValueError: as `oracle_losses` does, for values as for losses.

    >>> values = [[float("inf"), float("inf")], [1.0, 4.0]]
    >>> print(min_sum(values, [[1.0, 4.0], [3.0, 2.0]]))
    [[5. 5.]
     [5. 3.]]
    """
    losses = _checked_table("losses", losses, "model")
    values = _checked_table("values", values, "subset")
    if values.shape[1] != losses.shape[1]:
        raise ValueError(
            f"values has {values.shape[1]} texts (columns), losses has "
            f"{losses.shape[1]}."
        )
    if values.dtype != losses.dtype:
        raise ValueError(
            f"values has dtype {values.dtype}, losses has {losses.dtype}."
        )
    return xla.min_sum(values, losses, _checked_weights(weights, losses))


def _is_known(array: ArrayLike | None) -> bool:
    return array is not None and not isinstance(array, jax.core.Tracer)


def _checked_table(name: str, table: ArrayLike, row: str) -> jax.Array:
    """Returns the table [rows, X]; what a row is (a model) goes into errors."""
    if not isinstance(table, jax.Array):
        table = np.asarray(table)
    if table.ndim != 2:
        raise ValueError(
            f"{name} has shape {table.shape}; a row for each {row} and a "
            "column for each text is needed."
        )
    if row == "model" and table.shape[0] == 0:
        raise ValueError(f"{name} [M, X] has no models.")
    if table.dtype not in (np.float32, np.float64):
        # Whole numbers are left free for kernels that are exact on them.
        raise ValueError(
            f"{name} has dtype {table.dtype}; float32 or float64 is needed."
        )
    if _is_known(table) and table.size:
        host = np.asarray(table)
        least = host.min()  # One pass without a copy; NaN wins it.
        if not least > -np.inf:
            bad = np.isnan(host) if np.isnan(least) else host == least
            i, x = np.argwhere(bad)[0]
            raise ValueError(
                f"{name}[{i}, {x}] ({row} {i}, text {x}) is {host[i, x]}."
            )
    return jnp.asarray(table)


def _checked_weights(
    weights: ArrayLike | None, losses: jax.Array
) -> jax.Array | None:
    """Returns the weights [X] in the dtype of the losses."""
    if weights is None:
        return None
    if not isinstance(weights, jax.Array):
        weights = np.asarray(weights)
    if weights.shape != losses.shape[1:]:
        raise ValueError(
            f"weights has shape {weights.shape}; {losses.shape[1:]} is needed, "
            "one for each text."
        )
    if _is_known(weights):
        host = np.asarray(weights)
        bad = ~((host >= 0) & (host < np.inf))
        if bad.any():
            x = int(bad.argmax())
            raise ValueError(
                f"weights[{x}] is {host[x]}; finite and not negative is needed."
            )
    return jnp.asarray(weights).astype(losses.dtype)
