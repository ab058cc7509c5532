"""The metadata of a GGUF file, with a note of what was read of it.

A file can state any value. What no model has is refused here, before memory or
time follows it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import limits

# Keys that describe a model and do not change its logits.
_INERT = ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned")


class Metadata:
    """The metadata of one architecture, with a note of what was read.

    Args:
      values: All metadata by key.
      tensors: Shapes of the file's tensors by name, of matrices [out, in].
      factors: Values of the small tensors that hold rotary factors, by name.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        tensors: Mapping[str, tuple[int, ...]],
        factors: Mapping[str, np.ndarray],
    ):
        self.architecture = str(values.get("general.architecture"))
        self.tensors = tensors
        self.factors = factors
        self._prefix = f"{self.architecture}."
        self._values = values
        self._read = {self._prefix + key for key in _INERT}

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key of the architecture.

        Raises:
          ValueError: It is a number that no model has.
        """
        self._read.add(self._prefix + key)
        value = self._values.get(self._prefix + key, default)
        name = f"metadata {self._prefix}{key}"
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{name}={value} is not finite")
            return _shortest(value)
        if type(value) is int:
            if value < 0:
                raise ValueError(f"{name}={value} is negative")
            is_length = "context" in key or "window" in key
            limits.check("context" if is_length else "width", value, name)
        return value

    def need(self, key: str) -> Any:
        """Returns the value of a key that must be there.

        Raises:
          ValueError: It is not.
        """
        value = self.get(key)
        if value is None:
            raise ValueError(f"metadata {self._prefix}{key} is missing")
        return value

    def num_layers(self) -> int:
        """Returns the number of layers, which is that of the tensors' blocks.

        Raises:
          ValueError: The metadata has another number, or there are no blocks.
        """
        stated = self.need("block_count")
        blocks = {
            name.split(".")[1]
            for name in self.tensors
            if name.startswith("blk.")
        }
        if not blocks or stated != len(blocks):
            raise ValueError(
                f"metadata {self._prefix}block_count={stated!r}, but there are "
                f"tensors of {len(blocks)} blocks"
            )
        return stated

    def expect(self, key: str, *values: Any) -> None:
        """Reads a key that may be missing or have one of some values.

        Raises:
          ValueError: It has another value.
        """
        found = self.get(key)
        if found is not None and found not in values:
            raise ValueError(
                f"metadata {self._prefix}{key}={found!r} is not implemented"
            )

    def check(self) -> None:
        """Refuses keys of the architecture that nobody read.

        Raises:
          ValueError: With all of them.
        """
        others = [
            f"{key}={value!r}"
            for key, value in self._values.items()
            if key.startswith(self._prefix) and key not in self._read
        ]
        if others:
            raise ValueError(
                f"metadata that is not implemented: {', '.join(others)}"
            )


def _shortest(value: float) -> float:
    """Returns the shortest decimal that is the same float32: 1e-05."""
    return float(str(np.float32(value)))
