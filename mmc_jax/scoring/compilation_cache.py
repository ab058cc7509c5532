"""Compiled programs stay on disk, so that the next run starts at once."""

import os
import pathlib
import platform

import jax


def enable() -> None:
    """Sets JAX's persistent compilation cache, unless it is set or disabled.

    The folder is mmc_jax/xla in the user's cache (XDG_CACHE_HOME or ~/.cache),
    for each machine its own, as a program may use all that its processor can.
    JAX's own settings go before: JAX_COMPILATION_CACHE_DIR for another folder,
    JAX_ENABLE_COMPILATION_CACHE=0 for none.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    if not jax.config.jax_enable_compilation_cache:
        return
    user_cache = os.environ.get("XDG_CACHE_HOME")
    user_cache = pathlib.Path(user_cache or pathlib.Path.home() / ".cache")
    folder = user_cache / "mmc_jax" / "xla" / platform.node()
    try:
        # JAX runs what lies there: nobody else may write it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return  # No home to write to, as in some containers: only slower.
    jax.config.update("jax_compilation_cache_dir", str(folder))
