"""GGUF files as checkpoints: llama.cpp's format, quantised or not.

Of a tensor only the rows that are asked for are dequantised, by the `gguf`
package. Needs the extra `gguf`.
"""

import functools
import pathlib
import re
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import transformers

from mmc_jax.corpus import files
from mmc_jax.models import gguf_configs, gguf_limits, gguf_metadata
from mmc_jax.models.families import FAMILIES
from mmc_jax.models.tensors import Region
from mmc_jax.pool import is_gguf

SUFFIX = ".gguf"
# A file in several parts is named so by llama.cpp.
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
# Tensors that hold numbers of the config.
_FACTORS = ("rope_freqs.weight",)
# Kinds of tensors that the `gguf` package turns into floats.
_KINDS = (
    "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
)
_SUFFIXES = (".weight", ".bias")


def parts(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns all files of a GGUF checkpoint.

    Raises:
      FileNotFoundError: A part is missing.
    """
    match = _PART.search(path.name)
    if match is None:
        return [path]
    stem = path.name[: match.start()]
    found = [
        path.with_name(f"{stem}-{i:05}-of-{match[2]}{SUFFIX}")
        for i in range(1, int(match[2]) + 1)
    ]
    for file in found:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing; {path.name} is a part")
    return found


def _gguf() -> types.ModuleType:
    """Returns the `gguf` package.

    Raises:
      ImportError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            "GGUF files are read by the package gguf, which is missing: "
            "pip install 'mmc_jax[gguf]'"
        ) from error
    return gguf


