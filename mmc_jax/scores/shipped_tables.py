"""Score tables that ship with the package, by their bare names."""

import importlib.resources
import os
import pathlib
import re


def shipped() -> tuple[str, ...]:
    """Returns the names of the score tables that ship, sorted.

    `scores.open` and `--scores` take them in place of a path.

    >>> shipped()
    ('surprisal14',)
    """
    return tuple(
        sorted(file.parent.name for file in _folder().glob("*/corpus.parquet"))
    )


def place(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder that a path or the name of a shipped table stands for.

    What lies at the path comes first: a folder of your own that bears the name
    of a shipped table is your folder.

    Args:
      path: Any path, or a name of `shipped`.
    """
    here = pathlib.Path(path)
    is_name = isinstance(path, str) and re.fullmatch(r"[\w-]+", path)
    if is_name and not here.exists() and path in shipped():
        return _folder() / path
    return here


def _folder() -> pathlib.Path:
    return pathlib.Path(
        str(importlib.resources.files("mmc_jax").joinpath("score_tables"))
    )
