"""What starts every program: a strict command line, its flags for results."""

import signal
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

# The exit codes by which shells say that Ctrl-C, or a scheduler, has ended a
# program.
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it: ends a program as Ctrl-C does."""


def _raise_terminated(*_) -> None:
    raise _Terminated


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; stray arguments are an error.

    What the library says of bad input becomes the program's last words, with
    exit code 1; `--verbosity=1` shows where it was raised. Ctrl-C and SIGTERM
    end it with two lines, what is kept and how to go on, and the exit code 130
    or 143.
    """

    def strict_main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"stray arguments: {' '.join(argv[1:])}")
        signal.signal(signal.SIGTERM, _raise_terminated)
        try:
            main()
        except KeyboardInterrupt as error:
            # Two lines, whatever is raised while threads come to their end.
            kept = str(error) or "finished work is kept"
            code = (
                _TERMINATED if isinstance(error, _Terminated) else _INTERRUPTED
            )
            print(f"\ninterrupted: {kept}", file=sys.stderr)
            print("the same command goes on from there", file=sys.stderr)
            sys.exit(code)
        except (ValueError, OSError, ImportError) as error:
            if logging.get_verbosity() >= logging.DEBUG:
                raise
            notes = "".join(f"; {n}" for n in getattr(error, "__notes__", ()))
            # What libraries beneath say may go over several lines.
            sys.exit(" ".join(f"error: {error}{notes}".split()))

    # Libraries beneath tell of every file at INFO.
    logging.set_verbosity(logging.WARNING)
    app.run(strict_main)


def flag_values() -> dict[str, Any]:
    """Returns the program's own flags with their values."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    return {flag.name: flag.value for flag in own}
