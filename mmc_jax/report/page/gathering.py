"""Results of other programs, as chapters of a page."""

import json
import os
import pathlib
from collections.abc import Sequence

from mmc_jax import limits
from mmc_jax.report.sections import Section, chapter

# Chapters that other programs make, by the key of their result.json.
_CHAPTERS = {"granularity": "granularity", "routers": "routers"}


def folder_of(out: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the result folder of a page: its name without ".html".

    Args:
      out: Path of the page.

    Raises:
      ValueError: The name does not end in ".html".
    """
    path = pathlib.Path(out)
    if path.suffix != ".html" or not path.stem:
        raise ValueError(
            f"--out: {path} has to end in .html; it is the page to write"
        )
    return path.with_suffix("")


def result_chapters(folders: Sequence[str | os.PathLike[str]]) -> list[Section]:
    """Returns the chapters that result folders of other programs make.

    Args:
      folders: Result folders of measure_granularity or compare_systems.

    Raises:
      FileNotFoundError: A folder has no result.json.
      ValueError: It cannot be read, or makes no chapter.
    """
    found = []
    for folder in folders:
        path = pathlib.Path(folder, "result.json")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing")
        limits.check_file("result", path)
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{path}: not readable as JSON ({error})"
            ) from error
        keys = [
            key
            for key in _CHAPTERS
            if isinstance(content, dict) and isinstance(content.get(key), dict)
        ]
        if not keys:
            raise ValueError(
                f"{path}: no chapter of a page is in it; there are those of "
                "measure_granularity (granularity) and of compare_systems "
                "--routers (routers)."
            )
        found += [
            chapter(
                _CHAPTERS[key],
                [Section({key: content[key], "from": str(folder)})],
            )
            for key in keys
        ]
    return found
