"""Kills jobs at random times, and compares what a rerun ends with."""

import contextlib
import itertools
import pathlib
import random
import shutil
import signal
import tempfile
import time
from typing import NamedTuple

from tests.experiments import programs
from tests.faults.jobs import Job

# Seconds between two looks at a process.
_LOOK = 0.002


class Kills(NamedTuple):
    """What became of a job that was killed again and again.

    Attributes:
      num_kills: Number of kills that met a process at work.
      num_ends: Number of folders in which the job has ended after its kills.
      lost: What was different in such a folder, or why there was no end.
    """

    num_kills: int
    num_ends: int
    lost: list[str]


def attack(job: Job, num_kills: int, seed: int = 0) -> Kills:
    """Returns what a job ends with after kills at random times.

    A job is started in a folder and killed until it ends there, and then in a
    new folder. Times are those of its processor, so that other work on the
    machine does not matter; they are spread over a full run, from the first
    file that it writes on: nothing can be lost before.

    Args:
      job: The job.
      num_kills: Number of kills.
      seed: Seed of the times.
    """
    times = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        inputs = pathlib.Path(scratch, "inputs")
        inputs.mkdir()
        job.prepare(inputs)
        folders = (pathlib.Path(scratch, str(i)) for i in itertools.count())
        folder, lost, killed, num_ends = next(folders), [], 0, 0
        whole = _run(job, inputs, folder, float("inf"))
        expected = job.found(folder / "out")
        folder, is_new = next(folders), True
        while killed < num_kills:
            limit = times.uniform(whole.began, whole.spent)
            done = _run(job, inputs, folder, limit)
            if done.is_killed:
                killed, is_new = killed + 1, False
                continue
            if is_new:  # The first run compiled what others found.
                whole = done
            lost += _differences(expected, job.found(folder / "out"))
            num_ends += 1
            shutil.rmtree(folder)
            folder, is_new = next(folders), True
        _run(job, inputs, folder, float("inf"))
        lost += _differences(expected, job.found(folder / "out"))
        return Kills(killed, num_ends + 1, lost)


class _Run(NamedTuple):
    """What became of one run of a job.

    Attributes:
      is_killed: Whether it was killed before it ended by itself.
      began: Seconds of its processor when the first file was there.
      spent: Seconds of its processor in all.
    """

    is_killed: bool
    began: float
    spent: float


def _run(
    job: Job, inputs: pathlib.Path, folder: pathlib.Path, limit: float
) -> _Run:
    """Runs a job for some seconds of its processor at most.

    Args:
      job: The job.
      inputs: What it reads.
      folder: Folder for all that it writes: below, or beside `out` in it.
      limit: Seconds after which it is killed.

    Raises:
      AssertionError: It has ended with an error.
    """
    folder.mkdir(exist_ok=True)
    began = spent = 0.0
    with tempfile.TemporaryDirectory() as said:
        process = programs.start(
            *job.command(inputs, folder / "out"), said=pathlib.Path(said)
        )
        while process.is_alive():
            with contextlib.suppress(OSError):  # It may end meanwhile.
                spent = max(spent, _processor_seconds(process.pid))
            if not began and any(folder.iterdir()):
                began = spent
            if spent >= limit:
                process.kill()
                break
            time.sleep(_LOOK)
        process.join()
        code = process.exitcode
        process.close()
        # A kill that came too late is none.
        assert code in (0, -signal.SIGKILL), (code, programs.words(said))
        return _Run(code != 0, began, spent)


def _processor_seconds(pid: int) -> float:
    """Returns the seconds that all threads of a process have computed."""
    # The clock that clock_getcpuclockid(3) names: to the nanosecond, where
    # /proc counts hundredths of a second.
    return time.clock_gettime((~pid << 3) | 2)


def _differences(
    expected: dict[str, object], found: dict[str, object]
) -> list[str]:
    return [
        name
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
