"""How a program ends at Ctrl-C or SIGTERM while it is still being imported.

Programs call `watch` before all other imports, so this imports next to nothing.
`experiments/stops.py` takes over once the command line is read.
"""

import contextlib
import os
import signal
import sys

# The exit codes by which shells say that Ctrl-C, or a scheduler, has ended a
# program.
EXIT_CODES = {
    number: 128 + number for number in (signal.SIGINT, signal.SIGTERM)
}


def watch() -> None:
    """Lets both signals end the process; the main thread has to call it."""
    for number in EXIT_CODES:
        signal.signal(number, _end_now)


def end(number: int, kept: str = "") -> None:
    """Ends the process with two lines: what is kept and how to go on.

    Args:
      number: The signal that ends it.
      kept: What is kept; that finished work is, if empty.
    """
    said = kept or "finished work is kept"
    for act in (
        # One write: other threads may have words of their own.
        lambda: sys.stderr.write(
            f"\ninterrupted: {said}\nthe same command goes on from there\n"
        ),
        lambda: sys.stderr.flush(),
        lambda: sys.stdout.flush(),
    ):
        # Whoever read it is gone, or the signal has met a write.
        with contextlib.suppress(
            AttributeError, OSError, RuntimeError, ValueError
        ):
            act()
    # Not sys.exit, which would wait for threads and print what it meets.
    os._exit(EXIT_CODES[number])


def _end_now(number: int, _: object) -> None:
    for other in EXIT_CODES:
        signal.signal(other, signal.SIG_IGN)  # Once is enough.
    end(number)
