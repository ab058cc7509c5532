"""What starts every program: a strict command line, its flags for results."""

import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from mmc_jax import user_cache

from . import stops


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; stray arguments are an error.

    What the library says of bad input becomes the program's last words, with
    exit code 1; `--verbosity=1` shows where it was raised. Ctrl-C and SIGTERM
    end it with two lines, what is kept and how to go on, and the exit code 130
    or 143. A second one ends it at once. Compiled programs stay on disk for the
    next run.
    """

    def strict_main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"stray arguments: {' '.join(argv[1:])}")
        stop = stops.Stops()
        stop.watch()
        user_cache.keep_programs()
        try:
            main()
        except KeyboardInterrupt as error:
            stop.end(str(error))
        except Exception as error:
            if stop.is_stopping:  # Whatever is raised while work ends.
                stop.end()
            if logging.get_verbosity() >= logging.DEBUG:
                raise
            if not isinstance(error, (ValueError, OSError, ImportError)):
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
