"""Converted parameters, kept so that a second start need not convert.

An entry is an Orbax checkpoint in a folder that is named by what it was made
from: the files, the code that converts them and the dtype. Whatever changes in
those makes another entry; old ones are never read again and may be deleted. An
entry appears when it is complete, and is read back with a sum of its bits.
"""

import contextlib
import functools
import inspect
import os
import pathlib
import shutil
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from logging import ERROR, getLogger

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from mmc_jax import disk
from mmc_jax.models.hashes import json_sha256

_PACKAGE = __name__.rpartition(".")[0]


def code_version(*modules: types.ModuleType) -> str:
    """Returns a hash of the modules' source and of all that they import here.

    Args:
      modules: Modules of `mmc_jax.models`; imports from elsewhere do not
        count.
    """
    sources: dict[str, str] = {}
    todo = [module.__name__ for module in modules]
    while todo:
        name = todo.pop()
        if name in sources or not name.startswith(f"{_PACKAGE}."):
            continue
        sources[name] = inspect.getsource(sys.modules[name])
        for value in vars(sys.modules[name]).values():
            of = "__name__" if inspect.ismodule(value) else "__module__"
            todo += [str(getattr(value, of, ""))]
    return json_sha256(sources)


def entry(
    cache_dir: str | os.PathLike[str],
    hashes: Mapping[str, str],
    version: str,
    dtype: jax.typing.DTypeLike,
) -> pathlib.Path:
    """Returns the folder of an entry, whether it is there or not.

    Args:
      cache_dir: Folder of all entries.
      hashes: Hashes of the checkpoint's files, by their names.
      version: Hash of the code that converts them, from `code_version`.
      dtype: Dtype of the parameters.
    """
    name = json_sha256([dict(hashes), version, str(jnp.dtype(dtype))])
    return pathlib.Path(cache_dir).absolute() / "params" / name


def restored(
    folder: pathlib.Path, params: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array] | None:
    """Returns the parameters of an entry; None if it is missing or damaged.

    All processes call it. Where the parameters are split over processes, all
    get the parameters or all get None. Where each process has all parameters,
    each has an answer of its own.

    Args:
      folder: Folder of the entry, from `entry`.
      params: The shape, dtype and sharding that each parameter must have.
    """
    alone = _is_alone(param.sharding for param in params.values())
    if not _all_agree(folder.is_dir(), alone):
        return None
    values = None
    try:
        values = _read(folder, params, alone)
    except Exception as error:  # Orbax and TensorStore raise of all types.
        ignore_late_words()
        logging.warning(
            "%s: this cache is damaged and will be made anew: %s", folder, error
        )
    return values if _all_agree(values is not None, alone) else None


@contextlib.contextmanager
def saved_by_orbax(path: pathlib.Path) -> Iterator[None]:
    """Says of a full disk what it is, where Orbax writes.

    Args:
      path: What is written. What is half written of it is removed.

    Raises:
      OSError: The disk is full; the message names the path.
    """
    ignore_late_words()
    try:
        yield
    except Exception as error:
        if not disk.is_full(error):
            raise
        if jax.process_count() == 1:
            # Steps of a training lie in the folder itself.
            for rest in (
                *path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"),
                *path.glob("*.orbax-checkpoint-tmp*"),
            ):
                shutil.rmtree(rest, ignore_errors=True)
        raise disk.failure(path, error) from error


def ignore_late_words() -> None:
    """Silences what Orbax leaves under way when a read or a write has failed.

    It ends in other threads, or on an event loop that is closed, each with a
    traceback of its own that nobody can catch. What is wrong is said once.
    """
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == _ignore.__name__:
        return
    sys.unraisablehook = functools.wraps(_ignore)(
        functools.partial(_ignore, before)
    )
    getLogger("asyncio").addFilter(
        lambda record: (
            "exception was never retrieved" not in record.getMessage()
        )
    )
    # What Orbax says there of an error it raises as well.
    getLogger("absl").addFilter(
        lambda record: (
            record.levelno < ERROR or "/orbax/" not in record.pathname
        )
    )


