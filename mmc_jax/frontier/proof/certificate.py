"""The certificate of a frontier: what is claimed, and the trees that prove it.

M models, X texts, F frontier points, V windows, G segments of all windows.

A file that NumPy reads (`.npz`); `mmc_jax.certificate_checker`, which shares no
code with the search, verifies it against the losses and costs.
"""

import os
import pathlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np


class Certificate(NamedTuple):
    """A frontier in whole numbers with its proof.

    Whole losses are those of `quantised`: w_x L_ix rounded to units of the
    scale, less the text's offset floor(min_i w_x L_ix / scale); whole costs are
    costs x cost_scale, rounded.

    Point k is the best subset known for budgets from its cost up to 1 below the
    next point's (for the last: up to the cost of all models). No subset within
    that budget has a whole loss sum below bounds[k]. Tree v says so: in it are
    segments, budgets with the loss sum that every node without children reaches
    or passes on the way to it (search_tree.py says how nodes are bounded).

    Attributes:
      scale: [] float64, a power of two, in the unit of the weighted losses.
      cost_scale: [] float64.
      costs: [F] int64, rising.
      loss_sums: [F] int64, falling.
      masks: [F, M] bool.
      bounds: [F] int64.
      windows: [F] int32, the tree that proves the bound.
      segment_budgets: [G] int64, rising in each window.
      segment_sums: [G] int64.
      segment_starts: [V + 1] int64: where each window's segments begin.
      thresholds: [V, X] uint32.
      trees: [nodes] int16: a model to branch on, -1 for no child, -2 for one
        child; then the trees of the children, that which takes the model first.
      tree_starts: [V + 1] int64.
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


def write_certificate(
    certificate: Certificate, path: str | os.PathLike[str]
) -> None:
    """Writes the certificate; a file that is there is complete."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = certificate._asdict()
    save(
        path,
        lambda file: np.savez_compressed(file, allow_pickle=False, **arrays),
    )


def save(path: pathlib.Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file that is complete once it is there."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        write(file)
    partial.rename(path)
