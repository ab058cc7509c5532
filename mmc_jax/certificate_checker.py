"""Verifies the certificate of a frontier, by other code than what made it.

M models, X texts, F points, B segments of a window.

Plain NumPy in 64-bit whole numbers; nothing of the search is imported. What is
claimed, and how a node of a tree is bounded, is written here once more:

For any v [X] and any subset S that holds the models F1 and else only models of
a set R, with v_x <= min_{i in F1} L_ix,

    sum_x min_{i in S} L_ix >= sum_x v_x - sum_{j in S, not in F1} rho_j,
    rho_j = sum_x max(v_x - L_jx, 0),

and the last sum is at most the knapsack of the rho of R under what F1 leaves of
the budget, even if the last model is bought in part.
"""

import os
from typing import NamedTuple

import numpy as np

LEAF, ONLY = -1, -2

_FIELDS = {
    "scale": "f",
    "cost_scale": "f",
    "costs": "i",
    "loss_sums": "i",
    "masks": "b",
    "bounds": "i",
    "windows": "i",
    "segment_budgets": "i",
    "segment_sums": "i",
    "segment_starts": "i",
    "thresholds": "u",
    "trees": "i",
    "tree_starts": "i",
}

_LARGEST = 2**32 - 1
_NUM_STEPS = 4096

# Units that roundings of a knapsack in float64 may hide: two of its last part,
# and a share of all profits for models in a wrong order (ratios are rounded to
# 2^-52 of themselves).
_ALLOWANCE = 2
_ORDER_BITS = 50


class CertificateError(ValueError):
    """The certificate does not prove what it claims; the text says where."""


class Verdict(NamedTuple):
    """What was verified.

    Attributes:
      costs: [F] float64, of each point.
      losses: [F] float64, its oracle loss.
      bounds: [F] float64: no subset that costs less than the next point has an
        oracle loss below; the rounding to whole numbers is allowed for.
      proven: [F] bool: no subset has a smaller loss in whole numbers.
      num_nodes: Nodes of the trees.
    """

    costs: np.ndarray
    losses: np.ndarray
    bounds: np.ndarray
    proven: np.ndarray
    num_nodes: int

    @property
    def largest_gap(self) -> float:
        """How far below a point a better subset may lie; 0 if none may."""
        return np.where(self.proven, 0.0, self.losses - self.bounds).max()


def check(
    path: str | os.PathLike[str],
    losses: np.ndarray,
    costs: np.ndarray,
    weights: np.ndarray | None = None,
) -> Verdict:
    """Returns what the certificate proves of these losses and costs.

    Args:
      path: The certificate's file.
      losses: [M, X] float64, as the search was given them.
      costs: [M] float64, likewise.
      weights: [X] float64, likewise; 1 for each text if left out.

    Raises:
      CertificateError: something in it is not so, with the place.
      OSError: the file cannot be read.
    """
    claims = _read(path)
    losses = np.asarray(losses, np.float64)
    if weights is not None:
        losses = losses * np.asarray(weights, np.float64)
    num_models, num_texts = losses.shape
    table, offsets, error = _whole_losses(losses, claims["scale"])
    whole_costs = np.rint(np.asarray(costs, float) * claims["cost_scale"])
    whole_costs = whole_costs.astype(np.int64)
    _require(
        whole_costs.shape == (num_models,) and (whole_costs >= 0).all(),
        f"costs are not those of {num_models} models",
    )
    ends = _check_points(claims, table, whole_costs)
    num_windows = len(claims["tree_starts"]) - 1
    _check_parts("segment", claims["segment_budgets"], claims, num_windows)
    _check_parts("tree", claims["trees"], claims, num_windows)
    _require(
        len(claims["segment_sums"]) == len(claims["segment_budgets"]),
        "segment_sums and segment_budgets differ in length",
    )
    _require(
        claims["thresholds"].shape == (num_windows, num_texts),
        f"thresholds are not [{num_windows}, {num_texts}]",
    )
    for w in range(num_windows):
        inside = slice(*claims["segment_starts"][w : w + 2])
        budgets = claims["segment_budgets"][inside]
        sums = claims["segment_sums"][inside]
        _require(
            len(budgets) > 0 and (np.diff(budgets) > 0).all(),
            f"window {w}: its budgets do not rise",
        )
        tree = claims["trees"][slice(*claims["tree_starts"][w : w + 2])]
        _check_tree(
            w,
            tree,
            table,
            whole_costs,
            claims["thresholds"][w].astype(np.int64),
            budgets,
            sums,
        )
        for k in np.flatnonzero(claims["windows"] == w):
            covering = np.searchsorted(budgets, ends[k])
            _require(
                covering < len(budgets)
                and claims["bounds"][k] <= sums[covering],
                f"point {k}: window {w} does not prove its bound",
            )
    total = float(num_texts if weights is None else np.sum(weights))
    scale, base = claims["scale"], int(offsets.sum())
    means = scale * ((claims["loss_sums"] + base) / total)
    bounds = scale * ((claims["bounds"] + base) / total) - error / total
    return Verdict(
        claims["costs"] / claims["cost_scale"],
        means,
        bounds,
        claims["bounds"] == claims["loss_sums"],
        len(claims["trees"]),
    )


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise CertificateError(complaint)


