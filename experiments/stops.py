"""How programs end at Ctrl-C, or at the SIGTERM of schedulers.

Python itself notices a signal between two of its own instructions. The main
thread may be inside a compilation for minutes, and threads would be waited for
at the end. So a thread of its own sees to it that the process ends.
"""

import atexit
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable

from mmc_jax import early_stops

# Seconds that compiled code has to come back to Python, and that are then left
# to write what is finished. Docker kills 10 seconds after SIGTERM, Slurm 30.
_COMING_BACK, _WRITING = 5.0, 20.0
_LATER = 0.05


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, as the main thread sees it."""


class Stops:
    """Turns signals into `Stopped`, and ends a process that does not notice.

    A second signal ends the process at once. What is finished is on disk by
    then, as it would be after a kill.

    Attributes:
      code: Exit code of a process that ends by itself; 1 until its work is
        done.
    """

    def __init__(self) -> None:
        self.code = 1
        self._number = signal.SIGINT
        self._is_noticed = threading.Event()
        self._is_ending = threading.Lock()
        self._is_over = False
        self._num_own = 0

    def watch(self) -> None:
        """Takes over both signals; the main thread has to call it."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        for number in early_stops.EXIT_CODES:
            signal.signal(number, self._notice)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        sys.unraisablehook = functools.partial(
            self._raise_again, sys.unraisablehook
        )
        threading.Thread(
            target=self._see_to_it, args=(reader,), daemon=True
        ).start()
        atexit.register(self._leave)

    @property
    def is_stopping(self) -> bool:
        """Whether the main thread has noticed a signal."""
        return self._is_noticed.is_set()

    def end(self, kept: str = "") -> None:
        """Ends the process with two lines: what is kept and how to go on.

        Args:
          kept: What is kept; that finished work is, if empty.
        """
        with self._is_ending:  # Another thread that comes later waits for ever.
            early_stops.end(self._number, kept)

    def let_end(self) -> None:
        """Lets a signal from now on end the process: the work is over.

        Python still waits for threads and frees what libraries hold. What is
        raised meanwhile would be printed and dropped.
        """
        self._is_over = True

    def _leave(self) -> None:
        """Ends the process before its libraries are taken apart.

        Threads of Arrow or XLA may still be at work then, and one that meets an
        interpreter that is gone would abort: "terminate called". All else that
        is to be done at the end was registered later, and so is done already.
        """
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # Python has words for that.
            return
        os._exit(self.code)

    def _notice(self, number: int, _: object) -> None:
        if not self.is_stopping:  # Else it would break into what is written.
            self._number = signal.Signals(number)
            self._is_noticed.set()
            if self._is_over:
                self.end()
            raise Stopped

    def _raise_again(
        self,
        before: Callable[["sys.UnraisableHookArgs"], object],
        unraisable: "sys.UnraisableHookArgs",
    ) -> None:
        """Raises once more what Python has dropped.

        It drops what is raised while objects are freed, and JAX frees some.
        """
        if not isinstance(unraisable.exc_value, Stopped):
            before(unraisable)
            return
        self._num_own += 1
        self._is_noticed.clear()
        # Later: here it would be dropped as well. A signal ends a wait, too.
        main = threading.main_thread().ident
        threading.Timer(
            _LATER, signal.pthread_kill, [main, self._number]
        ).start()

    def _see_to_it(self, reader: int) -> None:
        """Waits for a signal, and then not for long for the main thread."""
        self._number = _next_signal(reader)
        second = threading.Event()

        def wait_for_second() -> None:
            _next_signal(reader)
            while self._num_own:
                self._num_own -= 1
                _next_signal(reader)
            second.set()

        threading.Thread(target=wait_for_second, daemon=True).start()
        second.wait(_COMING_BACK)
        if self.is_stopping:
            second.wait(_WRITING)
        self.end()


def _next_signal(reader: int) -> signal.Signals:
    """Waits for one of both signals; others may be handled in Python, too."""
    while (number := os.read(reader, 1)[0]) not in early_stops.EXIT_CODES:
        pass
    return signal.Signals(number)
