"""Tensors that files hold together or apart, as the port's names have them.

A port may declare
  `FUSED`: {the end of a fused tensor's name: the modules that it holds}: all
      experts of a layer are one tensor [E, rows, columns], the rows those of
      one module after the other;
  `JOINED`: {the end of a tensor's name: the ends of those in the file}, which
      stand one after the other along the first axis;
  `OTHER_NAMES`: (a regex of names in files, what stands in place of a match).

Nothing is read before it is asked for.
"""

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Tensor(Protocol):
    """What safetensors gives of a tensor before it is read."""

    def get_dtype(self) -> str:
        """Returns the dtype, by safetensors' name."""

    def get_shape(self) -> Sequence[int]:
        """Returns the length of each axis."""

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the region that slices, one an axis, say."""


class Expert:
    """One module of one expert, a matrix of a fused tensor.

    Args:
      tensor: All experts, [E, rows, columns].
      number: Number of the expert.
      rows: Rows of the module.
    """

    def __init__(self, tensor: Tensor, number: int, rows: range):
        self._tensor, self._number, self._rows = tensor, number, rows

    def get_dtype(self) -> str:
        """Returns the dtype, by safetensors' name."""
        return self._tensor.get_dtype()

    def get_shape(self) -> list[int]:
        """Returns the length of each axis."""
        return [len(self._rows), self._tensor.get_shape()[2]]

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        """Returns the region that two slices with both ends say."""
        rows, columns = index
        start, number = self._rows.start, self._number
        fused = slice(start + rows.start, start + rows.stop)
        return self._tensor[number : number + 1, fused, columns][0]


class Joined:
    """Tensors of a file one after the other, along the first axis.

    Args:
      tensors: The tensors, alike in all axes but the first.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        self._tensors = tensors

    def get_dtype(self) -> str:
        """Returns the dtype of the first tensor, by safetensors' name."""
        return self._tensors[0].get_dtype()

    def get_shape(self) -> list[int]:
        """Returns the length of each axis."""
        first, *others = (list(x.get_shape()) for x in self._tensors)
        return [first[0] + sum(shape[0] for shape in others), *first[1:]]

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """Returns the region that slices with both ends say."""
        rows, *others = index
        found, before = [], 0
        for tensor in self._tensors:
            length = tensor.get_shape()[0]
            start = max(rows.start - before, 0)
            stop = min(rows.stop - before, length)
            if start < stop:
                found.append(tensor[(slice(start, stop), *others)])
            before += length
        return np.concatenate(found)


def renamed(name: str, family: types.ModuleType) -> str:
    """Returns a tensor's name as the port has it."""
    for pattern, other in getattr(family, "OTHER_NAMES", ()):
        name = re.sub(pattern, other, name)
    return name


def arranged(
    tensors: Mapping[str, Tensor], family: types.ModuleType
) -> dict[str, Tensor]:
    """Returns the tensors by the port's names, fused ones apart.

    A tensor that does not have the shape of fused experts stays as it is, and
    so does one of those to be joined where another is missing: the loader then
    says so.

    Args:
      tensors: The tensors of the files, by their full names.
      family: Module of the port, with what it declares.
    """
    found = dict(tensors)
    for end, modules in getattr(family, "FUSED", {}).items():
        for name in [name for name in found if name.endswith(f".{end}")]:
            shape = found[name].get_shape()
            if len(shape) != 3 or shape[1] % len(modules):
                continue
            tensor, size = found.pop(name), shape[1] // len(modules)
            parent = name.rpartition(".")[0]
            for number in range(shape[0]):
                for i, module in enumerate(modules):
                    found[f"{parent}.{number}.{module}.weight"] = Expert(
                        tensor, number, range(i * size, (i + 1) * size)
                    )
    for end, ends in getattr(family, "JOINED", {}).items():
        first = f".{ends[0]}"
        for name in [name for name in found if name.endswith(first)]:
            parent = name.removesuffix(first)
            names = [f"{parent}.{other}" for other in ends]
            shapes = [found[n].get_shape() for n in names if n in found]
            alike = {tuple(shape[1:]) for shape in shapes}
            if len(shapes) == len(names) and len(alike) == 1:
                found[f"{parent}.{end}"] = Joined([found.pop(n) for n in names])
    return found
