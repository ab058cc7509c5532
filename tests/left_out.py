"""What tests leave out where it proves nothing for them: starts, figures."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from mmc_jax.law import fitting
from mmc_jax.report import drawing

# Starts of a fit in tests of what is done with a law. That fits find the best
# one from 64 is for tests/law.
_NUM_STARTS = 8


@contextlib.contextmanager
def most_starts() -> Iterator[None]:
    """Lets fits begin from 8 starts, not from 64: they take a quarter."""
    start_logs = fitting.start_logs

    def few(form, variables, losses, num_starts):
        num_starts = min(num_starts, _NUM_STARTS)
        return start_logs(form, variables, losses, num_starts)

    with mock.patch.object(fitting, "start_logs", few):
        yield


@contextlib.contextmanager
def figures() -> Iterator[None]:
    """Writes empty files in place of figures."""
    files = {"svg": b"", "png": b""}
    with mock.patch.object(drawing, "saved", lambda draw: files):
        yield
