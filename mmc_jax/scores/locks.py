"""One run at a time in a folder."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import platform
from collections.abc import Iterator

_LOCK = "lock"


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], work: str) -> Iterator[None]:
    """Keeps other runs out of a folder, as long as the context lasts.

    The lock ends with the process, however that ends: what a killed run leaves
    behind does not count. Where the file system has no locks, the process that
    the file names decides, if it is of this host; that of another host counts
    as running.

    Args:
      folder: The folder; it is made if it is missing.
      work: What is done there, for the error of others; "another run is
        scoring" goes before "into this folder".

    Raises:
      BlockingIOError: Another run is there. The message says on which host,
        which process, and since when.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOCK
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _taken(file):
                cure = (
                    ""
                    if _has_locks(file)
                    else f"; if it is gone, delete {path}"
                )
                raise BlockingIOError(_who(path) + cure)
        except BaseException:
            os.close(file)
            raise
        # Its owner may have deleted it between the two lines above.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                break
        os.close(file)
    try:
        # On a full disk it locks all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(_own(work)).encode(), 0)
        yield
    finally:
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(file)


def _taken(file: int) -> bool:
    """Returns whether this process has the lock now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks.
        return not _is_running(_read(os.pread(file, 4096, 0)))
    return True


def _has_locks(file: int) -> bool:
    """Returns whether the file system has locks, which end with a process."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _own(work: str) -> dict[str, str | int]:
    now = datetime.datetime.now().astimezone()
    return {
        "work": work,
        "host": platform.node(),
        "process": os.getpid(),
        "since": now.isoformat(sep=" ", timespec="seconds"),
    }


def _read(content: bytes) -> dict:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_running(owner: dict) -> bool:
    """Returns whether the owner of a lock may still be at work."""
    if owner.get("host") != platform.node():
        return bool(owner)
    process = owner.get("process")
    if not isinstance(process, int) or process <= 0:
        return False  # To os.kill 0 and less are groups of processes.
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _who(path: pathlib.Path) -> str:
    """Returns the sentence for those that come second."""
    owner = {}
    with contextlib.suppress(OSError):  # It may have ended meanwhile.
        owner = _read(path.read_bytes())
    who = (
        f"process {owner.get('process')} on {owner.get('host')}, since "
        f"{owner.get('since')}"
        if owner
        else "a process that has just begun"
    )
    return (
        f"{path.parent}: another run is {owner.get('work', 'writing')} "
        f"into this folder ({who}); wait for it, or "
        "choose another output folder"
    )
