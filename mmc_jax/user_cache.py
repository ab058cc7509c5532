"""What is kept for the next run: programs, texts, what checkpoints are.

The folder is mmc_jax in the user's cache (XDG_CACHE_HOME or ~/.cache), or the
one that MMC_CACHE_DIR names. It may be deleted at any time.
"""

import contextlib
import importlib.util
import itertools
import os
import pathlib
import platform
import sys
import zlib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from stat import S_ISVTX
from types import ModuleType

from absl import logging

# Compiling in a shorter time is hardly slower than reading the program.
_MIN_COMPILE_SECONDS = 0.1
# JAX's own default: any other value was chosen by somebody.
_JAX_MIN_COMPILE_SECONDS = 1.0
# Lines of the first processor in /proc/cpuinfo, all others are like it.
_MOST_FACTS = 40
# The module of JAX that packs programs. It has no setting for how.
_JAX_CACHE = "jax._src.compilation_cache"
# What JAX takes for "no" in the environment.
_OFF = ("0", "f", "false", "n", "no", "off")


def folder(*names: str) -> pathlib.Path | None:
    """Returns a folder of the cache, made where it is missing.

    Args:
      *names: Names of the folder and of those above it, below the cache's own.

    Returns:
      The folder. None where it cannot be made, as in some containers, or, with
      a warning, where others may write to it: what lies there is trusted.
    """
    try:
        found = _root()
        found.parent.mkdir(parents=True, exist_ok=True)
        for num_below in range(len(names), -1, -1):
            # One by one: those above would not get the mode.
            found.mkdir(mode=0o700, exist_ok=True)
            why_not = _why_not(found, is_last=num_below == 0)
            if why_not:
                logging.warning("nothing is kept for the next run: %s", why_not)
                return None
            if num_below:
                found /= names[-num_below]
    except (OSError, RuntimeError):  # The latter where a user has no home.
        return None
    return found


def _root() -> pathlib.Path:
    """Returns the folder of all that is kept."""
    own = os.environ.get("MMC_CACHE_DIR")
    if own:
        return pathlib.Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return pathlib.Path(cache or pathlib.Path.home() / ".cache", "mmc_jax")


def _why_not(folder: pathlib.Path, *, is_last: bool) -> str:
    """Returns why a folder is not used, or "".

    Args:
      folder: The folder that things lie in, or one above it.
      is_last: Whether things lie in it. In others, whoever may write there
        could put another folder in this one's place.
    """
    stat = folder.stat()
    if stat.st_uid != os.getuid() and (is_last or stat.st_uid != 0):
        return (
            f"{folder} belongs to another user; name another by MMC_CACHE_DIR"
        )
    if stat.st_mode & 0o022 and (is_last or not stat.st_mode & S_ISVTX):
        return f"others may write to {folder}; run: chmod 700 {folder}"
    return ""


class _AfterImport:
    """Calls a function on a module once that is imported.

    Args:
      name: Name of the module.
      change: Function of the module.
    """

    def __init__(self, name: str, change: Callable[[ModuleType], object]):
        self._name = name
        self._change = change

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Returns how Python would import the module, and then the function."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            self._change(module)

        spec.loader.exec_module = execute_and_change
        return spec


def _keep_checksums() -> None:
    """Lets JAX pack the programs that it keeps by zlib, which has checksums.

    By Zstandard, which it takes where that is installed, it writes none: a
    program with a flipped bit would run, to another result or to its end.
    """
    module = sys.modules.get(_JAX_CACHE)
    if module is not None:
        _use_zlib(module)
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(_JAX_CACHE, _use_zlib))


def _use_zlib(module: ModuleType) -> None:
    for name in ("zstd", "zstandard"):
        if hasattr(module, name):
            setattr(module, name, None)


def keep_programs() -> None:
    """Sets JAX's persistent compilation cache, unless it is set or disabled.

    Each machine has a folder of its own, and each kind of processor that bears
    its name, as containers do: a program may use all that its processor can.
    JAX's own settings go before: JAX_COMPILATION_CACHE_DIR for another folder,
    JAX_ENABLE_COMPILATION_CACHE=0 for none. Where JAX is not imported yet it
    stays so, and finds the settings in its environment.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        keep = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower()
        if keep in _OFF or "JAX_COMPILATION_CACHE_DIR" in os.environ:
            return
    elif (
        jax.config.jax_compilation_cache_dir is not None
        or not jax.config.jax_enable_compilation_cache
    ):
        return
    programs = folder("xla", platform.node(), _processor())
    if programs is None:
        return
    _keep_checksums()
    shortest = "jax_persistent_cache_min_compile_time_secs"
    if jax is None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        os.environ.setdefault(shortest.upper(), str(_MIN_COMPILE_SECONDS))
        return
    jax.config.update("jax_compilation_cache_dir", str(programs))
    if getattr(jax.config, shortest) == _JAX_MIN_COMPILE_SECONDS:
        jax.config.update(shortest, _MIN_COMPILE_SECONDS)


def _processor() -> str:
    """Returns a number of what the processor can, hexadecimal."""
    can = platform.machine()
    with (
        contextlib.suppress(OSError),
        open("/proc/cpuinfo", encoding="utf-8", errors="replace") as facts,
    ):
        can += "".join(
            line
            for line in itertools.islice(facts, _MOST_FACTS)
            if line.startswith(("flags", "Features"))
        )
    return f"{zlib.crc32(can.encode()):08x}"
