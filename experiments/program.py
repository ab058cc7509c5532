"""What starts every program: a strict command line, its flags for results."""

import gc
import logging as python_logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from mmc_jax import user_cache

from . import stops, streams

# Threads of libraries beside those of each core.
_FURTHER_THREADS = 8


def _make_printable(record: python_logging.LogRecord) -> bool:
    """Makes a line of the log printable, as a filter that keeps all lines."""
    record.msg, record.args = streams.printable(record.getMessage()), ()
    return True


def _check_threads() -> None:
    """Ends the program where the machine starts too few threads.

    XLA, Arrow and OpenBLAS start some for each core, and would end the process
    or say that a file cannot be read. They start no fewer than are tried here.
    """
    over, threads = threading.Event(), []
    num_cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Those that this process may use.
        num_cores = len(os.sched_getaffinity(0))
    try:
        for _ in range(num_cores + _FURTHER_THREADS):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        sys.exit(
            f"error: {error}: {len(threads)} more are all that this user or "
            "container may have (see ulimit -u); end other programs, or raise "
            "the limit"
        )
    finally:
        over.set()
        for thread in threads:
            thread.join()


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; stray arguments are an error.

    What the library says of bad input becomes the program's last words, with
    exit code 1; `--verbosity=1` shows where it was raised. Ctrl-C and SIGTERM
    end it with two lines, what is kept and how to go on, and the exit code 130
    or 143. A second one ends it at once. Compiled programs stay on disk for the
    next run.
    """
    stop = stops.Stops()

    def strict_main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"stray arguments: {' '.join(argv[1:])}")
        _check_threads()
        stop.watch()
        logging.get_absl_handler().addFilter(_make_printable)
        user_cache.keep_programs()
        # Libraries make a million objects that stay. To look through them for
        # garbage as often as Python does takes a tenth of a short run.
        gc.set_threshold(20_000, 10, 10)
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
            words = " ".join(f"error: {error}{notes}".split())
            sys.exit(streams.printable(streams.shortened(words)))
        finally:
            stop.let_end()

    # Libraries beneath tell of every file at INFO.
    logging.set_verbosity(logging.WARNING)
    try:
        with streams.guarded():
            try:
                app.run(strict_main)
            except KeyboardInterrupt:  # Between the work and its end.
                stop.end()
        stop.code = 0
    except SystemExit as end:
        if isinstance(end.code, int):
            stop.code = end.code
        raise


def flag_values() -> dict[str, Any]:
    """Returns the program's own flags with their values."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    return {flag.name: flag.value for flag in own}
