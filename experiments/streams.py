"""What programs print: harmless to terminals; work goes on where none reads."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from mmc_jax import disk

# What else than printable characters is written: ends of lines and columns, and
# colours in what programs print. All else could move the cursor, say.
_LINES = re.compile("([\n\t])")
_LINES_AND_COLOURS = re.compile("([\n\t]|\x1b\\[[0-9;]*m)")
# Bars go back to the start of a line, or a line up, and clear its end.
_LINES_AND_BARS = re.compile("([\n\t\r]|\x1b\\[[0-9;]*[mKA])")
# Characters that stay of the last words of a program.
_FIRST, _LAST = 2000, 500
# By which shells say that nobody reads any more, as of `mmc | head`.
_NOBODY_READS = 141


def printable(text: str, harmless: re.Pattern[str] = _LINES) -> str:
    """Returns a text with escapes for control characters that may do harm.

    Args:
      text: Words that may hold names from data.
      harmless: Pattern of what stays as it is, in one group.
    """
    if text.isprintable():
        return text
    pieces = harmless.split(text)
    if all(piece.isprintable() for piece in pieces[::2]):
        return text
    from mmc_jax.report import labels

    return "".join(
        piece if i % 2 else labels.printable(piece)
        for i, piece in enumerate(pieces)
    )


def shortened(text: str) -> str:
    """Returns a text without its middle, if it is too long to be read.

    Args:
      text: Words that may hold a cell of a file, of any length.
    """
    if len(text) <= _FIRST + _LAST:
        return text
    return f"{text[:_FIRST]} [...] {text[-_LAST:]}"


class _Stream:
    """A standard stream that never fails, with names that give no orders.

    What cannot be written, on a full disk or as nobody reads it, is dropped: no
    work is lost for it.

    Args:
      stream: The stream beneath.
      harmless: Pattern of the control characters that are written.

    Attributes:
      error: Why something was dropped; None if nothing was.
    """

    def __init__(self, stream: TextIO, harmless: re.Pattern[str]):
        self._stream = stream
        self._harmless = harmless
        self.error: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            # A letter that its encoding lacks is no reason to fail. What was
            # opened as a file and leads to a terminal by now stays as it is.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Writes what is harmless of a text, and escapes of the rest."""
        text = printable(text, self._harmless)
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is not written yet."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            # Else Python would try it, and tell of it, once more at its end.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Makes both standard streams harmless; says at the end what was dropped.

    Where nobody reads, as of `mmc list_models | head`, nothing is said.
    """
    _open_all()
    sys.stdout = out = _Stream(sys.stdout, _LINES_AND_COLOURS)
    sys.stderr = _Stream(sys.stderr, _LINES_AND_BARS)
    failure = None
    try:
        yield
    except SystemExit as end:
        failure = end if end.code else None
    out.flush()
    if failure is not None:
        raise failure
    if isinstance(out.error, BrokenPipeError):
        sys.exit(_NOBODY_READS)
    if out.error is not None:
        sys.exit(f"error: {disk.failure('standard output', out.error)}")


def _open_all() -> None:
    """Gives each standard stream a file that has none, as of `mmc >&-`.

    The next file to be opened would take its number, and libraries would write
    their warnings into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8"))  # noqa: SIM115
