"""The kernels as users call them: contract and checks; a backend computes.

M models, X texts, S subsets.

Contract of the kernels, whatever the backend:

- float32 and float64 come in, the same dtype comes out. Without 64-bit mode
  (`jax.enable_x64(True)`) JAX turns float64 input into float32.
- uint32 (integers.py makes such tables) is summed exactly, in int64; that needs
  64-bit mode. Such tables take no weights: multiply the losses by them before
  the table is made.
- +inf is a loss like any other: that model cannot have that text. A text of
  weight 0 counts for nothing, even at +inf. The minimum over no models is +inf,
  in integers the largest uint32.
- NaN never wins or loses a minimum: it is refused where the arrays are known
  at the time of the call, and under `jit` or `vmap`, where they are not, it
  makes every sum NaN that it belongs to. So does a negative weight.
- A sum is off by at most 1e-6 of the sum of its terms' magnitudes in float32,
  and 2e-15 of it in float64, for any number of texts and any range of losses.
- A sum beyond the dtype is infinite. Where losses of both signs come close to
  its largest number (3.4e38 in float32), a sum may be infinite or NaN although
  the exact one is neither. Products of losses and weights must fit, too.
- Subnormal numbers (below 1.2e-38 in float32, 2.2e-308 in float64) may count 0.
- What a subset or a pair gets does not depend on what else is in the batch.

Which backend serves a call is said in backends.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from mmc_jax.oracle import backends, checks, sharded


def oracle_losses(
    losses: ArrayLike,
    masks: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    backend: str | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Returns the oracle loss of each subset, in the unit of the losses: [S].

    L(S) = sum_x w_x min_{i in S} L_ix / sum_x w_x

    Args:
      losses: Loss of model i on text x, [M, X]; M and X at least 1. The means
        of uint32 losses are float64.
      masks: Members of each subset, [S, M] booleans. A row without a model has
        the loss infinity, the minimum over nothing.
      weights: Weight of each text in the mean, [X], not negative, with a
        positive sum; 1 each if left out. Bootstrap counts are weights.
      backend: "cpu", "gpu", "tpu" or "xla"; chosen by the device if left out.
      mesh: Devices with an axis "subsets", an axis "texts" or both, over which
        the work is shared (sharded.py); one device if left out.

    Raises:
      ValueError: No models; no texts; a wrong shape or dtype; a loss that is
        NaN or -inf, with its row and column; a weight that is negative or not
        finite; weights that are all 0; weights of integers; integers outside
        64-bit mode; a backend that cannot serve. Values are checked where they
        are known (not under `jit` or `vmap`), shapes and dtypes always.

    Source: arXiv 2512.23340, eq. 4.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> masks = [[True, False], [True, True], [False, False]]
    >>> print(oracle_losses(losses, masks))
    [2.5 1.5 inf]
    """
    losses, masks, weights = checks.checked_subsets(losses, masks, weights)
    checks.check_mean(losses, weights)
    sums = _oracle_sums(losses, masks, weights, backend, mesh)
    if sums.dtype == jnp.int64:
        sums = jnp.where(masks.any(axis=1), sums.astype(jnp.float64), jnp.inf)
    if weights is None:
        total = losses.shape[1]
    else:
        # The loss sum of a model that loses 1 on every text.
        one = jnp.ones((1, losses.shape[1]), losses.dtype)
        total = _min_sum(one, one, weights, backend, mesh)[0, 0]
    # XLA multiplies by the reciprocal where it sees that all are divided by one
    # number, a rounding more than a division: the barrier hides it.
    return sums / jax.lax.optimization_barrier(jnp.full_like(sums, total))


