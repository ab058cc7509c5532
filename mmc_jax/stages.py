"""Says what long work is doing while it does it.

Work that is silent for minutes looks as if it hangs. A `stage` writes a line to
standard error every few seconds: what is being done, how far it is, and for how
long. Short work says nothing.
"""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator

# Seconds between two lines, and before the first.
_SECONDS = 5.0
# When the work began that no line has spoken of, and when a stage last ended.
_silent_since = _last_end = float("-inf")

# The stages that are open, the innermost last, each with how far it is.
_open: list["_Stage"] = []
_lock = threading.Lock()


class _Stage:
    """One stage: what is done, how far it is, when it began."""

    def __init__(self, what: str):
        self.what, self.how_far = what, ""
        self.started = time.monotonic()

    def line(self) -> str:
        seconds = time.monotonic() - self.started
        how_far = f": {self.how_far}" if self.how_far else ""
        line = f"{self.what}{how_far} ({seconds:.0f} s)"
        # A name from data cannot move the cursor.
        return "".join(c if c.isprintable() else "?" for c in line)


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Says every 5 seconds what is being done, until the block ends.

    Stages may lie in one another: the innermost one speaks. In a terminal the
    lines replace each other; elsewhere, such as in a log file, they follow each
    other. Stages that follow each other within 5 seconds are one work, so that
    many short ones are not silent for long.

    Args:
      what: What the block does, such as "searching the frontier".

    >>> with stage("adding numbers"):
    ...     say("half of them")
    ...     print(1 + 1)
    2
    """
    global _silent_since, _last_end
    ended = threading.Event()
    with _lock:
        is_outermost = not _open
        _open.append(own := _Stage(what))
        if is_outermost and own.started - _last_end > _SECONDS:
            _silent_since = own.started
    if is_outermost:
        thread = threading.Thread(target=_speak, args=(ended,), daemon=True)
        thread.start()
    try:
        yield
    finally:
        with _lock:
            _open.remove(own)
            _last_end = time.monotonic()
        if is_outermost:
            ended.set()
            thread.join()


def say(how_far: str) -> None:
    """Says how far the innermost stage is, from its next line on.

    Nothing happens where no stage is open.

    Args:
      how_far: How far it is, such as "3 of 20 models".
    """
    with _lock:
        if _open:
            _open[-1].how_far = how_far


def _speak(ended: threading.Event) -> None:
    """Writes a line every few seconds, until the outermost stage has ended."""
    global _silent_since
    is_terminal = sys.stderr.isatty()
    has_spoken = False
    while not ended.wait(_silent_since + _SECONDS - time.monotonic()):
        with _lock:
            _silent_since = time.monotonic()
            line = _open[-1].line() if _open else ""
        if is_terminal:
            # One column less than there are, so that no line is broken.
            line = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
        has_spoken = True
    if has_spoken and is_terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
