"""Programs that tests call in their own process."""

import importlib
from types import ModuleType

from absl import flags


def imported(name: str) -> ModuleType:
    """Returns the program's module; others may be imported beside it.

    All define --out, which absl refuses the second time: the last one holds,
    for all of them.
    """
    if "out" in flags.FLAGS:
        flags.FLAGS.remove_flag_values(["out"])
    return importlib.import_module(f"experiments.{name}")
