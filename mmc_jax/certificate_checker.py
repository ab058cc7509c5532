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

Nothing that the file states is taken on trust. Losses and costs are rounded to
the file's units here, and what that rounding may hide is computed from the
losses and costs themselves; units that are coarser than these need are refused.

All of it is one file, longer than others, so that it can be read and run alone.
"""

import math
import os
import zipfile
from fractions import Fraction
from typing import NamedTuple

import numpy as np

LEAF, ONLY = -1, -2

# The kind of each field's numbers, as NumPy names it, and how many axes it has.
_FIELDS = {
    "scale": "f0",
    "cost_scale": "f0",
    "costs": "i1",
    "loss_sums": "i1",
    "masks": "b2",
    "bounds": "i1",
    "windows": "i1",
    "segment_budgets": "i1",
    "segment_sums": "i1",
    "segment_starts": "i1",
    "thresholds": "u2",
    "trees": "i1",
    "tree_starts": "i1",
}

# Fields of certificates whose costs need more than 52 bits.
_LOW_FIELDS = {"low_bits": "i0", "costs_low": "i1", "segment_budgets_low": "i1"}

_LARGEST = 2**32 - 1
_NUM_STEPS = 4096

# Sums of whole losses are below: float64 holds them, with room for a bound's.
_MOST_SUM = 2**52

# Beyond, numbers of units could overflow.
_MOST_EXPONENT = 1000

# A certificate that unpacks to more is refused, as experiments/LIMITS.md says.
_MOST_BYTES = 2**34

# Units must be so fine: bits of the widest spread of a text, and bits of the
# sum of all costs where these are no whole multiples.
_LOSS_BITS, _COST_BITS = 30, 38

# Where single losses are far larger than all others, units are fine enough for
# the others: for all but this share of the losses, or for this share of the way
# from the first point to the last one.
_MOST_CUT, _LINE_BITS = 0.01, 6

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
      costs: Cost of each point, [F] float64.
      losses: Oracle loss of each point, [F] float64, computed from the losses
        themselves.
      bounds: Lower bound of oracle losses, [F] float64: no subset that costs
        less than the next point, by more than `cost_resolution`, has an oracle
        loss below it. The rounding to whole numbers is allowed for.
      proven: Whether no such subset is better than the point by more than twice
        `resolution` (or the last bit of float64), [F] bool.
      num_nodes: Number of nodes of the trees.
      resolution: Largest amount by which rounding moves an oracle loss, in the
        unit of the losses; 0 where whole numbers are exact.
      cost_resolution: Costs that differ by no more may count as equal, in the
        unit of the costs; 0 where whole numbers are exact.
    """

    costs: np.ndarray
    losses: np.ndarray
    bounds: np.ndarray
    proven: np.ndarray
    num_nodes: int
    resolution: float = 0.0
    cost_resolution: float = 0.0

    @property
    def largest_gap(self) -> float:
        """How far below a point a better subset may lie; 0 if none may."""
        return np.where(self.proven, 0.0, self.losses - self.bounds).max()


class _Losses(NamedTuple):
    """Losses in whole numbers.

    Attributes:
      table: Weighted losses less offsets, cut to 2^32 - 1, [M, X] int64.
      losses: The losses themselves, [M, X] float64.
      weights: Weight of each text, [X] float64; None for 1 each.
      base: Sum of the offsets.
      total: Exact sum of the weights.
      scale: Loss that one integer unit stands for.
      error: Bound of what rounding moves an oracle loss by; cut losses are not
        counted.
    """

    table: np.ndarray
    losses: np.ndarray
    weights: np.ndarray | None
    base: int
    total: Fraction
    scale: Fraction
    error: Fraction


class _Costs(NamedTuple):
    """Costs in whole numbers.

    Attributes:
      exact: Cost of each model, M whole numbers: an array [M] of int64, or of
        Python's whole numbers where these are larger.
      high: Costs without their low bits, rounded down, [M] int64.
      low_bits: Number of low bits.
      scale: Units in 1 of the cost's own unit.
      resolution: Costs that differ by no more may count as equal.
    """

    exact: np.ndarray
    high: np.ndarray
    low_bits: int
    scale: Fraction
    resolution: Fraction


def check(
    path: str | os.PathLike[str],
    losses: np.ndarray,
    costs: np.ndarray,
    weights: np.ndarray | None = None,
) -> Verdict:
    """Returns what the certificate proves of these losses and costs.

    Args:
      path: File of the certificate.
      losses: Loss of each text under each model, [M, X] float64, as the search
        was given them.
      costs: Cost of each model, [M] float64, likewise.
      weights: Weight of each text, [X] float64, likewise; 1 for each text if
        left out.

    Raises:
      CertificateError: something in it is not so, with file and place; its
        units are too coarse for these losses or costs.
      ValueError: losses, costs or weights that are not finite, or negative
        where they must not be.
      OSError: the file cannot be read.
    """
    try:
        return _checked_claims(path, losses, costs, weights)
    except CertificateError as error:
        raise CertificateError(f"{os.fspath(path)}: {error}") from error


def _checked_claims(path, losses, costs, weights) -> Verdict:
    """Returns what the certificate proves; errors name the place alone."""
    claims = _read(path)
    table = _integer_losses(*_checked(losses, costs, weights), claims["scale"])
    num_texts = table.table.shape[1]
    priced = _integer_costs(
        np.asarray(costs, np.float64), claims["cost_scale"], claims["low_bits"]
    )
    ends = _check_points(claims, table.table, priced)
    num_windows = len(claims["tree_starts"]) - 1
    _check_starts("segment", claims["segment_budgets"], claims, num_windows)
    _check_starts("tree", claims["trees"], claims, num_windows)
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
            len(budgets) > 0 and bool((budgets[1:] > budgets[:-1]).all()),
            f"window {w}: its budgets do not rise",
        )
        tree = claims["trees"][slice(*claims["tree_starts"][w : w + 2])]
        thresholds = claims["thresholds"][w].astype(np.int64)
        _check_tree(w, tree, table.table, priced, thresholds, budgets, sums)
        for k in np.flatnonzero(claims["windows"] == w):
            covering = np.searchsorted(budgets, ends[k])
            _require(
                covering < len(budgets)
                and claims["bounds"][k] <= sums[covering],
                f"point {k}: window {w} does not prove its bound",
            )
    return _verdict(claims, table, priced)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise CertificateError(complaint)


def _checked(losses, costs, weights):
    """Returns losses, costs and weights in float64, once all are numbers."""
    losses, costs = (np.asarray(a, np.float64) for a in (losses, costs))
    if losses.ndim != 2 or 0 in losses.shape or costs.shape != losses.shape[:1]:
        raise ValueError(
            f"losses {losses.shape} and costs {costs.shape} must be [M, X] and "
            "[M], of a model and a text at least."
        )
    if not np.isfinite(losses).all():
        raise ValueError("losses are not all finite.")
    if not ((costs >= 0) & (costs < np.inf)).all():
        raise ValueError("costs are not all finite and not negative.")
    if weights is None:
        return losses, costs, None
    weights = np.asarray(weights, np.float64)
    if (
        weights.shape != losses.shape[1:]
        or not ((weights >= 0) & (weights < np.inf)).all()
        or not weights.any()
    ):
        raise ValueError(
            f"weights {weights.shape} must be [{losses.shape[1]}], finite, not "
            "negative and not all 0."
        )
    return losses, costs, weights


def _read(path) -> dict:
    """Returns the file's fields; whole numbers as int64, scales as numbers."""
    _check_unpacked(path)
    # NumPy leaves a file that it opened itself open where it is damaged.
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                claims = {name: file[name] for name in file.files}
        # What NumPy, zipfile and zlib raise of a damaged file has no common
        # kind, and may be an OSError without a name.
        except Exception as error:
            raise CertificateError(f"cannot be read: {error}") from error
    fields = {**_FIELDS, **_LOW_FIELDS} if "low_bits" in claims else _FIELDS
    _require(
        claims.keys() == fields.keys(),
        f"no certificate: it has the fields {sorted(claims)}",
    )
    for name, kind in fields.items():
        # A member of an archive that is no .npy file is read as bytes.
        dtype = getattr(claims[name], "dtype", None)
        _require(
            dtype is not None and dtype.kind == kind[0],
            f"{name} has dtype {dtype}",
        )
        _require(
            claims[name].ndim == int(kind[1]),
            f"{name} has the shape {claims[name].shape}",
        )
        if kind[0] == "i":
            claims[name] = claims[name].astype(np.int64)
            # So that nothing below overflows.
            _require(
                bool(
                    ((claims[name] < 2**62) & (claims[name] > -(2**62))).all()
                ),
                f"{name} holds numbers beyond 2^62",
            )
    masks = claims["masks"]
    _require(
        masks.dtype.itemsize == 1 and bool((masks.view(np.uint8) <= 1).all()),
        "masks hold bytes that are neither true nor false",
    )
    _require(
        bool((claims["thresholds"] <= _LARGEST).all()),
        "thresholds are beyond the largest loss",
    )
    _require(
        bool((np.abs(claims["segment_sums"]) <= 2 * _MOST_SUM).all()),
        "segment_sums are beyond the largest sum",
    )
    scale = float(claims["scale"])
    _require(
        0 < scale < np.inf and np.frexp(scale)[0] == 0.5,
        f"scale is {scale}, no power of two",
    )
    _require(
        0 < float(claims["cost_scale"]) < np.inf, "cost_scale is not positive"
    )
    low_bits = int(claims.get("low_bits", 0))
    _require(0 <= low_bits <= 60, f"low_bits is {low_bits}")
    for name in ("costs", "segment_budgets"):
        if low_bits:
            _require(
                claims[name].shape == claims[f"{name}_low"].shape,
                f"{name} and {name}_low differ in length",
            )
            claims[name] = (claims[name].astype(object) << low_bits) + claims[
                f"{name}_low"
            ].astype(object)
    return {
        **claims,
        "scale": scale,
        "cost_scale": float(claims["cost_scale"]),
        "low_bits": low_bits,
    }


