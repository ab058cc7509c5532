"""LoRA adapters of peft beside a checkpoint's weights.

Hu et al. (2021, arXiv 2106.09685): a matrix W becomes W + s B A, with s =
alpha / r, or alpha / sqrt(r) where the adapter is stabilised by rank
(Kalajdzievski, 2023, arXiv 2312.03732). The sum is taken in float32 as tensors
are read, so that the model is the merged one. What else peft adds is refused.
"""

import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from absl import logging

from mmc_jax.corpus import files

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_CURE = (
    "merge the adapter into its base model (peft: merge_and_unload, then "
    "save_pretrained) and score the merged folder"
)
# Keys of adapter_config.json that change no logits of the finished adapter.
_INERT = frozenset(
    """
    auto_mapping base_model_name_or_path corda_config ensure_weight_tying
    eva_config exclude_modules fan_in_fan_out inference_mode layers_pattern
    layers_to_transform loftq_config lora_dropout megatron_core peft_version
    qalora_group_size revision runtime_config target_modules task_type
    """.split()
)
# Far above any published rank or alpha.
_MOST = 2**22
# Kinds of numbers of an adapter's tensors that are read.
_FLOATS = ("float64", "float32", "float16", "bfloat16")
# Other keys, each with what may stand there.
_ALLOWED: Mapping[str, Callable[[Any], bool]] = {
    "bias": lambda value: value in (None, "none"),
    # Others change the base model's weights as well.
    "init_lora_weights": lambda value: (
        value in (None, True, False, "eva", "gaussian", "orthogonal")
    ),
    "lora_alpha": lambda value: (
        type(value) in (int, float) and abs(value) <= _MOST
    ),
    "peft_type": lambda value: value == "LORA",
    "r": lambda value: type(value) is int and 0 < value <= _MOST,
    "use_rslora": lambda value: value in (None, True, False),
}
_NAME = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<matrix>[AB])"
    r"(?:\.default)?\.weight"
)


class _Pair(NamedTuple):
    """The two matrices of a tensor: A is [r, in] and B is [out, r]."""

    A: np.ndarray
    B: np.ndarray


class Adapter:
    """What an adapter adds to the tensors of its base model.

    Args:
      folder: The checkpoint folder, which holds base model and adapter.
      is_transposed: Whether the base's linear layers are stored as [in, out].

    Attributes:
      names: The tensors that it changes.

    Raises:
      FileNotFoundError: There are no weights of the adapter.
      ValueError: It is more than plain LoRA. The message names all that is
        refused.
    """

    def __init__(self, folder: pathlib.Path, *, is_transposed: bool):
        self._path = folder / WEIGHTS
        config = checked_config(folder)
        rank = config["r"]
        root = math.sqrt(rank) if config.get("use_rslora") else rank
        self._scale = np.float32(config["lora_alpha"] / root)
        # As in peft the layers' kind decides, whatever `fan_in_fan_out` says.
        self._is_transposed = is_transposed
        self._pairs = _pairs(self._path, rank)
        self.names = frozenset(self._pairs)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuses an adapter of another model.

        Args:
          shapes: Shapes of the base model's tensors, by their names.

        Raises:
          ValueError: A tensor that is changed is not there, or has another
            shape.
        """
        for name, pair in sorted(self._pairs.items()):
            shape = pair.B.shape[0], pair.A.shape[1]
            shape = shape[::-1] if self._is_transposed else shape
            if shapes.get(name) != shape:
                there = shapes.get(name, "not there")
                raise ValueError(
                    f"{self._path}: it changes {name} of shape {shape}, which "
                    f"is {there} in the base model's files"
                )

    def added(
        self, name: str, value: np.ndarray, region: tuple[range, ...]
    ) -> np.ndarray:
        """Returns a part of a tensor with what the adapter adds, float32.

        Args:
          name: Name of the tensor.
          value: The part of the base model's tensor.
          region: Positions of the part along each axis.
        """
        rows, columns = (slice(axis.start, axis.stop) for axis in region)
        A, B = self._pairs[name]
        if self._is_transposed:
            change = (B[columns] @ A[:, rows]).T
        else:
            change = B[rows] @ A[:, columns]
        return value.astype(np.float32) + self._scale * change


def checked_config(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the adapter's config, which is that of plain LoRA.

    Raises:
      ValueError: It is of another kind, or not readable; the message names all
        that is refused.
    """
    path = folder / CONFIG
    config = files.json_object(path)
    problems = [
        f"{name}={config.get(name)!r}"
        for name, is_allowed in _ALLOWED.items()
        if (name in config or name in ("peft_type", "r", "lora_alpha"))
        and not is_allowed(config.get(name))
    ]
    problems += [
        f"{name}={value!r}"
        for name, value in config.items()
        if value and name not in _INERT and name not in _ALLOWED
    ]
    if problems:
        raise ValueError(
            f"{path}: only plain LoRA adapters are applied, not with "
            f"{', '.join(problems)}; {_CURE}"
        )
    return config


def opened(folder: pathlib.Path, *, is_transposed: bool) -> Adapter | None:
    """Returns the adapter of a folder, None where there is none.

    Args:
      folder: The checkpoint folder.
      is_transposed: Whether the base's linear layers are stored as [in, out].

    Raises:
      FileNotFoundError: There are no weights of the adapter.
      ValueError: It is more than plain LoRA.
    """
    if not (folder / CONFIG).is_file():
        return None
    adapter = Adapter(folder, is_transposed=is_transposed)
    logging.log_first_n(
        logging.WARNING,
        "%s: a LoRA adapter is added to the weights beside it",
        1,
        folder / CONFIG,
    )
    return adapter


def _pairs(path: pathlib.Path, rank: int) -> dict[str, _Pair]:
    """Returns the matrices of an adapter by the base's tensors' names."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; of adapters only safetensors are read"
        )
    files.refuse_pointer(path)
    try:
        stored = safetensors.numpy.load_file(path)
    # NumPy lacks some kinds of numbers, which ends in an AttributeError.
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(
            f"{path}: not readable as safetensors: {error}"
        ) from None
    if not stored:
        raise ValueError(f"{path}: no tensors, so that it changes nothing")
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in stored.items():
        match = _NAME.fullmatch(name)
        if match is None or value.ndim != 2:
            raise ValueError(
                f"{path}: tensor {name} is none of plain LoRA on a linear "
                f"layer; {_CURE}"
            )
        if value.dtype.name not in _FLOATS:
            raise ValueError(
                f"{path}: tensor {name} is {value.dtype}; read are "
                f"{', '.join(_FLOATS)}"
            )
        pair = found.setdefault(f"{match['module']}.weight", {})
        if match["matrix"] in pair:
            raise ValueError(f"{path}: tensor {name} is there a second time")
        pair[match["matrix"]] = value.astype(np.float32)
    for name, pair in found.items():
        ranks = (
            {pair["A"].shape[0], pair["B"].shape[1]}
            if len(pair) == 2
            else set()
        )
        if ranks != {rank}:
            raise ValueError(
                f"{path}: the matrices of {name} are not two of rank {rank}, "
                f"as {CONFIG} says"
            )
        if not all(np.isfinite(value).all() for value in pair.values()):
            raise ValueError(f"{path}: that of {name} holds NaN or infinity")
    return {name: _Pair(**pair) for name, pair in found.items()}