def oracle_sums(
    losses: ArrayLike,
    masks: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    backend: str | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Returns the loss sum of each subset, exact for integers: [S].

    sum_x w_x min_{i in S} L_ix

    A sum, not a mean: no texts give 0.

    Args:
      losses: Loss of model i on text x, [M, X]; M at least 1.
      masks: Members of each subset, [S, M] booleans. A row without a model has
        the sum infinity, or X times the largest uint32.
      weights: Weight of each text, [X], not negative; 1 each if left out.
      backend: "cpu", "gpu", "tpu" or "xla"; chosen by the device if left out.
      mesh: Devices with an axis "subsets", an axis "texts" or both; one device
        if left out.

    Raises:
      ValueError: The same arguments that `oracle_losses` refuses, except no
        texts and weights that are all 0.

    >>> losses = np.array([[1, 4], [3, 2]], np.uint32)
    >>> with jax.enable_x64(True):
    ...     print(oracle_sums(losses, [[True, False], [True, True]]))
    [5 3]
    """
    losses, masks, weights = checks.checked_subsets(losses, masks, weights)
    return _oracle_sums(losses, masks, weights, backend, mesh)


def min_sum(
    values: ArrayLike,
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    backend: str | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Returns the loss sum of each row of values joined by each model: [S, M].

    out_sm = sum_x w_x min(V_sx, L_mx)

    With the text-by-text minima of S subsets as values it extends all of them
    by every model at once. With one row of +inf it sums the single models. It
    is a matrix product with (min, +) in place of (x, +). A sum, not a mean: no
    texts give 0.

    Args:
      values: Loss of each row on each text, [S, X], in the dtype of the losses.
      losses: Loss of model i on text x, [M, X]; M at least 1.
      weights: Weight of each text, [X], not negative; 1 each if left out.
      backend: "cpu", "gpu", "tpu" or "xla"; chosen by the device if left out.
      mesh: Devices with an axis "subsets", an axis "texts" or both; one device
        if left out.

    Raises:
      ValueError: The same arguments that `oracle_sums` refuses; values that
        have other texts or another dtype than the losses; NaN or -inf among
        them, with its row and column.

    >>> values = [[float("inf"), float("inf")], [1.0, 4.0]]
    >>> print(min_sum(values, [[1.0, 4.0], [3.0, 2.0]]))
    [[5. 5.]
     [5. 3.]]
    """
    given_losses = checks.checked_table("losses", losses, "model")
    given_values = checks.checked_table("values", values, "subset")
    losses, values = jnp.asarray(given_losses), jnp.asarray(given_values)
    if values.shape[1] != losses.shape[1]:
        raise ValueError(
            f"values has {values.shape[1]} texts (columns), losses has "
            f"{losses.shape[1]}."
        )
    if values.dtype != losses.dtype:
        raise ValueError(
            f"values has dtype {values.dtype}, losses has {losses.dtype}."
        )
    weights = checks.checked_weights(weights, losses)
    sums = _min_sum(values, losses, weights, backend, mesh)
    # A pass over the values would cost half the time of the kernel: NaN and
    # -inf are seen in the sums, and looked for only then.
    if not checks.is_known(sums) or not (np.asarray(sums) > -np.inf).all():
        checks.check_values("losses", given_losses, "model")
        checks.check_values("values", given_values, "subset")
    return sums


def union_sums(
    losses: ArrayLike,
    masks: ArrayLike,
    others: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    backend: str | None = None,
) -> jax.Array:
    """Returns the loss sum of each union of two subsets: [S, R].

    out_sr = sum_x w_x min_{i in S or R} L_ix

    Searches run on it. Subsets joined by the single models extend each by every
    model; the subsets of one half of a pool joined by those of the other are
    all subsets. `min_sum` of the subsets' minima gives the same, but on a CPU
    this kernel never writes them to memory.

    Args:
      losses: Loss of model i on text x, [M, X]; M at least 1.
      masks: Members of each subset, [S, M] booleans.
      others: Members of each other subset, [R, M] booleans; a row without a
        model leaves the subset as it is.
      weights: Weight of each text, [X], not negative; 1 each if left out.
      backend: "cpu", "gpu", "tpu" or "xla"; chosen by the device if left out.

    Raises:
      ValueError: The same arguments that `oracle_sums` refuses, of others as of
        masks.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> masks = [[True, False], [False, True]]
    >>> print(union_sums(losses, masks, [[False, False], [False, True]]))
    [[5. 3.]
     [5. 5.]]
    """
    losses, masks, weights = checks.checked_subsets(losses, masks, weights)
    others = checks.checked_masks("others", others, losses)
    return backends.union_sums(losses, masks, others, weights, backend)


def _oracle_sums(losses, masks, weights, backend, mesh):
    if mesh is None:
        return backends.oracle_sums(losses, masks, weights, backend)
    return sharded.oracle_sums(losses, masks, weights, backend, mesh)


def _min_sum(values, losses, weights, backend, mesh):
    if mesh is None:
        return backends.min_sum(values, losses, weights, backend)
    return sharded.min_sum(values, losses, weights, backend, mesh)
