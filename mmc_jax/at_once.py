"""Keeps runs apart that write or read the same files at once."""

import contextlib
import fcntl
import os
import pathlib
import threading
import uuid
from collections.abc import Iterator

from absl import logging

from mmc_jax import disk

_of_thread = threading.local()


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a new file's name; it replaces `path` once the block ends.

    So the file is complete as soon as it has its name. The name before is used
    by nobody else: several runs, threads or hosts may write `path` at once, and
    the last one remains. Nothing stays of a block that fails.

    Args:
      path: The file to be written.

    Raises:
      OSError: It cannot be written or replaced; the message names it, and says
        of a full disk what to do.
    """
    path = pathlib.Path(path)
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield new
        new.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        # What a write raises names no file; other files are named already.
        if isinstance(error, OSError) and error.filename in (None, str(new)):
            raise disk.failure(path, error) from error
        raise


@contextlib.contextmanager
def alone(
    folder: str | os.PathLike[str], *, reads: bool = False
) -> Iterator[None]:
    """Waits until no other run writes in a folder, and keeps others out.

    It is for files that belong together and take seconds to write. Where the
    file system has no locks, nobody waits. In a block that writes, further ones
    of the same thread and folder do not wait for it. In a block that only reads
    there must be none that writes: it would wait for itself.

    Args:
      folder: The folder; it is made if it is missing.
      reads: Whether the block only reads: then others may read as well, and
        no folder is made.

    Raises:
      OSError: The folder cannot be made.
    """
    folder = pathlib.Path(folder)
    if not reads:
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Some file systems have no locks, and some folders may not be opened.
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            own = _own()
            place = os.path.realpath(folder)
            if place not in own:
                _wait(descriptor, reads, folder)
                if not reads:
                    own.add(place)
                    stack.callback(own.discard, place)
        yield


def _own() -> set[str]:
    """Returns the folders in which this thread writes."""
    if not hasattr(_of_thread, "folders"):
        _of_thread.folders = set()
    return _of_thread.folders


def _wait(descriptor: int, reads: bool, folder: pathlib.Path) -> None:
    """Locks an open folder, and says so where that takes time."""
    lock = fcntl.LOCK_SH if reads else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.warning("%s: waiting for another run that is there", folder)
        fcntl.flock(descriptor, lock)