def _read(path) -> dict:
    try:
        # NumPy leaves a file that it opened itself open where it is damaged.
        with (
            open(path, "rb") as stream,
            np.load(stream, allow_pickle=False) as file,
        ):
            claims = {name: file[name] for name in file.files}
    except OSError:
        raise
    # What NumPy, zipfile and zlib raise of a damaged file has no common kind.
    except Exception as error:
        raise CertificateError(f"{path} cannot be read: {error}") from error
    _require(
        claims.keys() == _FIELDS.keys(),
        f"{path} is no certificate: it has the fields {sorted(claims)}",
    )
    for name, kind in _FIELDS.items():
        _require(
            claims[name].dtype.kind == kind,
            f"{name} has dtype {claims[name].dtype}",
        )
        if kind == "i":
            claims[name] = claims[name].astype(np.int64)
    scale = float(claims["scale"])
    _require(
        0 < scale < np.inf and np.frexp(scale)[0] == 0.5,
        f"scale is {scale}, no power of two",
    )
    _require(
        0 < float(claims["cost_scale"]) < np.inf, "cost_scale is not positive"
    )
    return {**claims, "scale": scale, "cost_scale": float(claims["cost_scale"])}


def _whole_losses(losses, scale):
    """Returns values [M, X] and offsets [X] in units, and the error in all."""
    units = losses / scale  # Exact: the scale is a power of two.
    _require(
        bool((np.abs(units) < 2**53).all()),
        "the losses cannot be told apart on the certificate's scale: it is of "
        "other losses",
    )
    codes = np.floor(units)
    codes += units - codes >= 0.5
    offsets = np.floor(units.min(axis=0))
    error = scale * np.abs(units - codes).max(axis=0).sum()
    values = (codes - offsets).astype(np.int64)
    _require(
        int(values.max(axis=0).sum()) < 2**52,
        "the losses are too many for exact sums on the certificate's scale: it "
        "is of other losses",
    )
    return values, offsets.astype(np.int64), float(error)


def _check_points(claims, table, costs):
    """Returns the largest budget of each point, once the points are right."""
    masks, sums = claims["masks"], claims["loss_sums"]
    num_points = len(claims["costs"])
    _require(
        num_points > 0 and masks.shape == (num_points, len(costs)),
        f"masks are not [{num_points}, {len(costs)}]: the certificate is of "
        "another pool",
    )
    for name in ("loss_sums", "bounds", "windows"):
        _require(
            claims[name].shape == (num_points,), f"{name} is not [{num_points}]"
        )
    for k, mask in enumerate(masks):
        _require(mask.any(), f"point {k} has no models")
        _require(
            claims["costs"][k] == costs[mask].sum(),
            f"point {k}: its models cost {costs[mask].sum()}, not "
            f"{claims['costs'][k]}",
        )
        loss = table[mask].min(axis=0).sum()
        _require(
            sums[k] == loss,
            f"point {k}: the loss sum of its models is {loss}, not {sums[k]}",
        )
        _require(
            claims["bounds"][k] <= loss,
            f"point {k}: its bound is above its loss",
        )
        _require(
            0 <= claims["windows"][k] < len(claims["tree_starts"]) - 1,
            f"point {k}: there is no window {claims['windows'][k]}",
        )
    _require(
        (np.diff(claims["costs"]) > 0).all() and (np.diff(sums) < 0).all(),
        "the costs of the points do not rise, or their losses do not fall",
    )
    _require(
        claims["costs"][0] == costs.min(),
        "the first point is not of the least cost that a model has",
    )
    return np.append(claims["costs"][1:] - 1, costs.sum())


def _check_parts(name, whole, claims, num_windows):
    starts = claims[f"{name}_starts"]
    _require(
        starts.shape == (num_windows + 1,)
        and starts[0] == 0
        and starts[-1] == len(whole)
        and bool((np.diff(starts) > 0).all()),
        f"{name}_starts do not part what they should",
    )