class GgufFile:
    """A GGUF checkpoint, opened: its metadata, and tensors where they lie.

    Args:
      path: The file, or any part of it.

    Attributes:
      metadata: All metadata by key.

    Raises:
      FileNotFoundError: A part is missing.
      ImportError: The package gguf is not installed.
      ValueError: A file is not readable as GGUF.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.metadata: dict[str, Any] = {}
        self._tensors: dict[str, Any] = {}
        gguf = _gguf()
        for file in parts(path):
            files.refuse_pointer(file)
            gguf_limits.check(file)
            try:
                reader = gguf.GGUFReader(file)
                # The first part has the metadata of all.
                self.metadata = {
                    **{k: f.contents() for k, f in reader.fields.items()},
                    **self.metadata,
                }
            # Damaged files end in errors of many kinds.
            except Exception as error:
                raise ValueError(
                    f"{file}: not readable as GGUF ({type(error).__name__}: "
                    f"{error})"
                ) from error
            self._tensors |= {tensor.name: tensor for tensor in reader.tensors}
        num_tensors = self.metadata.get("split.tensors.count")
        if num_tensors not in (None, len(self._tensors)):
            raise ValueError(
                f"{path}: {len(self._tensors)} tensors, of {num_tensors}"
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the tensors, of matrices [out, in]."""
        return {
            name: tuple(int(size) for size in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
        }

    def kinds(self) -> dict[str, str]:
        """Returns how the tensors are stored, such as "Q4_K"."""
        return {n: t.tensor_type.name for n, t in self._tensors.items()}

    def rows(self, name: str, rows: np.ndarray | slice) -> np.ndarray:
        """Returns rows of a tensor, dequantised, float32.

        Args:
          name: Name of the tensor in the file.
          rows: Indices along its first axis.

        Raises:
          ValueError: It is stored in a way that is not read.
        """
        tensor = self._tensors[name]
        if tensor.tensor_type.name not in _KINDS:
            raise ValueError(
                f"{self.path}: tensor {name} is {tensor.tensor_type.name}; "
                f"read are {', '.join(_KINDS)}"
            )
        return _gguf().dequantize(tensor.data[rows], tensor.tensor_type)

    def architecture(self) -> gguf_configs.Architecture:
        """Returns how its architecture is stored.

        Raises:
          ValueError: The architecture is not read.
        """
        try:
            return gguf_configs.architecture(
                str(self.metadata.get("general.architecture")), FAMILIES
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def config(self) -> transformers.PreTrainedConfig:
        """Returns Hugging Face's config.

        Raises:
          ValueError: The metadata lacks a number, or has one that is not
            implemented.
        """
        stored = self.architecture()
        shapes = self.shapes()
        found = gguf_metadata.Metadata(
            self.metadata,
            shapes,
            {
                name: self.rows(name, slice(None))
                for name in _FACTORS
                if name in shapes
            },
        )
        try:
            attributes = stored.config(found)
            found.check()
            return transformers.AutoConfig.for_model(
                stored.model_type,
                **attributes,
                bos_token_id=self.metadata.get("tokenizer.ggml.bos_token_id"),
                eos_token_id=self.metadata.get("tokenizer.ggml.eos_token_id"),
            )
        except KeyError as error:
            raise ValueError(f"{self.path}: no tensor {error}") from None
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        # Values of other types end in errors of many kinds.
        except Exception as error:
            raise ValueError(
                f"{self.path}: no {stored.model_type} can be built of its "
                f"metadata ({' '.join(str(error).split())})"
            ) from error


@functools.lru_cache(maxsize=2)
def _opened(path: pathlib.Path, identity: tuple[int, int]) -> GgufFile:
    del identity
    return GgufFile(path)


def open(path: pathlib.Path) -> GgufFile:
    """Returns a GGUF checkpoint, opened once while the file stays as it is."""
    status = path.stat()
    return _opened(path, (status.st_mtime_ns, status.st_size))


class Tensors:
    """The tensors of a GGUF file under Hugging Face's names and shapes.

    Args:
      path: Path of the file.
      config: Hugging Face's config of it.
      expected: Names of the tensors that the model needs.

    Attributes:
      names: Names of the tensors that are there; what the model does not need
        stands there under its name in the file.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: transformers.PreTrainedConfig,
        expected: Iterable[str],
    ):
        gguf = _gguf()
        self.folder = path
        self._file = open(path)
        self._config = config
        self._stored = self._file.architecture()
        self._shapes = self._file.shapes()
        listed = gguf.get_tensor_name_map(
            getattr(gguf.MODEL_ARCH, self._stored.names),
            config.num_hidden_layers,
        )
        self._name_in_file = {}
        for name in expected:
            in_file = listed.get_name(name, try_suffixes=_SUFFIXES)
            if in_file in self._shapes:
                self._name_in_file[name] = in_file
        left_over = set(self._shapes) - set(self._name_in_file.values())
        self.names = {*self._name_in_file, *left_over.difference(_FACTORS)}

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses a tensor of another shape.

        Raises:
          ValueError: The shapes differ.
        """
        found = self._shapes[self._name_in_file[name]]
        if self._is_transposed(name):
            found = found[::-1]
        if _is_convolution(name):
            found = (found[0], 1, found[1])
        if found != shape:
            raise ValueError(
                f"{self.folder}: tensor {name} has shape {found}, the port "
                f"needs {shape}"
            )

    def read(self, name: str, region: Region) -> np.ndarray:
        """Returns a part of a tensor, dequantised, float32.

        Args:
          name: Hugging Face's name of the tensor.
          region: Positions along each axis.
        """
        in_file = self._name_in_file[name]
        slices = tuple(slice(axis.start, axis.stop) for axis in region)
        if _is_convolution(name):
            return self._file.rows(in_file, slices[0])[:, None][:, *slices[1:]]
        if self._is_transposed(name):
            return self._file.rows(in_file, slices[1])[:, slices[0]].T
        rows = self._source_rows(name, region[0])
        value = self._file.rows(in_file, rows)[:, *slices[1:]]
        if name.endswith(".A_log"):
            # The file holds the rate itself, which is negative.
            return np.log(-value)
        if self._stored.norms_plus_one and name.endswith("norm.weight"):
            return value - 1
        return value

    def equal(self, first: str, second: str, region: Region) -> bool:
        """Returns whether parts of two matrices hold the same numbers."""
        return np.array_equal(
            self.read(first, region), self.read(second, region)
        )

    def __enter__(self) -> "Tensors":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _is_transposed(self, name: str) -> bool:
        module = name.removesuffix(".weight")
        return module != name and module.endswith(
            tuple(self._stored.transposed) or ("\0",)
        )

    def _source_rows(self, name: str, rows: range) -> np.ndarray | slice:
        """Returns where the rows of a tensor lie in the file."""
        config = self._config
        module = name.rpartition(".")[0]
        index = np.arange(rows.start, rows.stop)
        if self._stored.permuted and module.endswith(("q_proj", "k_proj")):
            # Of a head's two halves the file interleaves the features.
            heads = config.num_attention_heads
            if module.endswith("k_proj"):
                heads = config.num_key_value_heads
            total = self._shapes[self._name_in_file[name]][0]
            size = total // heads
            head, feature = np.divmod(index, size)
            half, place = np.divmod(feature, size // 2)
            return head * size + 2 * place + half
        if module.endswith("self_attention.query_key_value"):
            return _falcon_rows(index, config)
        return slice(rows.start, rows.stop)


def _falcon_rows(
    index: np.ndarray, config: transformers.FalconConfig
) -> np.ndarray:
    """Returns where rows of Falcon's queries, keys and values lie in the file.

    Hugging Face groups them by key head: its queries, its key, its value. The
    file holds all queries, then all keys, then all values.
    """
    heads = config.num_attention_heads
    groups = config.num_kv_heads if config.new_decoder_architecture else 1
    size = config.hidden_size // heads
    queries = heads // groups
    place, feature = np.divmod(index, size)
    group, member = np.divmod(place, queries + 2)
    source = np.where(
        member < queries,
        group * queries + member,
        heads + (member - queries) * groups + group,
    )
    return source * size + feature


def _is_convolution(name: str) -> bool:
    return name.endswith("conv1d.weight")


def provenance(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a score table tells of a GGUF file, nothing of a folder.

    How many tensors are stored in each way ("quantisation"), and the size of
    all parts ("num_bytes").
    """
    if not is_gguf(path):
        return {}
    kinds = list(open(path).kinds().values())
    return {
        "quantisation": {
            kind: kinds.count(kind) for kind in sorted(set(kinds))
        },
        "num_bytes": sum(file.stat().st_size for file in parts(path)),
    }
