"""Results of other programs, as chapters of a page."""

import json
import os
import pathlib
from collections.abc import Sequence

from mmc_jax import limits
from mmc_jax.report.page import document
from mmc_jax.report.sections import Section, chapter

# Chapters that other programs make, by the key of their result.json.
_CHAPTERS = {"granularity": "granularity", "routers": "routers"}
# What stands in a chapter as well, where a result has it.
_BESIDE = {"routers": ("router_law",)}


def result_chapters(folders: Sequence[str | os.PathLike[str]]) -> list[Section]:
    """Returns the chapters that result folders of other programs make.

    Args:
      folders: Result folders of measure_granularity or compare_systems.

    Raises:
      FileNotFoundError: A folder has no result.json.
      ValueError: It cannot be read, or makes no chapter, or one that another
        folder makes as well.
    """
    found = []
    made_by: dict[str, os.PathLike[str] | str] = {}
    for folder in folders:
        path = pathlib.Path(folder, "result.json")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing")
        limits.check_file("result", path)
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}: not readable as JSON ({limits.reason(error)})"
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
        for key in keys:
            if made_by.setdefault(key, folder) != folder:
                raise ValueError(
                    f"{path}: {made_by[key]} makes the chapter {key} already; "
                    "a page has one, give one of the two"
                )
            one = chapter(
                _CHAPTERS[key],
                [
                    Section(
                        {
                            key: content[key],
                            "from": str(folder),
                            **{
                                more: content[more]
                                for more in _BESIDE.get(key, ())
                                if isinstance(content.get(more), dict)
                            },
                        }
                    )
                ],
            )
            _check_shown(one, path)
            found.append(one)
    return found


def _check_shown(one: Section, path: pathlib.Path) -> None:
    """Refuses a chapter that no page can show.

    Otherwise it would end the program at the very end of its work.
    """
    try:
        document.page_of(one.numbers)
    # A file of a stranger may hold anything in the place of any number.
    except Exception as error:
        raise ValueError(
            f"{path}: no chapter of a page can be made of it "
            f"({type(error).__name__}: {error}); run the program again that "
            "wrote it"
        ) from error
