"""NumPy archives (.npz), without objects.

Long: arrays `text_id`, `model` and `value` of one length. Wide: `models` [M],
`text_id` [X] and `values` [M, X]. Further arrays [X] are columns of texts.
"""

import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mmc_jax import limits

_WIDE = ("models", "values")


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of a NumPy archive."""
    return path.name.lower().endswith(".npz")


def header(path: pathlib.Path) -> list[str]:
    """Returns the names of the arrays."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError):
        return []
    with archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read(
    path: pathlib.Path,
    text_columns: Sequence[str],
    only_columns: Sequence[str] | None,
) -> pa.Table:
    """Returns the arrays as columns, `values` as one column a model.

    Raises:
      ValueError: The file is no archive, an array holds objects, or lengths do
        not agree; the message names the array.
    """
    arrays = _arrays(path)
    if not set(_WIDE) <= arrays.keys():
        return _table(path, list(arrays), list(arrays.values()))
    models, values = (arrays.pop(name) for name in _WIDE)
    if models.ndim != 1 or values.ndim != 2 or len(values) != len(models):
        raise ValueError(
            f"{path}: 'values' has the shape {values.shape}, for "
            f"{models.shape} models; it is [models, texts]"
        )
    return _table(
        path,
        [*arrays, *_names(path, models)],
        [*arrays.values(), *values],
    )


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    arrays = {}
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: no NumPy archive; np.savez writes one")
    limits.check_archive("arrays", path)
    # What NumPy, zipfile, zlib and the reader of NumPy's headers, which is
    # Python's own tokenizer, raise of a damaged file has no common kind.
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:
            raise ValueError(f"{path}: no NumPy archive ({error})") from error
        for name in archive.files:
            arrays[name] = _array(path, archive, name)
    return arrays


def _array(
    path: pathlib.Path, archive: np.lib.npyio.NpzFile, name: str
) -> np.ndarray:
    try:
        array = archive[name]
    except MemoryError as error:
        raise ValueError(
            f"{path}, array {name!r}: larger than the memory ({error})"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path}, array {name!r}: not readable without running code, or "
            f"damaged ({error}); save it as numbers or as strings of a fixed "
            "width"
        ) from error
    # A member of an archive that is no .npy file is read as bytes.
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {name!r} is no array of NumPy")
    return array


def _names(path: pathlib.Path, models: np.ndarray) -> list[str]:
    if models.dtype.kind != "S":
        return [str(name) for name in models]
    try:
        return [bytes(name).decode() for name in models]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, array 'models': not UTF-8 ({error.reason})"
        ) from error


def _of_this_machine(
    path: pathlib.Path, name: str, array: np.ndarray
) -> np.ndarray:
    """Returns an array in the order of bytes that Arrow reads."""
    if array.dtype.kind not in "biufSUM" or array.dtype.char == "g":
        raise ValueError(
            f"{path}, array {name!r}: {array.dtype} is neither numbers nor "
            "strings; save it as float64"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _table(
    path: pathlib.Path, names: list[str], arrays: list[np.ndarray]
) -> pa.Table:
    columns = []
    for name, array in zip(names, arrays, strict=True):
        if array.ndim != 1:
            raise ValueError(
                f"{path}, array {name!r}: its shape is {array.shape}; a column "
                "has one axis"
            )
        if len(array) != len(arrays[0]):
            raise ValueError(
                f"{path}, array {name!r}: {len(array)} values, and "
                f"{len(arrays[0])} of {names[0]!r}"
            )
        columns.append(pa.array(_of_this_machine(path, name, array)))
    return pa.table(columns, names=names)
