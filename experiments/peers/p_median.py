"""One point of the frontier by HiGHS, the best open solver of integer programs.

M models, X texts, K losses that differ of one text.

The best subset for one budget B is a p-median problem with a knapsack row. Its
best compact formulation sorts the K losses D_x1 < ... < D_xK of each text;
z_xk says that no model of the subset has a loss of D_xk or less on it:

    min  sum_x D_x1 + sum_x sum_k (D_x,k+1 - D_xk) z_xk
    s.t. z_xk + sum over j with L_jx = D_xk of y_j >= z_x,k-1
         z_x0 = 1, z_xK = 0
         sum_j P_j y_j <= B
         y binary, 0 <= z <= 1

Its relaxation is that of the formulation with X M assignments, at three numbers
a row. Two reductions leave the optimum in place: models beyond the budget are
out, and so is every level k that no subset as good as one known can need: the
models with a loss above D_xk, all of them together, do not reach its loss sum.

Source: Elloumi, A tighter formulation of the p-median problem, Journal of
Combinatorial Optimization 2010; Duran-Mateluna, Ales and Elloumi, EJOR 2023.
"""

import time
from typing import NamedTuple

import numpy as np
from scipy import optimize, sparse

from mmc_jax.frontier import proof

# One unit of the objective in the unit of the losses: HiGHS ends at a gap of
# 1e-6 of it, and warns of coefficients below that.
_LOSS_UNIT = 1e-3

# One unit of the knapsack row in whole cost units: rows may be exceeded by
# 1e-6, which is then less than one whole unit.
_COST_UNIT = 1e5

_STOPPED = 1  # SciPy's status for a time limit.


class Solved(NamedTuple):
    """What HiGHS says of one budget.

    Attributes:
      mask: Models of the subset, bool [M]; none where none was found in time.
      cost: Cost of the subset, in integer units.
      loss_sum: Exact loss sum of the subset, in integer units.
      is_optimal: Whether HiGHS takes it for the optimum; else time was up.
      gap: Relative gap that HiGHS leaves.
      seconds: Time in HiGHS and in setting up its program.
      num_variables: Number of variables of the integer program.
      num_nodes: Number of nodes of HiGHS's tree.
    """

    mask: np.ndarray
    cost: int
    loss_sum: int
    is_optimal: bool
    gap: float
    seconds: float
    num_variables: int
    num_nodes: int


def solved(
    pool: proof.IntegerPool,
    budget: int,
    known_sum: int | None = None,
    time_limit: float = np.inf,
) -> Solved:
    """Returns the subset of the least loss that costs no more than the budget.

    HiGHS works on sums over texts, in thousandths of the losses' unit, and ends
    at a gap of 1e-6 of that; the subset's own sum and cost are then computed in
    whole numbers.

    Args:
      pool: Losses and costs as integers.
      budget: Largest cost of the subset, in integer units.
      known_sum: The loss sum, in integer units, of a subset within the budget;
        what cannot be as good is left out.
      time_limit: Seconds that HiGHS may take.

    Raises:
      ValueError: no model is within the budget; HiGHS fails.
    """
    started = time.perf_counter()
    models = np.flatnonzero(pool.costs <= budget)
    if not len(models):
        raise ValueError(
            f"budget is {budget}; the cheapest model costs {pool.costs.min()}."
        )
    values = pool.values[models].astype(np.int64)
    program = _program(
        values, pool.costs[models], pool.scale, budget, known_sum
    )
    result = optimize.milp(
        **program,
        options={"mip_rel_gap": 0.0, "time_limit": time_limit},
    )
    seconds = time.perf_counter() - started
    if result.status not in (0, _STOPPED):
        raise ValueError(f"HiGHS failed: {result.message}")
    mask = np.zeros(len(pool.costs), bool)
    if result.x is not None:
        mask[models] = result.x[: len(models)] > 0.5
    table = pool.values[mask].astype(np.int64)
    return Solved(
        mask,
        int(pool.costs[mask].sum()),
        int(table.min(axis=0).sum()) if mask.any() else np.iinfo(np.int64).max,
        result.status == 0,
        np.inf if result.x is None else float(result.mip_gap),
        seconds,
        len(program["c"]),
        int(result.mip_node_count or 0),
    )


def _program(values, costs, scale, budget, known_sum):
    """Returns SciPy's arguments for the program: y, then z by text and level.

    Args:
      values: Losses of the models within the budget, int64 [M, X].
      costs: Costs of these models, int64 [M].
      scale: One unit of a value in the unit of the losses.
      budget: Largest cost of the subset, in the unit of the costs.
      known_sum: Loss sum of a subset within the budget; None if unknown.
    """
    num_models, num_texts = values.shape
    order = np.argsort(values, axis=0, kind="stable").T
    in_order = np.take_along_axis(values.T, order, axis=1)
    rises = np.diff(in_order, axis=1) > 0
    if known_sum is not None:
        for x in range(num_texts):
            # At place i: the models from i + 1 on, all together.
            rest = values[order[x, :0:-1]]
            sums = np.minimum.accumulate(rest, axis=0).sum(axis=1)[::-1]
            rises[x] &= sums <= known_sum
    # Level k ends where z_xk begins to count; what is above the last level
    # that is needed has a z of 0.
    level = np.cumsum(rises, axis=1)
    level = np.concatenate([np.zeros((num_texts, 1), int), level], axis=1)
    num_z = rises.sum(axis=1)
    last = np.argmax(level == num_z[:, None], axis=1)
    in_last = in_order == np.take_along_axis(in_order, last[:, None], axis=1)
    counts = (level < num_z[:, None]) | in_last
    # Of each text a row for each z, and one for the 0 after them.
    first_z = num_models + np.cumsum(num_z) - num_z
    first_row = np.cumsum(num_z + 1) - (num_z + 1)
    text, place = np.nonzero(counts)
    of_z = np.repeat(np.arange(num_texts), num_z)
    z = num_models + np.arange(len(of_z))
    row = first_row[of_z] + z - first_z[of_z]
    rows = [first_row[text] + level[text, place], row, row + 1]
    columns = [order[text, place], z, z]
    entries = [np.ones(len(text)), np.ones(len(z)), -np.ones(len(z))]
    at_least = np.zeros(int(num_z.sum()) + num_texts)
    at_least[first_row] = 1
    num_variables = num_models + len(z)
    chain = sparse.csr_array(
        (
            np.concatenate(entries),
            (np.concatenate(rows), np.concatenate(columns)),
        ),
        shape=(len(at_least), num_variables),
    )
    knapsack = np.zeros((1, num_variables))
    knapsack[0, :num_models] = costs / _COST_UNIT
    increments = np.diff(in_order, axis=1)[rises]
    return {
        "c": np.concatenate(
            [np.zeros(num_models), increments * (scale / _LOSS_UNIT)]
        ),
        "integrality": np.arange(num_variables) < num_models,
        "bounds": optimize.Bounds(0, 1),
        "constraints": [
            optimize.LinearConstraint(chain, at_least, np.inf),
            optimize.LinearConstraint(knapsack, -np.inf, budget / _COST_UNIT),
        ],
    }
