"""Programs as tests run them: as a user does, or in their own process."""

import importlib
import os
import pathlib
import subprocess
import sys
from types import ModuleType

from absl import flags

_ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns what `python -m` with the arguments says and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )


def imported(name: str) -> ModuleType:
    """Returns the program's module; others may be imported beside it.

    All define --out, which absl refuses the second time: the last one holds,
    for all of them.
    """
    if "out" in flags.FLAGS:
        flags.FLAGS.remove_flag_values(["out"])
    return importlib.import_module(f"experiments.{name}")
