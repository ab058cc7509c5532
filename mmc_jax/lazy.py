"""Packages that import a module when one of its names is first used.

A program's `--help` needs no JAX, and a study of losses no transformers: with
PEP 562 a package's `__getattr__` is asked for a name that is not there yet.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attach(
    package: str,
    names: Mapping[str, Sequence[str]] | None = None,
    submodules: Sequence[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` for a package.

    Args:
      package: The package's `__name__`.
      names: The public names that each of its modules defines, by the module's
        name inside the package.
      submodules: Modules that are public themselves.

    Raises:
      ValueError: A module bears the name of something public: the package would
        have two things under one name.

    Example:
      `__getattr__, __dir__, __all__ = attach(__name__, {"files": ["open"]})`
      in `scores/__init__.py` makes `scores.open` import `scores.files`.
    """
    module_of = {
        name: module for module, of in (names or {}).items() for name in of
    }
    public = sorted([*module_of, *submodules])
    clashes = set(module_of) & {*module_of.values(), *submodules}
    if clashes:
        raise ValueError(f"{package}: {sorted(clashes)} name a module too")

    def find(name: str) -> Any:
        if name in module_of:
            module = importlib.import_module(f"{package}.{module_of[name]}")
            value = getattr(module, name)
        elif name in submodules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}"
            )
        # The next look-up is an ordinary one.
        setattr(sys.modules[package], name, value)
        return value

    return find, lambda: public, public
