"""Result folders: result.json, arrays beside it, figures as SVG and PNG."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import math
import os
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from mmc_jax import at_once, disk, law, limits, stages
from mmc_jax.report import drawing
from mmc_jax.statistics import Estimate

_PACKAGES = ("mmc_jax", "jax", "flax", "optax", "transformers", "numpy")
_FITTED_DIGITS = 10
_RESULT, _ARRAYS = "result.json", "arrays.npz"


def write_result(
    folder: str | os.PathLike[str],
    numbers: Mapping[str, Any],
    *,
    flags: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    figures: Mapping[str, Callable[[], Figure] | Figure] | None = None,
    files: Mapping[str, Callable[[pathlib.Path], object]] | None = None,
    then: Callable[[pathlib.Path], object] | None = None,
) -> pathlib.Path:
    """Writes a result folder and returns the path of its result.json.

    A folder with a result.json is complete. The files of an earlier result
    stay until all of the new ones are written beside them; then the earlier
    result.json goes first and the new one comes last. It names the SHA-256 of
    every other file, so that `read_arrays` and `check_file` can tell a mixture
    of two results.

    Args:
      folder: Is made if it is missing. Files that an earlier result.json names
        are replaced or removed, others stay.
      numbers: What was found, as JSON; units in the names. What is not finite
        becomes null.
      flags: What the program was called with.
      arrays: Written to arrays.npz, without pickles.
      figures: Figures, or functions that draw them; each is written as
        <name>.svg and <name>.png, the same bytes on every run.
      files: Functions that write further files, by the names of the files. Each
        is called with the path to write to.
      then: Function that is called with the path of result.json once all is
        written, while other runs that write this folder wait.

    Raises:
      OSError: A file cannot be written; it is named.
    """
    folder = pathlib.Path(folder)
    writers = dict(files or {})
    if arrays:
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        writers[_ARRAYS] = _writer(file.getvalue())
    for name, draw in (figures or {}).items():
        with stages.stage(f"drawing {name}"):
            saved = drawing.saved(draw)
        for suffix, content in saved.items():
            writers[f"{name}.{suffix}"] = _writer(content)
    content = {
        "flags": dict(flags),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "device": {
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "cpu_cores": os.cpu_count(),
        },
        "sha256": {},
        **numbers,
    }
    with at_once.alone(folder):
        _replace(folder, writers, content)
        if then is not None:
            then(folder / _RESULT)
    return folder / _RESULT


def read_arrays(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the arrays of a result folder by name.

    Args:
      folder: What `write_result` wrote. A result.json of older versions names
        no SHA-256; its arrays are read as they are.

    Raises:
      FileNotFoundError: There is no arrays.npz.
      ValueError: The folder is incomplete, its files are of two results, or
        one is damaged.
    """
    folder = pathlib.Path(folder)
    # Another run might change the folder between two lines.
    with at_once.alone(folder, reads=True):
        return _read_arrays(folder)


def _read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a folder in which no run writes."""
    file, path = folder / _ARRAYS, folder / _RESULT
    if not file.is_file():
        raise FileNotFoundError(f"{file}: missing")
    if not path.is_file():
        raise ValueError(
            f"{folder}: incomplete, it has no {_RESULT}; run the program again "
            "that writes it."
        )
    _check_file(file)
    limits.check_archive("arrays", file)
    # NumPy leaves a file that it opened itself open where it is damaged.
    with file.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as arrays:
                found = {name: np.asarray(arrays[name]) for name in arrays}
        except Exception as error:  # Damaged ZIP files raise many kinds.
            raise ValueError(f"{file}: damaged ({error})") from error
    # A member of an archive that is no .npy file is read as bytes.
    if other := [name for name in found if found[name].dtype.kind == "S"]:
        raise ValueError(f"{file}: {other[0]!r} is no array")
    return found


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuses a file of a result folder that is damaged or of another run.

    A file without a result.json beside it passes, and so does one that the
    result.json does not name.

    Args:
      path: The file, such as certificate.npz.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is not the file that the result.json beside it names, or
        that cannot be read.
    """
    path = pathlib.Path(path)
    with at_once.alone(path.parent, reads=True):
        _check_file(path)


def _check_file(path: pathlib.Path) -> None:
    """Refuses a file of a folder in which no run writes."""
    found = _sha256(path)
    beside = path.parent / _RESULT
    expected = _hashes(beside).get(path.name) if beside.is_file() else None
    if expected is not None and expected != found:
        raise ValueError(
            f"{path} is not the file that {_RESULT} names: it is damaged or of "
            "another run; run the program again that writes the folder."
        )


