"""What starts every program: a strict command line, its flags for results."""

import signal
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

# The exit code by which shells say that Ctrl-C has ended a program.
_INTERRUPTED = 128 + signal.SIGINT


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; stray arguments are an error.

    What the library says of bad input becomes the program's last words, with
    exit code 1; `--verbosity=1` shows where it was raised.
    """

    def strict_main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"stray arguments: {' '.join(argv[1:])}")
        try:
            main()
        except KeyboardInterrupt:
            print("\ninterrupted; finished work is kept", file=sys.stderr)
            sys.exit(_INTERRUPTED)
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
