"""The tensors of a checkpoint folder: their files, names and parts.

Only safetensors are read, only inside the folder, and of a tensor only the part
that is asked for.
"""

import contextlib
import json
import math
import pathlib
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import transformers

from mmc_jax.models import layers

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}
# What else a head has, a bias say, stands beside its weight.
_HEAD_MODULES = ("lm_head.", "embed_out.", "head.")
HEADS = tuple(f"{module}weight" for module in _HEAD_MODULES)

# Of the dtypes that safetensors names; others are of quantised checkpoints.
_FLOATS = ("F64", "F32", "F16", "BF16")
# Where a buffer must begin for XLA to take it over without a copy, in bytes.
_ALIGNMENT = 64
# Two tensors are compared by so much at a time.
_COMPARED_BYTES = 2**24

# Of each axis the positions, without gaps.
Part = tuple[range, ...]


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the safetensors files of a checkpoint folder.

    Raises:
      FileNotFoundError: There are none, or one of the index is missing.
      ValueError: The index cannot be read or names a file outside the folder.
    """
    index = folder / INDEX
    # As in transformers, one file goes before an index beside it.
    if not index.is_file() or (folder / WEIGHTS).is_file():
        if not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{folder / WEIGHTS}: {_advice(folder)}")
        return [folder / WEIGHTS]
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
        files = {name: folder / name for name in sorted(names)}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{index}: not readable as an index of tensors: {error!r}"
        ) from None
    for name, file in files.items():
        if pathlib.Path(name).name != name or not _is_inside(file, folder):
            raise ValueError(f"{index}: {name!r} is outside the folder")
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing; {index} names it")
    return list(files.values())


def _is_inside(file: pathlib.Path, folder: pathlib.Path) -> bool:
    """Returns whether a file, links followed, stands in the folder."""
    folder = folder.resolve()
    allowed = [folder]
    # The hub's cache keeps the files of all revisions in one place.
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")
    return file.resolve().parent in allowed


def _advice(folder: pathlib.Path) -> str:
    pickles = [
        file.name
        for pattern in ("*.bin", "*.pt", "*.pth")
        for file in sorted(folder.glob(pattern))
    ]
    if not pickles:
        return (
            "missing; only safetensors are read, which transformers' "
            "save_pretrained writes"
        )
    return (
        f"missing; only safetensors are read, and {pickles[0]} is a pickle, "
        "which may run any code when it is opened. If you trust it, convert "
        "it: python -c 'from transformers import AutoModelForCausalLM as M; "
        f'M.from_pretrained("{folder}").save_pretrained("{folder}")\''
    )


class TensorNames(NamedTuple):
    """The tensors of one parameter: one, or one a row of its stacks.

    Attributes:
      all: Their names, row after row.
      stack_shape: Rows of each stack that the parameter is in.
      transposed: Whether a tensor is the transpose of its row.
    """

    all: list[str]
    stack_shape: tuple[int, ...]
    transposed: bool

    def rows(self, value: np.ndarray) -> np.ndarray:
        """Returns a view of a parameter's value with one row a tensor."""
        rows = value.reshape(-1, *value.shape[len(self.stack_shape) :])
        return np.swapaxes(rows, -1, -2) if self.transposed else rows

    def of_tensor(self, axes: Sequence[Any]) -> tuple[Any, ...]:
        """Returns what belongs to a tensor's axes, given a parameter's."""
        axes = tuple(axes[len(self.stack_shape) :])
        return (*axes[:-2], axes[-1], axes[-2]) if self.transposed else axes


def tensor_names(path: str, stacks: dict[str, layers.Stack]) -> TensorNames:
    """Returns the tensors of a parameter; a stack is one tensor a row."""
    *modules, leaf = path.split(".")
    names, shape = [""], []
    for depth, module in enumerate(modules, start=1):
        stack = stacks.get(".".join(modules[:depth]))
        if stack is None:
            names = [f"{name}{module}." for name in names]
            continue
        shape.append(len(stack.numbers))
        names = [
            f"{name}{stack.name}.{number}."
            for name in names
            for number in stack.numbers
        ]
    last = _LEAVES.get(leaf, leaf)
    names = [name + last for name in names]
    return TensorNames(names, tuple(shape), leaf == "kernel")


