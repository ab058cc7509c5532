"""Results of other programs, as chapters of a page."""

import json
import os
import pathlib
from collections.abc import Sequence

from mmc_jax import limits
from mmc_jax.report.sections import Section, chapter

# Chapters that other programs make, by the key of their result.json.
_CHAPTERS = {"granularity": "granularity", "routers": "routers"}
# What stands in a chapter as well, where a result has it.
_BESIDE = {"routers": ("router_law",)}


def folder_of(out: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the result folder of a page: its name without ".html".

    Args:
      out: Path of the page.

    Raises:
      ValueError: The name does not end in ".html".
      OSError: The page or its folder cannot be written there.
    """
    path = pathlib.Path(out)
    if path.suffix != ".html" or not path.stem.strip("."):
        raise ValueError(
            f"--out: {path} has to end in .html; it is the page to write"
        )
    folder = path.with_suffix("")
    if path.is_dir():
        raise IsADirectoryError(f"--out: {path} is a folder, not a page")
    # What is there already of the folder's path, from the inside out.
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            f"--out: {there} is a file; the numbers need the folder {folder}"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"--out: {there} cannot be written to")
    return folder


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
    from mmc_jax.report.page import document  # It builds on this module.

    try:
        document.page_of(one.numbers)
    # A file of a stranger may hold anything in the place of any number.
    except Exception as error:
        raise ValueError(
            f"{path}: no chapter of a page can be made of it "
            f"({type(error).__name__}: {error}); run the program again that "
            "wrote it"
        ) from error