def law_numbers(fit: law.Fit) -> dict[str, Any]:
    """Returns a fitted law as JSON, to the digits of `fitted`.

    Args:
      fit: Law that is written.
    """
    return {
        # A is beyond float64 for a steep law at large P; A_at_scale and scale
        # never are.
        **{
            name: fitted(getattr(fit, name))
            for name in (
                "A",
                "A_at_scale",
                "scale",
                "alpha",
                "L_inf",
                "objective",
            )
        },
        "converged": bool(fit.converged),
        "r_squared": fitted(fit.r_squared),
        "num_points": fit.num_points,
        "huber_delta": fit.delta,
    }


def fitted(numbers: Any) -> Any:
    """Returns fitted numbers as JSON holds them, to 10 significant digits.

    An optimizer ends within a tolerance of 1e-10; the digits below differ from
    one processor to another.

    Args:
      numbers: Numbers, texts, arrays, and containers of them.
    """
    match plain(numbers):
        case dict() as found:
            return {key: fitted(value) for key, value in found.items()}
        case list() as found:
            return [fitted(value) for value in found]
        case float() as found:
            return float(f"{found:.{_FITTED_DIGITS}g}")
        case found:
            return found


def interval_numbers(estimate: Estimate) -> dict[str, float] | None:
    """Returns the interval of a fitted number as JSON; None if it has none.

    Args:
      estimate: The number with its interval.
    """
    if not estimate.has_interval:
        return None
    return {
        "low": fitted(estimate.low),
        "high": fitted(estimate.high),
        "level": estimate.level,
    }


def plain(numbers: Any) -> Any:
    """Returns numbers as JSON holds them; what is not finite becomes None.

    Args:
      numbers: Numbers, texts, arrays, and containers of them. A NamedTuple
        becomes an object of its fields.
    """
    if hasattr(numbers, "_asdict"):  # A NamedTuple.
        return plain(numbers._asdict())
    match numbers:
        case dict():
            return {key: plain(value) for key, value in numbers.items()}
        case list() | tuple():
            return [plain(value) for value in numbers]
        case np.ndarray() | np.generic():
            return plain(numbers.tolist())
        case float() if not math.isfinite(numbers):
            return None
    return numbers


def _hashes(path: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that a result.json names, if any.

    Raises:
      ValueError: It is not what `write_result` wrote.
    """
    try:
        limits.check_file("result", path)
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not readable as JSON ({limits.reason(error)})"
        ) from error
    hashes = content.get("sha256", {}) if isinstance(content, dict) else None
    if not isinstance(hashes, dict):
        raise ValueError(f"{path}: not a result of mmc_jax")
    return hashes


def _sha256(path: pathlib.Path) -> str:
    limits.refuse_pipe(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _writer(content: bytes) -> Callable[[pathlib.Path], object]:
    return lambda path: path.write_bytes(content)


def _replace(
    folder: pathlib.Path,
    writers: Mapping[str, Callable[[pathlib.Path], object]],
    content: dict[str, Any],
) -> None:
    """Writes files in the place of an earlier result's; result.json last."""

    def write_result_json(path: pathlib.Path) -> None:
        text = json.dumps(plain(content), indent=1, allow_nan=False) + "\n"
        path.write_text(text)

    partials = {}
    for name, write in {**writers, _RESULT: write_result_json}.items():
        partials[name] = folder / f"{name}.partial"
        try:
            write(partials[name])
            content["sha256"][name] = _sha256(partials[name])
        except OSError as error:
            for path in partials.values():
                with contextlib.suppress(OSError):
                    path.unlink()
            failure = disk.failure(folder / name, error)
            failure.add_note("nothing of an earlier result was changed")
            raise failure from error
    earlier = folder / _RESULT
    if earlier.is_file():
        named = _named(earlier)
        # From here on the folder says that it is incomplete.
        earlier.unlink()
        for name in named - set(partials):
            (folder / name).unlink(missing_ok=True)
    for name, partial in partials.items():  # The last is result.json.
        partial.rename(folder / name)


def _named(path: pathlib.Path) -> set[str]:
    """Returns the files beside a result.json that it names, if it can be read.

    Only plain names count, so that no file of another folder is removed.
    """
    try:
        names = _hashes(path)
    except ValueError:
        return set()
    return {
        name
        for name in names
        if pathlib.PurePath(name).name == name and name != ".."
    }
