"""What a certified search keeps on disk, so that it goes on after a kill.

M models, X texts, B segments of a window.

A folder holds `key.txt` (the version of these files and a hash of the
arguments), `start.npz` (the subsets to begin with) and a file for each finished
window. Files appear complete: they are written under a name of their own beside
and then renamed, so that several searches of the same numbers may share a
folder.
"""

import hashlib
import io
import os
import pathlib
import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from absl import logging

from mmc_jax import at_once, disk
from mmc_jax.frontier.proof.integers import IntegerPool
from mmc_jax.statistics.inputs import Inputs

# Of what is kept. What other versions of mmc_jax have kept is of no use: their
# whole numbers, windows or thresholds are others.
_VERSION = "mmc_jax-certified-3"
_HASH = re.compile(b"[0-9a-f]{64}")


class KeptWindow(NamedTuple):
    """What is proven of a window.

    Attributes:
      low: Least budget of the window, a whole number.
      high: One above its largest budget.
      budgets: Largest budget of each segment, B whole numbers, rising.
      sums: Loss sum that the tree proves for each segment, [B] int64.
      tree: The tree, [nodes] int16.
      thresholds: Thresholds of the window, [X] uint32.
      better: Subsets that were known or found, [n, M] bool.
      num_nodes: Number of nodes that were bounded.
      scale: One unit of a loss: that of the pool.
    """

    low: int
    high: int
    budgets: list[int]
    sums: np.ndarray
    tree: np.ndarray
    thresholds: np.ndarray
    better: np.ndarray
    num_nodes: int
    scale: float


