"""The certificate of a frontier: what is claimed, and the trees that prove it.

M models, X texts, F frontier points, V windows, G segments of all windows.

A file that NumPy reads (`.npz`); `mmc_jax.certificate_checker`, which shares no
code with the search, verifies it against the losses and costs.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from mmc_jax.frontier.proof.persistence import save_arrays


class Certificate(NamedTuple):
    """A frontier in whole numbers with its proof.

    Whole losses are w_x L_ix rounded to units of the scale, less the text's
    offset floor(min_i w_x L_ix / scale), and cut to 2^32 - 1; whole costs are
    costs x cost_scale. Where these need more than 52 bits for the sum of all
    models, the fields of costs hold what a right shift by `low_bits` leaves,
    and the fields that end in `_low` the rest.

    Point k is the best subset known for budgets from its cost up to 1 below the
    next point's (for the last: up to the cost of all models). No subset within
    that budget has a whole loss sum below bounds[k]. Tree v says so: in it are
    segments, budgets with the loss sum that every node without children reaches
    or passes on the way to it (search_tree.py says how nodes are bounded).

    Attributes:
      scale: One unit of a weighted loss, [] float64, a power of two.
      cost_scale: Units in 1 of the cost's own unit, [] float64.
      costs: Cost of each point, [F] int64, rising.
      loss_sums: Whole loss sum of each point, [F] int64.
      masks: Models of each point, [F, M] bool.
      bounds: Lower bound of whole loss sums, [F] int64.
      windows: Tree that proves each bound, [F] int32.
      segment_budgets: Largest budget of each segment, [G] int64, rising in each
        window.
      segment_sums: Loss sum that each segment's tree reaches, [G] int64.
      segment_starts: Place where each window's segments begin, [V + 1] int64.
      thresholds: Thresholds of each window, [V, X] uint32.
      trees: Nodes of all trees, [nodes] int16: a model to branch on, -1 for no
        child, -2 for one child; then the trees of the children, that which
        takes the model first.
      tree_starts: Place where each window's tree begins, [V + 1] int64.
      low_bits: Number of bits of the low parts, [] int64; None for 0.
      costs_low: Low part of the points' costs, [F] int64; None where there are
        no low parts.
      segment_budgets_low: Low part of the segments' budgets, [G] int64; None
        where there are no low parts.
    """

    scale: np.ndarray
    cost_scale: np.ndarray
    costs: np.ndarray
    loss_sums: np.ndarray
    masks: np.ndarray
    bounds: np.ndarray
    windows: np.ndarray
    segment_budgets: np.ndarray
    segment_sums: np.ndarray
    segment_starts: np.ndarray
    thresholds: np.ndarray
    trees: np.ndarray
    tree_starts: np.ndarray
    low_bits: np.ndarray | None = None
    costs_low: np.ndarray | None = None
    segment_budgets_low: np.ndarray | None = None


def write_certificate(
    certificate: Certificate, path: str | os.PathLike[str]
) -> None:
    """Writes the certificate; a file that is there is complete.

    Args:
      certificate: What a certified search returned.
      path: File to be written, with the ending `.npz`; its folder is made where
        there is none.

    Raises:
      OSError: the file cannot be written, with its name; the disk is full.
    """
    arrays = certificate._asdict()
    save_arrays(
        pathlib.Path(path),
        {name: array for name, array in arrays.items() if array is not None},
    )
