"""What is kept for the next run: programs, texts, what checkpoints are.

The folder is mmc_jax in the user's cache (XDG_CACHE_HOME or ~/.cache), or the
one that MMC_CACHE_DIR names. It may be deleted at any time.
"""

import os
import pathlib
import platform
import sys

from absl import logging

# Compiling in a shorter time is hardly slower than reading the program.
_MIN_COMPILE_SECONDS = 0.1
# JAX's own default: any other value was chosen by somebody.
_JAX_MIN_COMPILE_SECONDS = 1.0
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
    cache = os.environ.get("MMC_CACHE_DIR")
    if not cache:
        user_cache = os.environ.get("XDG_CACHE_HOME")
        cache = pathlib.Path(user_cache or pathlib.Path.home() / ".cache")
        cache /= "mmc_jax"
    found = pathlib.Path(cache, *names)
    try:
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        why_not = _why_not(found)
    except OSError:
        return None
    if why_not:
        logging.warning("nothing is kept for the next run: %s", why_not)
        return None
    return found


def _why_not(found: pathlib.Path) -> str:
    """Returns why a folder is not used, or ""."""
    stat = found.stat()
    if stat.st_uid != os.getuid():
        return f"{found} belongs to another user; delete it"
    if stat.st_mode & 0o022:
        return f"others may write to {found}; run: chmod 700 {found}"
    return ""


def keep_programs() -> None:
    """Sets JAX's persistent compilation cache, unless it is set or disabled.

    Each machine has a folder of its own, as a program may use all that its
    processor can. JAX's own settings go before: JAX_COMPILATION_CACHE_DIR for
    another folder, JAX_ENABLE_COMPILATION_CACHE=0 for none. Where JAX is not
    imported yet it stays so, and finds the settings in its environment.
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
    programs = folder("xla", platform.node())
    if programs is None:
        return
    shortest = "jax_persistent_cache_min_compile_time_secs"
    if jax is None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        os.environ.setdefault(shortest.upper(), str(_MIN_COMPILE_SECONDS))
        return
    jax.config.update("jax_compilation_cache_dir", str(programs))
    if getattr(jax.config, shortest) == _JAX_MIN_COMPILE_SECONDS:
        jax.config.update(shortest, _MIN_COMPILE_SECONDS)
