"""Programs as tests run them: as a user does, or in their own process."""

import contextlib
import gc
import importlib
import io
import multiprocessing
import os
import pathlib
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from unittest import mock

import jax
import numpy as np
from absl import app, flags, logging
from absl.testing import flagsaver

_ROOT = pathlib.Path(__file__).parents[2]


# A process that has imported what programs import, and of which each run is a
# copy: seconds of imports are paid for once.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "matplotlib.figure",
        "mmc_jax.diversity",
        "mmc_jax.law.fitting",
        "mmc_jax.models.families",
        "mmc_jax.report",
        "mmc_jax.scoring.engine",
        "mmc_jax.studies",
        "mmc_jax.training",
    ]
)


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns what `python -m` with the arguments says and its exit code.

    It runs in a process of its own and as the main module, but for the time of
    its imports. What starts or ends a process has to use `subprocess`.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start(program, *arguments, said=pathlib.Path(folder))
        process.join()
        done = subprocess.CompletedProcess(
            [program, *arguments], process.exitcode, *words(folder)
        )
        process.close()
    return done


def run_here(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns the same as `run`, of a run in this process.

    What other tests have compiled is there. It is not for what starts or ends
    a process, nor for what logging says.
    """
    out, err = io.StringIO(), io.StringIO()
    code = None
    with (
        _as_alone(),
        jax.numpy_dtype_promotion("standard"),  # As users have it.
        mock.patch.object(sys, "argv", [program, *arguments]),
        mock.patch.dict(os.environ),
        mock.patch.object(app, "run", _parsed_and_run),
        contextlib.chdir(_ROOT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        stops = importlib.import_module("experiments.stops")
        with mock.patch.object(stops.Stops, "watch"):
            try:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code
    if isinstance(code, str):
        err.write(f"{code}\n")
        code = 1
    return subprocess.CompletedProcess(
        [program, *arguments], code or 0, out.getvalue(), err.getvalue()
    )


def _parsed_and_run(main: Callable[[list[str]], None]) -> None:
    """Does what absl's `app.run` does, without its settings of a process."""
    try:
        main(flags.FLAGS(sys.argv))
    except (flags.Error, app.UsageError) as error:
        sys.exit(str(error))


# Modules of programs that ran here. Of one that goes absl may take another
# for it, by its address.
_GONE: list[ModuleType] = []


@contextlib.contextmanager
def _as_alone() -> Iterator[None]:
    """Hides programs and their flags, and leaves all as it was before."""
    values = flagsaver.save_flag_values()
    verbosity = logging.get_verbosity()
    state = flags.FLAGS.__dict__
    before = dict(state)
    for name, value in before.items():
        if isinstance(value, dict):
            state[name] = {
                key: list(some) if isinstance(some, list) else some
                for key, some in value.items()
            }
    for flag in list(flags.FLAGS):
        module = flags.FLAGS.find_module_defining_flag(flag)
        if not module.startswith("absl"):
            delattr(flags.FLAGS, flag)
    flags.FLAGS.unparse_flags()
    modules = _taken_out()
    try:
        yield
    finally:
        _GONE.extend(_taken_out().values())
        sys.modules.update(modules)
        logging.set_verbosity(verbosity)
        state.clear()
        state.update(before)
        flagsaver.restore_flag_values(values)


def _taken_out() -> dict[str, ModuleType]:
    """Takes the programs out of the modules, and returns them."""
    names = [n for n in sys.modules if n.partition(".")[0] == "experiments"]
    return {name: sys.modules.pop(name) for name in names}


def start(
    program: str, *arguments: str, said: pathlib.Path
) -> multiprocessing.Process:
    """Returns the process of a program that has just been started.

    Args:
      program: Name of the module.
      *arguments: Its command line.
      said: Folder for what it says, which `words` reads.
    """
    process = _SERVER.Process(
        target=_run, args=(program, arguments, _files(said), dict(os.environ))
    )
    process.start()
    return process


def words(said: str | pathlib.Path) -> list[str]:
    """Returns what a program has written to stdout and to stderr."""
    return [file.read_text() if file.exists() else "" for file in _files(said)]


def in_a_terminal(program: str, *arguments: str) -> tuple[int, str]:
    """Returns the exit code and what a program writes to a terminal."""
    ours, its = os.openpty()
    with tempfile.TemporaryDirectory() as folder:
        _files(folder)[0].symlink_to(os.ttyname(its))
        process = start(program, *arguments, said=pathlib.Path(folder))
        written = b""
        while process.is_alive() or select.select([ours], [], [], 0)[0]:
            if select.select([ours], [], [], 0.05)[0]:
                written += os.read(ours, 65536)
        process.join()
    os.close(its)
    os.close(ours)
    return process.exitcode, written.decode()


def _files(folder: str | pathlib.Path) -> list[pathlib.Path]:
    return [pathlib.Path(folder, name) for name in ("out", "err")]


def _run(
    program: str,
    arguments: Sequence[str],
    files: Sequence[pathlib.Path],
    environment: Mapping[str, str],
) -> None:
    """Runs a program in this process, its words in files."""
    gc.freeze()  # What was imported before is no garbage.
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    os.environ.update(environment, JAX_PLATFORMS="cpu")
    os.chdir(_ROOT)
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def imported(name: str) -> ModuleType:
    """Returns the program's module; others may be imported beside it."""
    return importlib.import_module(f"experiments.{name}")


def csv_files(
    losses: np.ndarray,
    costs: Sequence[int],
    **columns: Sequence[str | int],
) -> pathlib.Path:
    """Returns a folder with scores.csv and models.csv, as users have them.

    Models m0, m1, ... are of families x and y, texts t0, t1, ... of domains a
    and b (column `kind`), by turns.

    Args:
      losses: [M, X].
      costs: [M], num_params.
      **columns: [M] each, further facts of the models.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    names = [f"m{m}" for m in range(len(losses))]
    scores = [["id", "kind", *names]]
    scores += [
        [f"t{x}", "ab"[x % 2], *row] for x, row in enumerate(losses.T.tolist())
    ]
    models = [["model", "family", "num_params", *columns]]
    models += [
        [name, "xy"[m % 2], int(costs[m]), *(c[m] for c in columns.values())]
        for m, name in enumerate(names)
    ]
    for name, rows in (("scores", scores), ("models", models)):
        lines = (",".join(map(str, row)) for row in rows)
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder
