"""A level of the pruning of many models: most extensions are never computed.

M models, X texts, S subsets of a level, P pairs of a subset and a model.

What a model takes off the loss of a subset is its gain. A subset that holds
another one gains no more from a model than that one did: the oracle loss is
supermodular. So a level knows a bound of every gain from the level before, and
an extension that the bound shows to be dominated is not computed. Of a thousand
models all but a few in a hundred are. The level's points are the same.

Source: Minoux 1978, Accelerated greedy algorithms for maximizing submodular set
functions, Optimization Techniques (lazy evaluation).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.pareto import (
    cost_and_rest,
    order_of_ties,
    rounded_sum,
    undominated,
)
from mmc_jax.frontier.unions import LossChunk, union_sums

# Subsets in a block, and the numbers of models that a block is padded to: XLA
# compiles for every shape. Where all is unknown blocks are larger.
_ROWS, _ROWS_OF_ALL = 32, 256
# Subsets that are extended by all models at once, whatever the bounds say.
_FEW = 16
# Subsets on either side of a block whose models it is joined by first.
_BESIDE = 8
_SIZES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)

# Models of neighbouring costs that are looked at together.
_SEGMENT = 32

# Bounds of gains that a level keeps: 256 MB.
_MOST_GAINS = 2**25

# Share of a loss by which sums of two units may be rounded.
_ROUNDING = 1e-12


class Level(NamedTuple):
    """Subsets of one size that are extended.

    Attributes:
      masks: Models of each subset, [S, M] of booleans.
      sums: Loss sum of each subset, [S]; None where no gain is known.
      gains: Upper bound of what each model takes off each sum, models by
        rising cost, minus infinity for members, [S, M]; None where none is
        known.
      minima: Least loss of each text in each subset, for each chunk of texts,
        [S, texts]; None where the subsets are many.
    """

    masks: np.ndarray
    sums: np.ndarray | None = None
    gains: np.ndarray | None = None
    minima: tuple[np.ndarray, ...] | None = None


class Extensions(NamedTuple):
    """Extensions of a level's subsets that no other of them dominates.

    Attributes:
      costs: Cost of each, strictly rising, [P].
      losses: Loss sum of each, strictly falling, [P].
      subsets: Subset of the level that is extended, an index, [P].
      models: Model that is added, an index, [P].
      places: Place of that model among all, by rising cost, [P].
      level: The level, its gains as far as they are known by now.
      tables: Losses of each chunk of texts, [M, texts].
    """

    costs: np.ndarray
    losses: np.ndarray
    subsets: np.ndarray
    models: np.ndarray
    places: np.ndarray
    level: Level
    tables: Sequence[np.ndarray]

    def masks(self, some: np.ndarray) -> np.ndarray:
        """Returns the models of some of the extensions: [n, M] of booleans."""
        masks = self.level.masks[self.subsets[some]]
        masks[np.arange(len(masks)), self.models[some]] = True
        return masks

    def next_level(self, some: np.ndarray) -> Level:
        """Returns some of the extensions as the next level.

        Args:
          some: Indices of the extensions, [n].
        """
        masks, gains = self.masks(some), self.level.gains
        minima = None
        if len(masks) <= _FEW:
            minima = self._minima(masks, some)
        if gains is None or masks.size > _MOST_GAINS:
            return Level(masks, minima=minima)
        gains = gains[self.subsets[some]]
        gains[np.arange(len(gains)), self.places[some]] = -np.inf
        return Level(masks, self.losses[some], gains, minima)

    def _minima(
        self, masks: np.ndarray, some: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        if self.level.minima is None:
            return tuple(
                np.stack([table[mask].min(axis=0) for mask in masks])
                for table in self.tables
            )
        return tuple(
            np.minimum(rows[self.subsets[some]], table[self.models[some]])
            for rows, table in zip(self.level.minima, self.tables, strict=True)
        )


def extensions(
    chunks: Sequence[LossChunk],
    costs: np.ndarray,
    level: Level,
    groups: np.ndarray | None = None,
) -> Extensions:
    """Returns the frontier of a level's subsets, each joined by one model.

    Args:
      chunks: Losses, from `loss_chunks`.
      costs: Cost of each model, [M].
      level: Subsets that are extended.
      groups: Number of each model's group, [M], where the subsets are single
        models, and only pairs of several groups count; None where all count.
    """
    search = _Search(chunks, costs, level, groups)
    if level.minima is not None:
        search.evaluate_few(chunks, level.minima)
    elif level.gains is None:
        for start in range(0, len(level.masks), _ROWS_OF_ALL):
            search.evaluate_rows(slice(start, start + _ROWS_OF_ALL))
    else:
        search.evaluate(*search.near())
        search.evaluate(*search.candidates(*search.points[:2]))
    return search.extensions(level)


class _Search:
    """The points of one level found so far, and bounds of all others."""

    def __init__(self, chunks, costs, level, groups):
        num_models = len(costs)
        self.masks, self.groups = level.masks, groups
        self.chunks = [c._replace(values=np.asarray(c.values)) for c in chunks]
        self.by_cost = np.argsort(costs, kind="stable")
        self.place = np.argsort(self.by_cost)
        self.of_model = costs[self.by_cost]
        self.of_subset = cost_and_rest(level.masks, costs)
        # The sum of its models' keys tells a subset from others of equal cost
        # and loss.
        keys = np.random.default_rng(0).integers(2**63, size=num_models)
        self.keys = keys.astype(np.uint64)
        self.sums, self.gains = level.sums, level.gains
        if self.gains is None:
            self.sums = np.empty(len(level.masks))
            if level.masks.size <= _MOST_GAINS:
                self.gains = np.empty(level.masks.shape)
        self.is_done = np.zeros(level.masks.shape, bool)
        self.points = _no_points()
        # Points that are not sorted in yet.
        self.found = []

    def evaluate_rows(self, rows: slice) -> None:
        """Computes all extensions of a slice of the subsets."""
        masks = self.masks[rows]
        added = np.eye(len(self.place) + 1, len(self.place), dtype=bool)
        # The last is no model: the subset itself.
        added[:-1] = added[self.by_cost]
        sums = union_sums(self.chunks, masks, added)
        self.sums[rows], sums = sums[:, -1], sums[:, :-1]
        row = np.arange(rows.start, rows.start + len(masks))
        self._take(row, np.arange(sums.shape[1]), sums)
        self._sort_in()

    def evaluate_few(
        self, chunks: Sequence[LossChunk], minima: Sequence[np.ndarray]
    ) -> None:
        """Computes all extensions of a few subsets, by their minima."""
        number, num_models = self.masks.shape
        sums = np.zeros((number, num_models))
        self.sums = np.zeros(number)
        with jax.enable_x64(True):
            for (values, unit), rows in zip(chunks, minima, strict=True):
                padded = np.pad(rows, ((0, _FEW - number), (0, 0)))
                joined = np.asarray(oracle.min_sum(padded, values))
                sums += unit * joined[:number]
                self.sums += unit * rows.sum(axis=1, dtype=np.int64)
        self._take(
            np.arange(number), np.arange(num_models), sums[:, self.by_cost]
        )
        self._sort_in()

    def evaluate(self, row: np.ndarray, column: np.ndarray) -> None:
        """Computes the extensions of these pairs, and of some beside them.

        Of the table the kernel gets the models that a block of subsets needs.
        """
        for rows, columns in _blocks(row, column):
            wanted = self.masks[rows].any(axis=0)
            wanted[self.by_cost[columns]] = True
            models = np.flatnonzero(wanted)
            some = np.pad(models, (0, self._padded(len(models)) - len(models)))
            masks = self.masks[np.ix_(rows, some)]
            masks[:, len(models) :] = False
            added = np.eye(len(some), dtype=bool)
            number = self._padded(len(columns))
            if 2 * number > len(some):
                # Its members beside them: fewer shapes.
                columns = self.place[models]
            else:
                places = np.searchsorted(models, self.by_cost[columns])
                added = np.zeros((number, len(some)), bool)
                added[np.arange(len(columns)), places] = True
            tables = [
                # Not by jnp.asarray, which copies what is on its way already.
                chunk._replace(values=jax.device_put(chunk.values[some]))
                for chunk in self.chunks
            ]
            sums = union_sums(tables, masks, added)
            self._take(rows, columns, sums[:, : len(columns)])
        self._sort_in()

    def _padded(self, number: int) -> int:
        """Returns how many models so many are padded to."""
        return next((n for n in _SIZES if n >= number), len(self.place))

    def near(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns pairs of a subset and a model of a subset beside it."""
        masks = self.masks[:, self.by_cost]
        row, column = [], []
        for start in range(0, len(masks), _ROWS):
            beside = slice(max(0, start - _BESIDE), start + _ROWS + _BESIDE)
            columns = np.flatnonzero(masks[beside].any(axis=0))
            rows = np.arange(start, min(start + _ROWS, len(masks)))
            row.append(np.repeat(rows, len(columns)))
            column.append(np.tile(columns, len(rows)))
        return np.concatenate(row), np.concatenate(column)

    def candidates(
        self, costs: np.ndarray, losses: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns pairs that such points may not dominate: subsets, places.

        Pairs that are computed already are not among them.

        Args:
          costs: Costs of points, rising, [F].
          losses: Loss sums of these points, falling, [F].
        """
        least = self.sums * (1 - _ROUNDING)
        # What a pair may lose at most, by the points that cost no more.
        most = np.append(np.inf, losses)

        def needed(rows, columns):
            place = np.searchsorted(costs, self._cost(rows, columns), "right")
            return least[rows] - most[place]

        # What the cheapest of some models needs, all of them need.
        num_models = len(self.place)
        first = np.arange(0, num_models, _SEGMENT)
        of_segment = needed(np.arange(len(least))[:, None], first)
        of_model = np.repeat(of_segment, _SEGMENT, axis=1)[:, :num_models]
        may_be = (self.gains >= of_model) & (self.gains > -np.inf)
        row, column = np.nonzero(may_be & ~self.is_done)
        stays = self.gains[row, column] >= needed(row, column)
        return row[stays], column[stays]

    def extensions(self, level: Level) -> Extensions:
        """Returns the points, of those that tie the one that stays."""
        costs, losses, row, column, _ = self.points
        models = self.by_cost[column]
        repeats = np.diff(costs) == 0
        (tied,) = np.nonzero(
            np.append(repeats, False) | np.append(False, repeats)
        )
        masks = self.masks[row[tied]]
        masks[np.arange(len(tied)), models[tied]] = True
        order = np.arange(len(costs))
        order[tied] = tied[order_of_ties(costs[tied], masks)]
        stays = order[np.diff(costs, prepend=-np.inf) > 0]
        return Extensions(
            costs[stays],
            losses[stays],
            row[stays],
            models[stays],
            column[stays],
            level._replace(sums=self.sums, gains=self.gains),
            [chunk.values for chunk in self.chunks],
        )

    def _cost(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Returns the costs of subsets joined by models, rounded once."""
        total, rest = (part[rows] for part in self.of_subset)
        return rounded_sum(total, rest, self.of_model[columns], 0.0)

    def _take(
        self, rows: np.ndarray, columns: np.ndarray, sums: np.ndarray
    ) -> None:
        """Takes in the sums of subsets joined by models, [rows, columns]."""
        block = np.ix_(rows, columns)
        is_member = self.masks[np.ix_(rows, self.by_cost[columns])]
        counts = ~is_member & ~self.is_done[block]
        self.is_done[block] = True
        if self.gains is not None:
            gains = self.sums[rows][:, None] - sums
            self.gains[block] = np.where(is_member, -np.inf, gains)
        if self.groups is not None:
            group = self.groups[self.masks[rows].argmax(axis=1)]
            counts &= group[:, None] != self.groups[self.by_cost[columns]]
        row, column = np.nonzero(counts)
        losses = sums[row, column]
        costs = self._cost(rows[row], columns[column])
        most = np.append(np.inf, self.points[1])
        place = np.searchsorted(self.points[0], costs, side="right")
        (below,) = np.nonzero(losses <= most[place])
        below = below[undominated(costs[below], losses[below])]
        keys = self.masks[rows].astype(np.uint64) @ self.keys
        row, column = row[below], column[below]
        self.found.append(
            (
                costs[below],
                losses[below],
                rows[row],
                columns[column],
                keys[row] + self.keys[self.by_cost[columns[column]]],
            )
        )

    def _sort_in(self) -> None:
        """Keeps the points that none dominates, one of each subset."""
        points = tuple(
            map(np.concatenate, zip(self.points, *self.found, strict=True))
        )
        leads = undominated(*points[:2])
        points = tuple(part[leads] for part in points)
        costs, *_, keys = points
        order = np.lexsort((keys, costs))
        costs, keys = costs[order], keys[order]
        repeats = (costs[1:] == costs[:-1]) & (keys[1:] == keys[:-1])
        order = order[np.append(True, ~repeats)[: len(order)]]
        self.points = tuple(part[order] for part in points)
        self.found = []


def _no_points() -> tuple[np.ndarray, ...]:
    """Returns costs, losses, subsets, places and keys of no points."""
    none = np.empty(0)
    index = np.empty(0, np.int64)
    return none, none, index, index, np.empty(0, np.uint64)


def _blocks(
    row: np.ndarray, column: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields some subsets at a time, and all that any of them is joined by."""
    rows = np.unique(row)
    block = np.searchsorted(rows, row) // _ROWS
    for number, start in enumerate(range(0, len(rows), _ROWS)):
        yield (
            rows[start : start + _ROWS],
            np.unique(column[block == number]),
        )
