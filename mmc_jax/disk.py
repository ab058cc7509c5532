"""What is said of a file that cannot be written, as on a full disk."""

import errno
import os

# Errors after which nothing more can be written.
FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: Exception) -> bool:
    """Returns whether an error is that of a full disk.

    Libraries tell of one by errors of any type.

    Args:
      error: What was raised.
    """
    return _full(error) is not None


def _full(error: Exception) -> int | None:
    number = getattr(error, "errno", None)
    text = str(error)
    return next(
        (n for n in FULL if n == number or os.strerror(n) in text), None
    )


def failure(
    path: str | os.PathLike[str], error: Exception, *, num_bytes: int = 0
) -> OSError:
    """Returns what to raise of a file that could not be written.

    It names the file, which what a write raises does not. Of a full disk it
    says what to do.

    Args:
      path: The file or folder.
      error: What was raised.
      num_bytes: Size of what was to be written, in bytes; 0 where nobody knows.
    """
    full = _full(error)
    if full is not None:
        needed = f": {num_bytes:,} bytes were needed" if num_bytes else ""
        words = (
            f"the disk is full{needed}. Free some and start again; what is "
            "finished is kept"
        )
        return OSError(full, words, os.fspath(path))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, os.fspath(path))
    words = " ".join(str(error).split())
    return OSError(f"{os.fspath(path)}: not written: {words}")
