"""Where a page lies, and its result folder."""

import os
import pathlib


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