def stacks(
    family: types.ModuleType, config: transformers.PreTrainedConfig
) -> dict[str, layers.Stack]:
    """Returns the stacks of a model by their paths."""
    if hasattr(family, "stacks"):
        return family.stacks(config)
    name = family.LAYERS.rpartition(".")[2]
    return {family.LAYERS: layers.Stack(name, range(config.num_hidden_layers))}


class Tensors(contextlib.ExitStack):
    """The tensors of all files of a folder, by their full names."""

    def __init__(self, folder: pathlib.Path, family: types.ModuleType):
        super().__init__()
        self.folder = folder
        renamed = getattr(family, "RENAMED", {})
        in_file = [
            (_renamed(name, renamed), name, file)
            for file in map(self._opened, weight_files(folder))
            for name in file.keys()  # noqa: SIM118
        ]
        # Files of the bare model leave the prefix out.
        prefix = family.PREFIX
        bare = not any(full.startswith(prefix) for full, _, _ in in_file)
        self._tensors: dict[str, Any] = {}
        for full, name, file in in_file:
            in_head = full.startswith(_HEAD_MODULES)
            full = prefix + full if bare and not in_head else full
            if full in self._tensors:
                raise ValueError(f"{folder}: tensor {name} stands there twice")
            self._tensors[full] = file.get_slice(name)

    def _opened(self, file: pathlib.Path) -> Any:
        try:
            return self.enter_context(safetensors.safe_open(file, "np"))
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{file}: not readable as safetensors: {error}"
            ) from None

    @property
    def names(self) -> set[str]:
        """The full names of all tensors."""
        return set(self._tensors)

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses a tensor of another shape, or one that is quantised."""
        tensor = self._tensors[name]
        if tensor.get_dtype() not in _FLOATS:
            raise ValueError(
                f"{self.folder}: tensor {name} is {tensor.get_dtype()}: "
                "quantised checkpoints are not read, only those in "
                f"{', '.join(_FLOATS)}"
            )
        if tuple(tensor.get_shape()) != shape:
            raise ValueError(
                f"{self.folder}: tensor {name} has shape "
                f"{tuple(tensor.get_shape())}, the port needs {shape}"
            )

    def part(self, name: str, part: Part) -> np.ndarray:
        """Returns a part of a tensor, in the dtype of the file."""
        return self._tensors[name][
            tuple(slice(axis.start, axis.stop) for axis in part)
        ]

    def parameter(
        self, names: TensorNames, part: Part, dtype: jax.typing.DTypeLike
    ) -> np.ndarray:
        """Returns a part of a parameter, all rows of its stacks, cast."""
        value = empty(tuple(map(len, part)), dtype)
        of_tensor = names.of_tensor(part)
        for name, row in zip(names.all, names.rows(value), strict=True):
            row[...] = self.part(name, of_tensor)
        return value

    def equal(self, first: str, second: str, part: Part) -> bool:
        """Returns whether parts of two matrices hold the same numbers."""
        shape = self._tensors[first].get_shape()
        if shape != self._tensors[second].get_shape():
            return False
        rows, columns = part
        size = max(1, _COMPARED_BYTES // (8 * shape[1]))
        return all(
            np.array_equal(
                self.part(first, (rows[start : start + size], columns)),
                self.part(second, (rows[start : start + size], columns)),
            )
            for start in range(0, len(rows), size)
        )


def empty(shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> np.ndarray:
    """Returns an array without values, which XLA on a CPU need not copy."""
    num_bytes = math.prod(shape) * jnp.dtype(dtype).itemsize
    buffer = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + num_bytes].view(dtype).reshape(shape)


def _renamed(name: str, renamed: dict[str, str]) -> str:
    """Returns a tensor's name with another beginning, if the family has one."""
    for beginning, other in renamed.items():
        if name.startswith(beginning):
            return other + name.removeprefix(beginning)
    return name


def check_names(
    folder: pathlib.Path,
    expected: Iterable[str],
    found: set[str],
    ignored: Iterable[str],
) -> None:
    """Refuses tensors that are missing, or that no pattern lets pass.

    Raises:
      ValueError: With the first names of those.
    """
    expected = set(expected)
    missing = sorted(expected - found)
    if missing:
        raise ValueError(f"{folder}: tensors are missing: {_some(missing)}")
    left_over = [
        name
        for name in sorted(found - expected)
        if not any(re.search(pattern, name) for pattern in ignored)
    ]
    if left_over:
        raise ValueError(
            f"{folder}: tensors that the port does not know: {_some(left_over)}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
