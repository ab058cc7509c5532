"""One attack at a time, each in a process of its own, and its row."""

import concurrent.futures
import multiprocessing
import pathlib
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from tests.faults import damage, files, fuzz, jobs, kills

_MOST_SECONDS, _MOST_BYTES = 3600, 8 * 2**30


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      attack: What was done.
      target: What it was done to.
      num_attempts: Number of attempts.
      num_caught: Number of those that were caught, or did no harm.
      lost: What was lost, a line each.
    """

    attack: str
    target: str
    num_attempts: int
    num_caught: int
    lost: list[str]


def kill(name: str, num: int, seed: int) -> Row:
    """Kills a job so many times."""
    found = kills.attack({**jobs.JOBS, **jobs.PROGRAMS}[name], num, seed)
    fine = found.num_kills - len(found.lost)
    return Row("SIGKILL", name, found.num_kills, fine, found.lost)


def damage_files(name: str, cuts: int | None, flips: int, seed: int) -> Row:
    """Cuts off and flips the files of a kind."""
    found = damage.attack(files.KINDS[name], cuts, flips, seed)
    fine = found.num_caught + found.num_harmless + found.num_others
    return Row("cut or flipped", name, found.num_attempts, fine, found.lost)


def fuzz_reader(name: str, seconds: int, findings: str) -> Row:
    """Feeds a reader for so many seconds."""
    folder = pathlib.Path(findings, re.sub(r"\W+", "_", name)).absolute()
    done = subprocess.run(
        [sys.executable, "-m", fuzz.__name__, name, str(seconds), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    num = re.search(r"number_of_executed_units: *(\d+)", said)
    lost = [str(path) for path in sorted(folder.glob("*-*"))]
    if num is None:
        lost.append(said[-500:])
    attempts = int(num[1]) if num else 0
    return Row("fuzzed", name, attempts, attempts - len(lost), lost)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))


def done(name: str, attack: Callable[..., Row], arguments: tuple) -> Row:
    """Returns the row of an attack, done in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=spawn, initializer=_limit
    ) as worker:
        try:
            return worker.submit(attack, *arguments).result()
        except Exception as error:  # Also of a process that is gone.
            kind, _, target = name.partition(": ")
            reason = f"{type(error).__name__}: {error}"
            return Row(kind, target, 1, 0, [reason])