def _check_tree(w, tree, table, costs, thresholds, budgets, goals):
    """Raises unless every leaf's way closes every segment.

    Nodes come in the tree's own order, each with (chosen, free, open) of its
    place, or None where nothing is left to prove.
    """
    num_models = len(costs)
    everything = np.ones(num_models, bool)
    stack = [(~everything, everything, np.ones(len(budgets), bool))]
    for place, code in enumerate(tree):
        where = f"window {w}, node {place} of its tree"
        _require(bool(stack), f"{where}: it belongs to no branch")
        _require(ONLY <= code < num_models, f"{where}: {code} is no model")
        node = stack.pop()
        if node is not None:
            node = _bounded(
                *node, table, costs, thresholds, budgets, goals, place == 0
            )
        if code == LEAF:
            if node is not None:
                segment = int(node[2].argmax())
                raise CertificateError(
                    f"{where}: a leaf does not reach {goals[segment]} within "
                    f"the budget {budgets[segment]}"
                )
        elif code == ONLY:
            stack.append(node)
        elif node is None:
            stack += [None, None]
        else:
            stack += _children(node, code)
    _require(not stack, f"window {w}: branches of its tree are missing")


def _children(node, model):
    """Returns the nodes without and with the model: the last is next."""
    chosen, free, is_open = node
    rest = free.copy()
    rest[model] = False
    joined = chosen.copy()
    joined[model] = True
    # Where the model is decided already, one of them stands for nothing.
    without = None if chosen[model] else (chosen, rest, is_open)
    taken = (joined, rest, is_open) if chosen[model] or free[model] else None
    return [without, taken]


def _bounded(
    chosen, free, is_open, table, costs, thresholds, budgets, goals, is_root
):
    """Returns the node as its bound leaves it; None if that closes all."""
    left = budgets - costs[chosen].sum()
    is_open = is_open & (left >= 0)
    if not is_open.any():
        return None
    fits = free & (costs <= left[is_open].max())
    # No other model is better than v below what the fitting ones reach.
    v = thresholds
    if fits.any():
        v = np.maximum(v, table[fits].min(axis=0))
    else:
        v = np.full_like(v, _LARGEST)
    if chosen.any():
        v = np.minimum(v, table[chosen].min(axis=0))
    rho = np.zeros(len(costs), np.int64)
    rho[fits] = np.maximum(v - table[fits], 0).sum(axis=1)
    most, prices = _knapsack(rho[fits], costs[fits], left)
    bounds = v.sum() - most
    gaps = goals - bounds
    if is_root:
        whole = _whole_knapsack(rho[fits], costs[fits], budgets)
        bounds = np.maximum(bounds, v.sum() - whole)
    is_open = is_open & (bounds < goals)
    if not is_open.any():
        return None
    # Reduced costs: a model that would cost more than the gap at every open
    # budget is out, one without which that much were lost is in.
    prices, gaps = prices[is_open, None], gaps[is_open, None]
    slack = 4 * _ALLOWANCE + 2.0**-_ORDER_BITS * (prices.max() * costs + rho)
    out = (prices * costs - gaps).min(axis=0) - rho >= slack
    need = (-prices * costs - gaps).min(axis=0) + rho >= slack
    return chosen | (need & fits), fits & ~out & ~need, is_open


def _knapsack(profits, costs, budgets):
    """Returns what each budget can gain at most, and the price of more: [B]."""
    gains = profits > 0
    profits, costs = profits[gains], costs[gains]
    ratios = profits / np.maximum(costs, 1e-9)
    order = np.argsort(-ratios, kind="stable")
    profits, costs, ratios = profits[order], costs[order], ratios[order]
    gained = np.concatenate([[0], np.cumsum(profits)])
    spent = np.concatenate([[0], np.cumsum(costs)])
    num_whole = np.searchsorted(spent[1:], budgets, side="right")
    most = gained[num_whole]
    prices = np.zeros(len(budgets))
    for b in np.flatnonzero((num_whole < len(profits)) & (budgets >= 0)):
        profit, cost = int(profits[num_whole[b]]), int(costs[num_whole[b]])
        # Python's whole numbers: the product may have more than 64 bits.
        part = -(-profit * int(budgets[b] - spent[num_whole[b]]) // cost)
        most[b] += part + (int(gained[-1]) >> _ORDER_BITS)
        prices[b] = ratios[num_whole[b]]
    return most, prices


def _whole_knapsack(profits, costs, budgets):
    """Returns what each budget can gain at most by whole models: [B]."""
    step = max(1, -(-int(budgets.max()) // _NUM_STEPS))
    most = np.zeros(int(budgets.max()) // step + 1, np.int64)
    for profit, cost in zip(profits, costs // step, strict=True):
        if cost < len(most):
            most[cost:] = np.maximum(
                most[cost:], most[: len(most) - cost] + profit
            )
    return most[budgets // step]