def _ignore(
    before: Callable[["sys.UnraisableHookArgs"], object],
    unraisable: "sys.UnraisableHookArgs",
) -> None:
    code = getattr(unraisable.object, "cr_code", None)
    is_of_orbax = "/orbax/" in getattr(code, "co_filename", "")
    is_late = isinstance(unraisable.exc_value, RuntimeError) and (
        str(unraisable.exc_value) == "Event loop is closed"
    )
    if not (is_of_orbax or is_late):
        before(unraisable)


def _read(
    folder: pathlib.Path,
    params: Mapping[str, jax.ShapeDtypeStruct],
    alone: bool,
) -> dict[str, jax.Array]:
    plain = ocp.RestoreArgs(restore_type=np.ndarray)
    how = {
        path: plain
        if param.sharding is None
        else ocp.ArrayRestoreArgs(
            dtype=param.dtype,
            sharding=param.sharding,
            global_shape=param.shape,
        )
        for path, param in params.items()
    }
    sums = dict.fromkeys(params, plain)
    with _checkpointer(alone) as checkpointer:
        tree = checkpointer.restore(
            folder,
            ocp.args.PyTreeRestore(
                restore_args={"params": how, "bit_sums": sums}
            ),
        )
    values = {}
    for path, param in params.items():
        value = jax.device_put(tree["params"].pop(path), param.sharding)
        if (value.shape, value.dtype) != (param.shape, param.dtype):
            raise ValueError(f"{path} is {value.shape} {value.dtype}")
        values[path] = value
    for path, found in jax.device_get(_bit_sums(values)).items():
        if found != tree["bit_sums"][path]:
            raise ValueError(f"{path} is not what was written")
    return values


def write(folder: pathlib.Path, values: Mapping[str, jax.Array]) -> None:
    """Writes an entry; one that is half written does not count.

    All processes call it. Where each has all parameters, process 0 writes. A
    cache that cannot be written costs time only, and is a warning.

    Args:
      folder: Folder of the entry, from `entry`.
      values: The parameters by path.
    """
    alone = _is_alone(value.sharding for value in values.values())
    if alone and jax.process_index() > 0:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with saved_by_orbax(folder), _checkpointer(alone) as checkpointer:
            tree = {"params": dict(values), "bit_sums": _bit_sums(dict(values))}
            if alone:  # Orbax takes no jax.Array that one process has alone.
                tree = jax.device_get(tree)
            checkpointer.save(folder, ocp.args.PyTreeSave(tree), force=True)
    except Exception as error:  # A full disk, say, of whatever type.
        logging.warning("%s: the cache is not written: %s", folder, error)


def _is_alone(shardings: Iterable[jax.sharding.Sharding | None]) -> bool:
    """Returns whether this process, one of several, has all of the arrays."""
    return jax.process_count() > 1 and all(
        sharding is None or sharding.is_fully_addressable
        for sharding in shardings
    )


def _checkpointer(alone: bool) -> ocp.Checkpointer:
    """Returns Orbax's reader and writer, which waits for nobody if alone."""
    options = ocp.options.MultiprocessingOptions()
    if alone:
        process = jax.process_index()
        options = ocp.options.MultiprocessingOptions(
            primary_host=process,
            active_processes={process},
            barrier_sync_key_prefix=f"process_{process}",
        )
    return ocp.Checkpointer(
        # Weights are noise: compressing them takes time and saves little.
        ocp.PyTreeCheckpointHandler(
            use_compression=False, multiprocessing_options=options
        ),
        multiprocessing_options=options,
    )


@jax.jit
def _bit_sums(values: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the sum of each array's words modulo 2^32, however it is split.

    One flipped bit, or a part of zeros, changes it.
    """

    def bit_sum(x):
        word = jnp.uint16 if x.dtype.itemsize == 2 else jnp.uint32
        bits = jax.lax.bitcast_convert_type(x, word)
        return jnp.sum(bits, dtype=jnp.uint32)

    return jax.tree.map(bit_sum, values)


def _all_agree(answer: bool, alone: bool) -> bool:
    """Returns whether all processes say yes; those that are alone, this one."""
    if alone:
        return answer
    return bool(np.all(multihost_utils.process_allgather(np.array(answer))))
