"""Quantised tensors of published checkpoints, as the numbers they stand for.

Two kinds are read, with the values that transformers computes with on CPUs:
  MXFP4, of gpt-oss: four bits a number (E2M1), and for 32 numbers one power of
      two (E8M0), in tensors `..._blocks` and `..._scales`;
  FP8, of DeepSeek-V3: eight bits a number (E4M3 or E5M2) and, for a block of
      128 x 128, for 32 numbers or for a matrix, a factor `..._scale_inv`.
Of a tensor only the region that is asked for is read and converted.
transformers on GPUs also rounds activations to eight bits, which is not done
here.

E experts, G groups of 32 numbers.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmc_jax.corpus import files
from mmc_jax.models.pieces import Tensor

_SCALE = "_scale_inv"
_BLOCKS, _SCALES = "_blocks", "_scales"
# Of FP8 without a block size in its config, transformers' own default.
_BLOCK_SIZE = (128, 128)
# Numbers of eight bits, by safetensors' names, which NumPy does not know.
_FLOATS8 = {
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
    "F8_E8M0": jnp.float8_e8m0fnu,
}
_WEIGHTS8 = ("F8_E4M3", "F8_E5M2")

# The two numbers of each byte, the lower bits first.
_E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
_E2M1 = np.concatenate([_E2M1, -_E2M1])
_PAIRS = np.stack([np.tile(_E2M1, 16), np.repeat(_E2M1, 16)], axis=-1)
_GROUP = 32


def is_read(settings: Any) -> bool:
    """Returns whether a config's `quantization_config` is one that is read."""
    return (
        isinstance(settings, Mapping)
        and settings.get("quant_method") in ("fp8", "mxfp8", "mxfp4")
        and settings.get("expert_dtype", "fp8") == "fp8"
        and not settings.get("load_in_4bit")
        and not settings.get("load_in_8bit")
    )