def _check_unpacked(path) -> None:
    """Refuses a file of a few kilobytes that would unpack to any size."""
    # Of a pipe nothing may ever come.
    _require(not os.path.exists(path) or os.path.isfile(path), "is no file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # NumPy says more.
    _require(
        size <= _MOST_BYTES,
        f"unpacks to {size:,} bytes; at most {_MOST_BYTES:,} are read",
    )


def _integer_losses(losses, costs, weights, scale) -> _Losses:
    """Returns the losses in whole numbers, if the scale is fine enough."""
    if weights is None:
        weighted, rest = losses, np.zeros_like(losses)
        total = Fraction(losses.shape[1])
    else:
        with np.errstate(over="ignore"):
            weighted = losses * weights
        # A product is rounded to the nearest: half of the last bit.
        rest = np.abs(weighted) * 2.0**-53 + 2.0**-1074
        rest[(losses == 0) | (weights == 0)] = 0
        rest[:, weights == np.rint(weights)] = _rests_of_counts(losses, weights)
        total = _exact_sum(weights)
    size = float(np.abs(weighted).max())
    _require(size < 2.0**_MOST_EXPONENT, f"losses of {size:.3g} are too large")
    _require(
        math.frexp(size)[1] - math.frexp(scale)[1] < _MOST_EXPONENT,
        "scale is too fine for these losses: it is of other losses",
    )
    units = np.ldexp(weighted, 1 - math.frexp(scale)[1])
    offsets = np.floor(units.min(axis=0))
    codes = np.floor(units)
    codes += units - codes >= 0.5
    values = np.minimum(codes - offsets, _LARGEST)
    _require(
        int(values.max(axis=0).sum()) < _MOST_SUM,
        "the losses are too many for exact sums on the certificate's scale: it "
        "is of other losses",
    )
    # A loss that is cut is larger than its whole number; but its own rounding
    # may be the larger of the two.
    above = (units - offsets - values) * scale
    moved = np.where(
        codes - offsets > _LARGEST,
        np.maximum(2 * rest - above, 0),
        np.abs(units - codes) * scale + rest,
    )
    moved = float(moved.max(axis=0).sum())
    spread = weighted - weighted.min(axis=0)
    widest = float(spread.max())
    # Sums over many texts need coarser units.
    needed = scale / max(1.0, losses.shape[1] / 2**18)
    is_finest = needed <= size * 2.0 ** (4 - _MOST_EXPONENT)
    _require(
        moved == 0
        or is_finest
        or needed <= (widest or size) * 2.0**-_LOSS_BITS,
        f"scale is {scale:g}, too coarse for losses that differ by "
        f"{widest:g}: in such units nothing is proven",
    )
    _require(
        moved == 0 or is_finest or _is_fine(needed, spread, costs),
        f"scale is {scale:g}, fine enough for a few large losses and too "
        "coarse for all others: in such units nothing is proven",
    )
    return _Losses(
        values.astype(np.int64),
        losses,
        weights,
        sum(map(int, offsets.tolist())),
        total,
        Fraction(scale),
        # The sum is rounded itself.
        Fraction(moved) * (1 + Fraction(1, 2**20)) / total,
    )


def _is_fine(scale, spread, costs) -> bool:
    """Returns whether the scale does not serve a few large losses alone.

    All points lie between the cheapest model and the least loss of each text:
    losses that are hardly ever reached do not make that way longer.
    """
    num_kept = spread.size - 1 - max(1, int(_MOST_CUT * spread.size))
    if num_kept < 0:
        return True
    kept = float(np.partition(spread, num_kept, axis=None)[num_kept])
    if scale <= kept * 2.0**-_LOSS_BITS:
        return True
    line = np.minimum(spread[costs == costs.min()], kept).sum(axis=1).min()
    # Half a unit for each text.
    rounded = scale / 2 * spread.shape[1]
    # The way is 0 if the cheapest model is the best of every text.
    return bool(line == 0 or rounded <= line * 2.0**-_LINE_BITS)


def _rests_of_counts(losses, weights):
    """Returns what products with whole weights leave over, at most: [M, n]."""
    columns = np.flatnonzero(weights == np.rint(weights))
    some, counts = losses[:, columns], weights[columns]
    # Exact if both factors have few bits: then the product divides back.
    bits = 53 - np.where(counts > 0, np.frexp(counts)[1], 0)
    fraction, _ = np.frexp(some)
    is_short = np.ldexp(fraction, bits) == np.rint(np.ldexp(fraction, bits))
    bound = np.abs(some * counts) * 2.0**-53 + 2.0**-1074
    return np.where(is_short & (bits > 0), 0.0, bound)


def _exact_sum(values) -> Fraction:
    """Returns the exact sum of floats."""
    values = values.tolist()
    total = Fraction(0)
    while part := math.fsum(values):
        total += Fraction(part)
        values.append(-part)
    return total


def _exact_dot(values, weights) -> Fraction:
    """Returns the exact sum of values times weights (None for 1 each)."""
    if weights is None:
        return _exact_sum(values)
    sizes = np.abs(np.concatenate([values, weights]))
    sizes = sizes[sizes > 0]
    if sizes.size and not (2.0**-400 < sizes.min() <= sizes.max() < 2.0**400):
        pairs = zip(values.tolist(), weights.tolist(), strict=True)
        return sum(Fraction(a) * Fraction(b) for a, b in pairs)
    # Dekker: what the rounding of a product leaves is a float itself.
    products = values * weights
    (a, b), (c, d) = _halves(values), _halves(weights)
    rests = ((a * c - products) + a * d + b * c) + b * d
    return _exact_sum(products) + _exact_sum(rests)


def _halves(values):
    """Returns floats of half the bits whose sum the values are (Veltkamp)."""
    moved = values * (2.0**27 + 1)
    high = moved - (moved - values)
    return high, values - high


def _integer_costs(costs, scale, low_bits) -> _Costs:
    """Returns the costs in whole numbers, if the scale is fine enough."""
    scale = Fraction(scale)
    exact = [Fraction(cost) * scale for cost in costs.tolist()]
    whole = [round(cost) for cost in exact]
    moved = sum(abs(a - b) for a, b in zip(exact, whole, strict=True))
    total = sum(exact)
    _require(
        moved * 2**_COST_BITS <= total * len(whole),
        f"cost_scale is {float(scale):g}, too coarse for costs up to "
        f"{costs.max():g}: in such units nothing is proven",
    )
    _require(
        sum(whole) < 2 ** (60 + low_bits),
        "the costs are too large on the certificate's scale: it is of other "
        "costs",
    )
    # A subset within a budget may be off by the roundings of all models, and
    # the budget too.
    resolution = (2 * moved + 1) / scale if moved else Fraction(0)
    kind = object if low_bits else np.int64
    return _Costs(
        np.array(whole, kind),
        np.array([cost >> low_bits for cost in whole], np.int64),
        low_bits,
        scale,
        resolution,
    )


def _check_points(claims, table, costs):
    """Returns the largest budget of each point, once the points are right."""
    masks, sums = claims["masks"], claims["loss_sums"]
    num_points, num_models = len(claims["costs"]), len(costs.exact)
    _require(
        num_points > 0 and masks.shape == (num_points, num_models),
        f"masks are not [{num_points}, {num_models}]: the certificate is of "
        "another pool",
    )
    for name in ("loss_sums", "bounds", "windows"):
        _require(
            claims[name].shape == (num_points,), f"{name} is not [{num_points}]"
        )
    for k, mask in enumerate(masks):
        _require(mask.any(), f"point {k} has no models")
        cost = costs.exact[mask].sum()
        _require(
            claims["costs"][k] == cost,
            f"point {k}: its models cost {cost}, not {claims['costs'][k]}",
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
        bool((claims["costs"][1:] > claims["costs"][:-1]).all()),
        "the costs of the points do not rise",
    )
    _require(
        claims["costs"][0] == costs.exact.min(),
        "the first point is not of the least cost that a model has",
    )
    return np.append(claims["costs"][1:] - 1, costs.exact.sum())


def _check_starts(name, rows, claims, num_windows):
    starts = claims[f"{name}_starts"]
    _require(
        starts.shape == (num_windows + 1,)
        and starts[0] == 0
        and starts[-1] == len(rows)
        and bool((np.diff(starts) > 0).all()),
        f"{name}_starts do not part what they should",
    )


def _check_tree(w, tree, table, costs, thresholds, budgets, goals):
    """Raises unless every leaf's way closes every segment.

    Nodes come in the tree's own order, each with (chosen, free, open) of its
    place, or None where nothing is left to prove.
    """
    num_models = len(table)
    most = np.maximum(thresholds, table.max(axis=0)).sum()
    _require(
        num_models * int(most) < 2**62,
        f"window {w}: its thresholds are too large for exact sums",
    )
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
    left = budgets - costs.exact[chosen].sum()
    is_open = is_open & (left >= 0).astype(bool)
    if not is_open.any():
        return None
    fits = free & (costs.exact <= left[is_open].max()).astype(bool)
    # No other model is better than v below what the fitting ones reach.
    v = thresholds
    if fits.any():
        v = np.maximum(v, table[fits].min(axis=0))
    else:
        v = np.full_like(v, _LARGEST)
    if chosen.any():
        v = np.minimum(v, table[chosen].min(axis=0))
    rho = np.zeros(len(table), np.int64)
    rho[fits] = np.maximum(v - table[fits], 0).sum(axis=1)
    # Costs are rounded down, and so is what is left: all that fits still does.
    left = (left >> costs.low_bits).astype(np.int64)
    most, prices = _knapsack(rho[fits], costs.high[fits], left)
    bounds = v.sum() - most
    gaps = goals - bounds
    if is_root:
        whole = _zero_one_knapsack(rho[fits], costs.high[fits], left)
        bounds = np.maximum(bounds, v.sum() - whole)
    # Whole losses are not negative.
    is_open = is_open & (np.maximum(bounds, 0) < goals)
    if not is_open.any():
        return None
    # Reduced costs: a model that would cost more than the gap at every open
    # budget is out, one without which that much were lost is in.
    prices, gaps = prices[is_open, None], gaps[is_open, None]
    slack = 4 * _ALLOWANCE + 2.0**-_ORDER_BITS * (
        prices.max() * costs.high + rho
    )
    out = (prices * costs.high - gaps).min(axis=0) - rho >= slack
    need = (-prices * costs.high - gaps).min(axis=0) + rho >= slack
    return chosen | (need & fits), fits & ~out & ~need, is_open


def _knapsack(profits, costs, budgets):
    """Returns what each budget can gain at most, and the price of more: [B]."""
    gains = profits > 0
    profits, costs = profits[gains], costs[gains]
    # What costs nothing comes first.
    ratios = np.where(costs == 0, np.inf, profits / np.maximum(costs, 1))
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
        share = -(-profit * int(budgets[b] - spent[num_whole[b]]) // cost)
        most[b] += share + (int(gained[-1]) >> _ORDER_BITS)
        prices[b] = ratios[num_whole[b]]
    return most, prices


def _zero_one_knapsack(profits, costs, budgets):
    """Returns what each budget can gain at most by whole models: [B]."""
    step = max(1, -(-int(budgets.max()) // _NUM_STEPS))
    most = np.zeros(int(budgets.max()) // step + 1, np.int64)
    for profit, cost in zip(profits, costs // step, strict=True):
        if cost < len(most):
            most[cost:] = np.maximum(
                most[cost:], most[: len(most) - cost] + profit
            )
    # A budget below 0 buys nothing, and is closed anyway.
    return most[np.maximum(budgets, 0) // step]


def _verdict(claims, table, costs) -> Verdict:
    """Returns what is proven in the unit of the losses, in exact arithmetic."""
    losses, bounds, proven = [], [], []
    for mask, bound in zip(
        claims["masks"], claims["bounds"].tolist(), strict=True
    ):
        best = table.losses[mask].min(axis=0)
        loss = _exact_dot(best, table.weights) / table.total
        exact = table.scale * (bound + table.base) / table.total - table.error
        lower = float(exact)
        if lower > exact:
            lower = math.nextafter(lower, -math.inf)
        losses.append(float(loss))
        bounds.append(lower)
        last_bit = Fraction(math.ulp(float(loss)))
        proven.append(loss <= exact + 2 * table.error + last_bit)
    costs_of = [float(cost / costs.scale) for cost in _fractions(claims)]
    return Verdict(
        np.array(costs_of),
        np.array(losses),
        np.array(bounds),
        np.array(proven),
        len(claims["trees"]),
        float(table.error),
        float(costs.resolution),
    )


def _fractions(claims):
    """Returns the costs of the points as fractions, in units: F of them."""
    return [Fraction(int(cost)) for cost in claims["costs"]]
