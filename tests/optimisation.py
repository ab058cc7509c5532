"""How far XLA optimises the programs of the tests.

Most tests compile a program and run it once, for a millisecond: they compile
it quickly. Those that measure a program (its memory, its operations, its bits)
or that compare kernels bear the mark `full_optimisation` and get what users
get. With MMC_TEST_OPTIMISATION=full in the environment all tests do.
"""

import functools
import os
import sys
from collections.abc import Mapping

import jax
from jax._src import compiler
from jax.experimental.compilation_cache import compilation_cache

# XLA's options that make compiling quick, and what they are for users. Emitted
# loops take three times as long to compile with the fusion emitters. For users
# a program is cut in 32 for as many threads: the same loops, for half as much
# processor time again, which other workers need.
_ONE_THREAD = {"xla_cpu_parallel_codegen_split_count": 1}
_QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    **_ONE_THREAD,
}
FULL = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
    **_ONE_THREAD,
}
# As for users down to buffers and operations; machine code comes quickly.
MEASURED = FULL | {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}

_always_full = os.environ.get("MMC_TEST_OPTIMISATION") == "full"
_flags_of_users = os.environ.get("XLA_FLAGS", "")
_is_full: bool | None = None  # None before the first test.


def _flags(options: Mapping[str, int | bool]) -> str:
    """Returns options as the environment variable XLA_FLAGS has them."""
    words = (
        f"--{name}={str(value).lower()}" for name, value in options.items()
    )
    return " ".join((_flags_of_users, *words)).strip()


def install() -> None:
    """Makes each compilation in this process heed `choose`.

    JAX has no setting for it that holds in one process for some tests and not
    for others. This is the one place that touches JAX's inside.
    """
    options_of = compiler.get_compile_options

    @functools.wraps(options_of)
    def with_choice(*args, env_options_overrides=None, **kwargs):
        chosen = FULL if _is_full or _always_full else _QUICK
        overrides = {**chosen, **(env_options_overrides or {})}
        return options_of(*args, env_options_overrides=overrides, **kwargs)

    compiler.get_compile_options = with_choice


def keep_programs(folder: str) -> None:
    """Keeps programs there, for all processes: reading one is half the work.

    Processes that are started from now on find the settings in their
    environment: workers of pytest-xdist and the programs that tests start.
    """
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


def choose(full: bool, *, keep: bool = True) -> None:
    """Compiles from now on in full or quickly, here and in new processes.

    Args:
      full: Whether programs are compiled as for users. They are then not kept:
        what is measured is compiled, and of a program from a file JAX knows
        less.
      keep: Whether programs that are compiled quickly are kept in files.
    """
    global _is_full
    full = full or _always_full
    if full != _is_full:
        # Programs that the other choice has compiled.
        jax.clear_caches()
        if device := sys.modules.get("mmc_jax.scoring.device"):
            device._programs.cache_clear()
    keep = keep and not full
    if keep != jax.config.jax_enable_compilation_cache or full != _is_full:
        jax.config.update("jax_enable_compilation_cache", keep)
        compilation_cache.reset_cache()
    _is_full = full
    os.environ["XLA_FLAGS"] = _flags_of_users if full else _flags(_QUICK)