class Bytes:
    """A tensor of numbers of eight bits, which safetensors does not read.

    Args:
      path: The safetensors file.
      place: The tensor's entry in the header of that file.
      start: Where the file's tensors begin, in bytes.
    """

    def __init__(self, path: pathlib.Path, place: dict[str, Any], start: int):
        self._path, self._place = path, place
        self._offset = start + place["data_offsets"][0]

    def get_dtype(self) -> str:
        """Returns the dtype, by safetensors' name."""
        return self._place["dtype"]

    def get_shape(self) -> list[int]:
        """Returns the length of each axis."""
        return list(self._place["shape"])

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the region that slices say."""
        shape, dtype = tuple(self.get_shape()), _FLOATS8[self.get_dtype()]
        if not math.prod(shape):
            return np.zeros(shape, dtype)[index]
        stored = np.memmap(self._path, np.uint8, "r", self._offset, shape)
        return np.array(stored[index]).view(dtype)


def slices(path: pathlib.Path, file: Any) -> dict[str, Tensor]:
    """Returns the tensors of an open safetensors file, unread, by their names.

    Args:
      path: Where the safetensors file is.
      file: The same file, opened by `safetensors.safe_open`, which checked it.
    """
    found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    names = [n for n, tensor in found.items() if tensor.get_dtype() in _FLOATS8]
    if names:
        with path.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
        found |= {name: Bytes(path, header[name], 8 + size) for name in names}
    return found


class Fp8:
    """Matrices of numbers of eight bits, times the factors of their blocks.

    Args:
      name: The beginning of errors, with the name of the tensor.
      tensor: Matrices, [..., rows, columns].
      factors: A factor a block, [..., rows of blocks, columns of blocks]; or
        one for all, of any shape.
      size: Rows and columns of a block; those at the end may be smaller. Where
        there is another number of factors, or for None, blocks are alike.

    Raises:
      ValueError: The number of factors is none that these matrices can have.
    """

    def __init__(
        self,
        name: str,
        tensor: Tensor,
        factors: Tensor,
        size: tuple[int, int] | None,
    ):
        self._tensor, self._factors = tensor, factors
        shape, grid = tensor.get_shape(), list(factors.get_shape())
        self._single = math.prod(grid) == 1
        if self._single:
            return
        blocks = None
        if len(grid) == len(shape) and len(shape) >= 2:
            blocks = _blocks(shape[-2:], grid[-2:], size)
        if blocks is None or grid[:-2] != shape[:-2]:
            raise ValueError(
                f"{name} has shape {tuple(shape)}, and its factors (..."
                f"{_SCALE}) {tuple(grid)}: they do not fit"
            )
        self._size = blocks

    def get_dtype(self) -> str:
        """Returns the dtype of the numbers that are read."""
        return "F32"

    def get_shape(self) -> list[int]:
        """Returns the length of each axis."""
        return list(self._tensor.get_shape())

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """Returns the region that slices with both ends say, float32."""
        value = self._tensor[index].astype(np.float32)
        if self._single:
            shape = self._factors.get_shape()
            factor = self._factors[tuple(slice(0, 1) for _ in shape)]
            value *= _float32(factor).reshape(())
            return value
        *experts, rows, columns = index
        (height, width), (first, left) = self._size, (rows.start, columns.start)
        factors = self._factors[
            *experts,
            slice(first // height, -(-rows.stop // height)),
            slice(left // width, -(-columns.stop // width)),
        ]
        across = np.arange(left, columns.stop) // width - left // width
        factors = _float32(factors)[..., across]
        # One row of blocks after the other: no second array of this size.
        for i in range(factors.shape[-2]):
            start = (first // height + i) * height - first
            block = value[..., max(start, 0) : start + height, :]
            block *= factors[..., i : i + 1, :]
        return value


class Mxfp4:
    """Matrices of all experts in MXFP4, transposed: [E, 32 G, rows].

    Args:
      blocks: Pairs of numbers in bytes, [E, rows, G, 16].
      scales: Exponents of the groups' factors, [E, rows, G].
    """

    def __init__(self, blocks: Tensor, scales: Tensor):
        self._blocks, self._scales = blocks, scales

    def get_dtype(self) -> str:
        """Returns the dtype of the numbers that are read: it holds them all."""
        return "BF16"

    def get_shape(self) -> list[int]:
        """Returns the length of each axis."""
        E, rows, G, _ = self._blocks.get_shape()
        return [E, _GROUP * G, rows]

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        """Returns the region that slices with both ends say, bfloat16."""
        experts, inner, rows = index
        first = inner.start // _GROUP
        groups = slice(first, -(-inner.stop // _GROUP))
        start = inner.start - first * _GROUP
        length = inner.stop - inner.start
        shape = (experts.stop - experts.start, length, rows.stop - rows.start)
        value = np.empty(shape, jnp.bfloat16)
        # One expert after the other: in float32 they would take twice as much.
        for i in range(shape[0]):
            one = slice(experts.start + i, experts.start + i + 1)
            blocks = self._blocks[one, rows, groups, slice(0, _GROUP // 2)][0]
            factors = _float32(self._scales[one, rows, groups][0])
            numbers = _PAIRS[blocks].reshape(*factors.shape, _GROUP)
            numbers *= factors[..., None]
            numbers = numbers.reshape(shape[2], -1)
            value[i] = numbers[:, start : start + length].T
        return value


def dequantised(
    tensors: Mapping[str, Tensor], folder: pathlib.Path
) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint, quantised ones as what they mean.

    Factors go, and so do those by which activations are quantised. What lacks
    its factors, or has some without being quantised, stays as it is: the loader
    then names it.

    Args:
      tensors: The tensors of the files, by their full names.
      folder: The checkpoint, whose config says how large a block is.

    Raises:
      ValueError: Factors do not fit their tensor.
    """
    found, size = dict(tensors), _block_size(folder)
    for scale in [name for name in found if name.endswith(_SCALE)]:
        name = scale.removesuffix(_SCALE)
        if name in found and found[name].get_dtype() in _WEIGHTS8:
            factors = found.pop(scale)
            name_in_errors = f"{folder}: tensor {name}"
            found[name] = Fp8(name_in_errors, found[name], factors, size)
            found.pop(f"{name}_activation_scale", None)
            found.pop(f"{name.removesuffix('weight')}activation_scale", None)
    for blocks in [name for name in found if name.endswith(_BLOCKS)]:
        name = blocks.removesuffix(_BLOCKS)
        scales = f"{name}{_SCALES}"
        if scales not in found:
            continue
        pair = found[blocks], found[scales]
        shape = list(pair[0].get_shape())
        if (
            {x.get_dtype() for x in pair} == {"U8"}
            and len(shape) == 4
            and shape == [*pair[1].get_shape(), _GROUP // 2]
        ):
            found[name] = Mxfp4(found.pop(blocks), found.pop(scales))
    return found


def _block_size(folder: pathlib.Path) -> tuple[int, int] | None:
    """Returns the rows and columns that share a factor in a folder's FP8.

    None where a matrix has one factor. A folder whose config cannot be read
    gets the usual size: whoever needs its config says so.
    """
    try:
        raw = files.json_object(folder / "config.json")
    except (OSError, ValueError):
        return _BLOCK_SIZE
    text = raw.get("text_config")
    for config in (raw, text if isinstance(text, dict) else {}):
        settings = config.get("quantization_config")
        if isinstance(settings, dict) and "weight_block_size" in settings:
            match settings["weight_block_size"]:
                case [int(rows), int(columns)] if min(rows, columns) > 0:
                    return rows, columns
            return None
    return _BLOCK_SIZE


def _blocks(
    shape: list[int], grid: list[int], size: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Returns rows and columns of a block, or None if no blocks fit."""
    if size is not None and grid == [
        -(-length // most) for length, most in zip(shape, size, strict=True)
    ]:
        return size
    if 0 in grid or any(n % m for n, m in zip(shape, grid, strict=True)):
        return None
    return shape[0] // grid[0], shape[1] // grid[1]


def _float32(factors: np.ndarray) -> np.ndarray:
    """Returns factors as float32; bytes are exponents of two (E8M0)."""
    if factors.dtype == np.uint8:
        factors = factors.view(jnp.float8_e8m0fnu)
    return factors.astype(np.float32)
