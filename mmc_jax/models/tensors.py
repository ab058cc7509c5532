"""The tensors of a checkpoint folder: their files, names and parts.

Only safetensors are read, and of a tensor only the part that is asked for.
"""

import contextlib
import math
import pathlib
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import transformers

from mmc_jax.corpus import files
from mmc_jax.models import (
    adapters,
    layers,
    pieces,
    quantised,
    towers,
    weight_files,
)

# Names that wrappers of PyTorch put between those of modules: torch.compile,
# FSDP and activation checkpointing.
_WRAPPERS = (
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)

# A last `_` is left out: `scale_` is a tensor that is called `scale`.
_LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}
# What else a head has, a bias say, stands beside its weight.
_HEAD_MODULES = ("lm_head.", "embed_out.", "head.")
HEADS = tuple(f"{module}weight" for module in _HEAD_MODULES)

# The dtypes that are read, by safetensors' names, beside those of `quantised`.
_FLOATS = ("F64", "F32", "F16", "BF16")
# The bits of a 16-bit infinity without its sign; NaN is above it. NumPy tests
# such numbers a hundred times as fast by their bits.
_INFINITY_BITS = {"float16": 0x7C00, "bfloat16": 0x7F80}
# Where a buffer must begin for XLA to take it over without a copy, in bytes.
_ALIGNMENT = 64
# Two tensors are compared, and one is checked, by so much at a time.
_COMPARED_BYTES = 2**24
_CHECKED_NUMBERS = 2**20

