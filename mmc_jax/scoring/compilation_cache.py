"""Compiled programs stay on disk, so that the next run starts at once."""

import os
import pathlib
import platform

import jax
from absl import logging


def enable() -> None:
    """Sets JAX's persistent compilation cache, unless it is set or disabled.

    The folder is mmc_jax/xla in the user's cache (XDG_CACHE_HOME or ~/.cache),
    for each machine its own, as a program may use all that its processor can.
    A folder that others may write to is not used, with a warning: JAX runs what
    lies there. JAX's own settings go before: JAX_COMPILATION_CACHE_DIR for
    another folder, JAX_ENABLE_COMPILATION_CACHE=0 for none.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    if not jax.config.jax_enable_compilation_cache:
        return
    user_cache = os.environ.get("XDG_CACHE_HOME")
    user_cache = pathlib.Path(user_cache or pathlib.Path.home() / ".cache")
    folder = user_cache / "mmc_jax" / "xla" / platform.node()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        why_not = _why_not(folder)
    except OSError:
        return  # No home to write to, as in some containers: only slower.
    if why_not:
        logging.warning("compiled programs are not kept: %s", why_not)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _why_not(folder: pathlib.Path) -> str:
    """Returns why a folder is not used, or "": JAX runs what lies there."""
    stat = folder.stat()
    if stat.st_uid != os.getuid():
        return f"{folder} belongs to another user; delete it"
    if stat.st_mode & 0o022:
        return f"others may write to {folder}; run: chmod 700 {folder}"
    return ""
