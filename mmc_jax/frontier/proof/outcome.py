"""What a certified search finds, and how far it is.

M models, F frontier points.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.frontier.pareto import Frontier
from mmc_jax.frontier.proof.certificate import Certificate


class Certified(NamedTuple):
    """A frontier and what is proven of it.

    Attributes:
      frontier: The F points.
      bounds: Lower bound of oracle losses, [F] float64, in the unit of the
        losses: no subset that costs less than the next point (for the last: no
        subset at all) has an oracle loss below it. Roundings to whole numbers
        are allowed for.
      proven: Whether no such subset is better than the point itself by more
        than twice `resolution` (or the last bit of float64), [F] bool.
      resolution: Largest amount by which rounding to whole numbers moves an
        oracle loss, in the unit of the losses; 0 where they are exact.
      num_nodes: Number of nodes of all trees that were bounded.
      certificate: Proof that the checker verifies.
    """

    frontier: Frontier
    bounds: np.ndarray
    proven: np.ndarray
    resolution: float
    num_nodes: int
    certificate: Certificate

    @property
    def costs(self) -> np.ndarray:
        """Costs of the frontier's points: [F] float64."""
        return self.frontier.costs

    @property
    def losses(self) -> np.ndarray:
        """Oracle losses of the frontier's points: [F] float64."""
        return self.frontier.losses

    @property
    def masks(self) -> np.ndarray:
        """Models of the frontier's points: [F, M] bool."""
        return self.frontier.masks

    @property
    def gaps(self) -> np.ndarray:
        """How far a better subset could at most lie below: [F], relative.

        0 where the point is proven.
        """
        losses = self.frontier.losses
        gaps = (losses - self.bounds) / np.maximum(np.abs(losses), 1e-300)
        return np.where(self.proven, 0.0, np.maximum(gaps, 0.0))


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
      num_points: Number of points of the frontier, as far as it is known.
      num_proven: Number of points that are proven; windows are finished as a
        whole.
      largest_gap: Largest amount by which a better subset could lie below,
        relative to a point's loss, in the windows that have had a turn.
      num_nodes: Number of nodes bounded so far.
      seconds: Seconds since the trees began.
    """

    num_points: int
    num_proven: int
    largest_gap: float
    num_nodes: int
    seconds: float