# The positions along each axis, without gaps.
Region = tuple[range, ...]


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
    last = _LEAVES.get(leaf, leaf.removesuffix("_"))
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
    """The tensors of all files of a folder, by their full names.

    What a LoRA adapter in the folder adds is in them. Those of towers that no
    text reaches are not.
    """

    def __init__(self, folder: pathlib.Path, family: types.ModuleType):
        super().__init__()
        self.folder = folder
        renamed = getattr(family, "RENAMED", {})
        wrapped = towers.wraps(folder)
        if wrapped:
            renamed = {**towers.RENAMED, **renamed}
        in_files = [
            (name, path, tensor)
            for path in weight_files.find(folder)
            for name, tensor in quantised.slices(
                path, self._opened(path)
            ).items()
            if not (wrapped and towers.is_other(name))
        ]
        full_names = _full_names(
            [pieces.renamed(name, family) for name, _, _ in in_files],
            family.PREFIX,
            renamed,
        )
        self._tensors: dict[str, Any] = {}
        paths: dict[str, pathlib.Path] = {}
        for full, (name, path, tensor) in zip(
            full_names, in_files, strict=True
        ):
            first = self._tensors.get(full)
            self._tensors[full] = tensor
            if first is not None and not self._is_equal(
                first, self._tensors[full]
            ):
                raise ValueError(
                    f"{folder}: tensor {name} stands in {paths[full].name} and "
                    f"in {path.name} with other values"
                )
            paths[full] = path
        self._tensors = quantised.dequantised(self._tensors, folder)
        self._tensors = pieces.arranged(self._tensors, family)
        self._adapter = adapters.opened(
            folder, is_transposed=getattr(family, "TRANSPOSED", False)
        )
        if self._adapter is not None:
            self._adapter.check({name: self.shape(name) for name in self.names})

    def _opened(self, file: pathlib.Path) -> Any:
        try:
            return self.enter_context(safetensors.safe_open(file, "np"))
        except safetensors.SafetensorError as error:
            files.refuse_pointer(file)
            raise ValueError(
                f"{file}: not readable as safetensors: {error}"
            ) from None

    @property
    def names(self) -> set[str]:
        """The full names of all tensors."""
        return set(self._tensors)

    def check_sizes(self, config: transformers.PreTrainedConfig) -> None:
        """Refuses a config whose sizes the tensors cannot have.

        Raises:
          ValueError: There are more layers than tensors, or an axis is longer
            than any of theirs.
        """
        largest = max(
            (max(self.shape(n), default=1) for n in self.names), default=0
        )
        for name, most in (
            ("num_hidden_layers", len(self.names)),
            ("hidden_size", largest),
            ("vocab_size", largest),
        ):
            if (stated := getattr(config, name)) > most:
                raise ValueError(
                    f"{self.folder}: the config has {name}={stated}, and the "
                    f"weights at most {most}"
                )

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses a tensor of another shape, or one that is quantised."""
        tensor = self._tensors[name]
        if tensor.get_dtype() not in _FLOATS:
            raise ValueError(
                f"{self.folder}: tensor {name} is {tensor.get_dtype()}: "
                f"{', '.join(_FLOATS)} are read, and of quantised checkpoints "
                "MXFP4 and FP8 with their factors"
            )
        if tuple(tensor.get_shape()) != shape:
            raise ValueError(
                f"{self.folder}: tensor {name} has shape "
                f"{tuple(tensor.get_shape())}, the port needs {shape}"
            )

    def read(self, name: str, region: Region) -> np.ndarray:
        """Returns a part of a tensor, in the dtype of the file.

        In float32 where an adapter changes it.
        """
        value = self._tensors[name][
            tuple(slice(axis.start, axis.stop) for axis in region)
        ]
        if self._adapter is not None and name in self._adapter.names:
            return self._adapter.added(name, value, region)
        return value

    def alias(self, name: str, other: str) -> None:
        """Lets a tensor that is missing be another one, of a tied head."""
        self._tensors[name] = self._tensors[other]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor, as the file has it."""
        return tuple(self._tensors[name].get_shape())

    def _is_equal(self, first: Any, second: Any) -> bool:
        """Returns whether two tensors are the same, read a part at a time."""
        shape = first.get_shape()
        if shape != second.get_shape():
            return False
        if not shape:
            return bool(first[()] == second[()])
        size = max(1, _COMPARED_BYTES // (8 * max(1, math.prod(shape[1:]))))
        return all(
            np.array_equal(
                first[start : min(start + size, shape[0])],
                second[start : min(start + size, shape[0])],
            )
            for start in range(0, shape[0], size)
        )

    def equal(self, first: str, second: str, region: Region) -> bool:
        """Returns whether parts of two matrices hold the same numbers."""
        shape = self._tensors[first].get_shape()
        if shape != self._tensors[second].get_shape():
            return False
        rows, columns = region
        size = max(1, _COMPARED_BYTES // (8 * shape[1]))
        return all(
            np.array_equal(
                self.read(first, (rows[start : start + size], columns)),
                self.read(second, (rows[start : start + size], columns)),
            )
            for start in range(0, len(rows), size)
        )


class Readable(Protocol):
    """Tensors of a checkpoint, in whatever kind of file.

    Attributes:
      folder: The folder or file that they are in.
    """

    folder: pathlib.Path

    def read(self, name: str, region: Region) -> np.ndarray:
        """Returns a part of a tensor."""


def parameter(
    tensors: Readable,
    names: TensorNames,
    region: Region,
    dtype: jax.typing.DTypeLike,
) -> np.ndarray:
    """Returns a part of a parameter, all rows of its stacks, cast.

    Args:
      tensors: Tensors of the checkpoint.
      names: The tensors of the parameter.
      region: Positions along each axis of the parameter.
      dtype: Type of the numbers that are returned.

    Raises:
      ValueError: A number is NaN or infinite.
    """
    value = _empty(tuple(map(len, region)), dtype)
    of_tensor = names.of_tensor(region)
    rows = names.rows(value)
    for number, name in enumerate(names.all):
        read = tensors.read(name, of_tensor)
        if not _is_finite(read):
            raise ValueError(
                f"{tensors.folder}: tensor {name} holds NaN or infinity: the "
                "weights are damaged, and no dtype gives finite scores"
            )
        rows[number, ...] = read
    return value


def _empty(shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> np.ndarray:
    """Returns an array without values, which XLA on a CPU need not copy."""
    num_bytes = math.prod(shape) * jnp.dtype(dtype).itemsize
    buffer = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + num_bytes].view(dtype).reshape(shape)


def _is_finite(value: np.ndarray) -> bool:
    """Returns whether no number is NaN or infinite."""
    numbers = value.reshape(-1)
    limit = _INFINITY_BITS.get(value.dtype.name)
    if limit is not None:
        numbers = numbers.view(np.uint16)
    for start in range(0, numbers.size, _CHECKED_NUMBERS):
        some = numbers[start : start + _CHECKED_NUMBERS]
        if limit is None:
            if not np.isfinite(some).all():
                return False
        elif ((some & 0x7FFF) >= limit).any():
            return False
    return True


def _full_names(
    names: Sequence[str], prefix: str, renamed: dict[str, str]
) -> list[str]:
    """Returns the port's names of the tensors of a checkpoint.

    Args:
      names: Names as the files have them.
      prefix: The beginning of all names but the head's, which files of the bare
        model leave out.
      renamed: Other beginnings of names, and the port's.
    """
    plain = [
        ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        for name in names
    ]
    if all(name.startswith("module.") for name in plain):  # Data parallel.
        plain = [name.removeprefix("module.") for name in plain]
    full = []
    for name in plain:
        for beginning, other in renamed.items():
            if name.startswith(beginning):
                name = other + name.removeprefix(beginning)
                break
        full.append(name)
    if any(name.startswith(prefix) for name in full):
        return full
    return [
        name if name.startswith(_HEAD_MODULES) else prefix + name
        for name in full
    ]


def check_names(
    folder: pathlib.Path,
    expected: Iterable[str],
    found: set[str],
    ignored: Iterable[str],
) -> None:
    """Refuses tensors that are missing, or that no pattern lets pass.

    Raises:
      ValueError: There are such tensors; the message has the first names.
    """
    expected = set(expected)
    missing = sorted(expected - found)
    if missing:
        others = sorted(found - expected)
        raise ValueError(
            f"{folder}: tensors are missing: {weight_files.some(missing)}"
            + (
                f"; the files have {weight_files.some(others)}"
                if others
                else ""
            )
        )
    left_over = [
        name
        for name in sorted(found - expected)
        if not any(re.search(pattern, name) for pattern in ignored)
    ]
    if left_over:
        some = weight_files.some(left_over)
        raise ValueError(
            f"{folder}: tensors that the port does not know: {some}"
        )