class WorkFolder:
    """The folder of one certified search.

    Attributes:
      path: Folder that holds the search's files.
    """

    path: pathlib.Path
    _key: str  # The hash of the search's arguments.

    def __init__(self, path: str | os.PathLike[str], key: str):
        """Takes the folder; nothing is read or written.

        Args:
          path: Folder that holds the search's files.
          key: Hash of the search's arguments, 64 hexadecimal digits.
        """
        self.path = pathlib.Path(path)
        self._key = key

    def claim(self) -> None:
        """Makes the folder this search's, or finds that it is.

        Raises:
          ValueError: it holds the search of other numbers.
          OSError: the folder cannot be written.
        """
        # Else two searches that begin at once would both find it free.
        with at_once.alone(self.path):
            self._claim()

    def _claim(self) -> None:
        path = self.path / "key.txt"
        try:
            kept = path.read_bytes()
        except FileNotFoundError:
            save(path, _sealed(_VERSION, self._key))
            return
        version, _, key = kept.partition(b"\n")[0].partition(b" ")
        if _HASH.fullmatch(kept):  # Before versions were written.
            self._set_all_aside()
            self._claim()
        elif kept != _sealed(version.decode("latin1"), key.decode("latin1")):
            _set_aside(path, "its checksum is another")
            self._claim()
        elif version != _VERSION.encode():
            self._set_all_aside()
            self._claim()
        elif key != self._key.encode():
            raise ValueError(
                f"{self.path} holds a search of other losses, costs or gap "
                "limit: remove it, or name another folder."
            )

    def _set_all_aside(self) -> None:
        """Moves what another version has kept to a folder beside."""
        aside = self.path.with_name(
            f"{self.path.name}.{uuid.uuid4().hex[:8]}.other_version"
        )
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return  # Another search of the same numbers was faster.
        logging.warning(
            "%s was kept by another version of mmc_jax, which this one cannot "
            "go on from: it was renamed to %s, and all is computed again. "
            "Delete it, or go on with that version.",
            self.path,
            aside.name,
        )
        self.path.mkdir(exist_ok=True)

    def start(self, num_models: int) -> np.ndarray | None:
        """Returns the subsets to begin with [S, M] bool, None for none kept."""
        path = self.path / "start.npz"
        if not path.exists():
            return None
        try:
            arrays = self._arrays(path)
            masks = _booleans(arrays["masks"])
            _require(masks.ndim == 2, "is no table")
            _require(masks.shape[1] == num_models, "is of other models")
            return masks
        except FileNotFoundError:
            return None
        # NumPy, zipfile and zlib raise errors of many kinds.
        except Exception as error:
            if _says_nothing_of_files(error):
                raise
            _set_aside(path, error)
            return None

    def keep_start(self, masks: np.ndarray) -> None:
        """Writes the subsets to begin with, [S, M] bool."""
        arrays = {"masks": masks, "key": np.array(self._key)}
        save_arrays(self.path / "start.npz", arrays)

    def keep(
        self, place: int, window: KeptWindow, unfinished: bool = False
    ) -> None:
        """Writes what is proven of a window.

        Args:
          place: Number of the window.
          window: What is proven of it.
          unfinished: Whether its tree is not finished.

        Raises:
          OSError: the file cannot be written, with its name; the disk is full.
        """
        arrays = window._asdict()
        # Whole numbers of any size.
        arrays["budgets"] = np.array([str(n) for n in window.budgets])
        arrays["range"] = np.array(
            [str(arrays.pop("low")), str(arrays.pop("high"))]
        )
        arrays["key"] = np.array(self._key)
        save_arrays(self._path(place, unfinished), arrays)

    def kept(
        self, place: int, pool: IntegerPool, unfinished: bool = False
    ) -> KeptWindow | None:
        """Returns what is proven of a window, None for nothing.

        A damaged file is set aside under another name, with a warning.

        Args:
          place: Number of the window.
          pool: The search's pool.
          unfinished: Whether an unfinished tree will do.
        """
        path = self._path(place, False)
        if not path.exists():
            if not unfinished:
                return None
            path = self._path(place, True)
        try:
            return self._window(path, pool)
        except FileNotFoundError:
            return None
        # NumPy, zipfile and zlib raise errors of many kinds.
        except Exception as error:
            if _says_nothing_of_files(error):
                raise
            _set_aside(path, error)
            return None

    def _window(self, path: pathlib.Path, pool: IntegerPool) -> KeptWindow:
        arrays = self._arrays(path)
        num_models, num_texts = pool.values.shape
        low, high = map(int, arrays["range"].tolist())
        window = KeptWindow(
            low,
            high,
            [int(n) for n in arrays["budgets"].tolist()],
            arrays["sums"],
            arrays["tree"],
            arrays["thresholds"],
            _booleans(arrays["better"]),
            int(arrays["num_nodes"]),
            float(arrays["scale"]),
        )
        _require(
            window.thresholds.shape == (num_texts,)
            and window.thresholds.dtype == np.uint32
            and window.better.shape[1:] == (num_models,)
            and window.sums.shape == (len(window.budgets),)
            and window.sums.dtype == np.int64
            and window.tree.dtype == np.int16
            and len(window.budgets) > 0,
            "does not fit the search",
        )
        return window

    def _arrays(self, path: pathlib.Path) -> dict[str, np.ndarray]:
        """Returns the arrays of a file of this search."""
        data = io.BytesIO(path.read_bytes())
        with np.load(data, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        _require(str(arrays["key"]) == self._key, "is of another search")
        return arrays

    def _path(self, place: int, unfinished: bool) -> pathlib.Path:
        ending = ".open" if unfinished else ""
        return self.path / f"window-{place:05d}{ending}.npz"


def search_key(inputs: Inputs, gap_limit: float) -> str:
    """Returns a hash of all that a search depends on, hexadecimal.

    Args:
      inputs: Losses, costs and weights.
      gap_limit: Share of a loss that is good enough.
    """
    digest = hashlib.sha256(f"2 {gap_limit!r}".encode())
    for array in inputs:
        array = np.zeros(0) if array is None else np.ascontiguousarray(array)
        digest.update(repr(array.shape).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a compressed `.npz` file that is complete once there.

    Args:
      path: File to be written.
      arrays: Arrays by name.

    Raises:
      OSError: the file cannot be written, with its name; the disk is full.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    save(path, stream.getvalue())


def save(path: pathlib.Path, data: bytes) -> None:
    """Writes a file that is complete once it is there.

    Args:
      path: File to be written; its folder is made where there is none.
      data: Content of the file.

    Raises:
      OSError: the file cannot be written, with its name; the disk is full.
    """
    try:
        try:
            _place(path, data)
        except FileNotFoundError:
            # Another search of the same numbers has ended, and has deleted the
            # folder since it was made.
            _place(path, data)
    except OSError as error:
        raise disk.failure(path, error, num_bytes=len(data)) from error


def _place(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with at_once.replaced(path) as new:
        new.write_bytes(data)


def _sealed(version: str, key: str) -> bytes:
    """Returns the content of `key.txt`: version, key, their checksum."""
    text = f"{version} {key}\n"
    return f"{text}{hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(f"it {complaint}")


def _booleans(masks: np.ndarray) -> np.ndarray:
    """Returns masks of which every byte is 0 or 1."""
    _require(masks.dtype == bool, f"has dtype {masks.dtype}")
    _require(bool((masks.view(np.uint8) <= 1).all()), "holds no booleans")
    return masks


def _says_nothing_of_files(error: Exception) -> bool:
    """Returns whether a file may be as it was written, though not read now."""
    is_of_the_system = isinstance(error, OSError) and error.errno is not None
    return isinstance(error, MemoryError) or (
        is_of_the_system and not isinstance(error, IsADirectoryError)
    )


def _set_aside(path: pathlib.Path, reason: object) -> None:
    """Renames a damaged file, and says so."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return  # Another search of the same numbers was faster.
    logging.warning(
        "%s is damaged (%s): it was renamed to %s and is computed again.",
        path,
        reason,
        aside.name,
    )
