"""Programs on large tables: seconds, memory, how long they are silent."""

import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import corpus, scores, stages, synthetic
from mmc_jax.report import result

# Characters and tokens of every text: any constants do.
_NUM_CHARS, _NUM_TOKENS = 400, 100
_NOISE = 0.03
# The flags of a certified search that bounds the roots alone.
_ROOTS = "--method=certified", "--time_limit=0"
# Lines of a program's last words that are shown where it fails.
_LAST_LINES = 5


class Case(NamedTuple):
    """A simulated score table.

    Attributes:
      num_models: Number of its models.
      num_texts: Number of its texts.
      has_equal_costs: Whether all models cost the same.
    """

    num_models: int
    num_texts: int
    has_equal_costs: bool = False

    @property
    def name(self) -> str:
        """Models x texts, as the flag `--tables` names it."""
        equal = "-equal" if self.has_equal_costs else ""
        return f"{self.num_models}x{self.num_texts}{equal}"


class Run(NamedTuple):
    """One program on one table.

    Attributes:
      program: Name of the program.
      seconds: Wall time of the process in seconds.
      processor_seconds: Processor time of the process, all cores together.
      peak_bytes: Largest resident memory of its process.
      longest_silence: Largest number of seconds without a line, from its start
        and to its end.
      exit_code: What it ended with; 0 if all went well.
      last_words: The last lines that it wrote.
    """

    program: str
    seconds: float
    processor_seconds: float
    peak_bytes: int
    longest_silence: float
    exit_code: int
    last_words: list[str]


def write_table(case: Case, folder: pathlib.Path) -> None:
    """Writes a simulated score table; one that is there stays.

    Args:
      case: Size of the table.
      folder: Folder of the score table.
    """
    drawn = synthetic.pool(case.num_models, case.num_texts, _NOISE)
    costs = np.full(case.num_models, 1e9) if case.has_equal_costs else None
    costs = drawn.costs if costs is None else costs
    shape = case.num_models, case.num_texts
    length = np.full(case.num_texts, _NUM_CHARS)
    texts = corpus.Corpus(
        ids=tuple(map(str, range(case.num_texts))),
        domains=("",) * case.num_texts,
        num_bytes=length,
        num_chars=length,
        sha256=("",) * case.num_texts,
        texts=None,
    )
    models = tuple(
        scores.ScoredModel(name, family, costs={"num_params": cost})
        for name, family, cost in zip(
            drawn.names, drawn.families, costs.tolist(), strict=True
        )
    )
    num_tokens = np.broadcast_to(np.int64(_NUM_TOKENS), shape)
    nll_nats = drawn.losses
    nll_nats *= _NUM_TOKENS
    table = scores.ScoreTable(models, texts, nll_nats, num_tokens, num_tokens)
    with stages.stage(f"writing {case.name}"):
        scores.write(table, folder)


def ran(program: str, arguments: Sequence[str]) -> Run:
    """Returns how a program fared in a process of its own.

    Args:
      program: Name of a program in `experiments`.
      arguments: Flags of the program, each as --name=value.
    """
    started = last = time.monotonic()
    silence, output = 0.0, b""
    process = subprocess.Popen(
        [sys.executable, "-m", "mmc_jax", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process.stdout:
        while written := os.read(process.stdout.fileno(), 2**16):
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            output = (output + written)[-(2**16) :]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    lines = output.decode(errors="replace").strip().splitlines()
    return Run(
        program,
        ended - started,
        usage.ru_utime + usage.ru_stime,
        # macOS counts bytes, Linux KiB.
        usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        max(silence, ended - last),
        process.returncode,
        lines[-_LAST_LINES:],
    )


def programs_of(
    source: Sequence[str], out: pathlib.Path, chosen: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Returns the programs that run on one table, in order, and their flags.

    Args:
      source: Flags that name the table.
      out: Folder of the results.
      chosen: Which programs run; before `check_certificate` goes the search
        that writes the certificate.
    """
    pruned, proven = out / "pruned", out / "proven"
    certificate = f"--certificate={proven / 'certificate.npz'}"
    every = {
        "trace_frontier": [("trace_frontier", [*source, f"--out={pruned}"])],
        "fit_law": [
            ("fit_law", [f"--points={pruned}", f"--out={out / 'law'}"])
        ],
        "check_certificate": [
            ("trace_frontier", [*source, f"--out={proven}", *_ROOTS]),
            ("check_certificate", [*source, certificate]),
        ],
        "measure_diversity": [
            ("measure_diversity", [*source, f"--out={out / 'diversity'}"])
        ],
        "report": [("report", [*source, f"--out={out / 'report.html'}"])],
    }
    return [
        run for name, runs in every.items() if name in chosen for run in runs
    ]


def sentence(name: str, run: Run) -> str:
    """Returns a line of the table, and the last words of what has failed.

    Args:
      name: Name of the score table.
      run: How a program fared on it.
    """
    line = (
        f"{name:>16} {run.program:>18} {run.seconds:8.1f} "
        f"{run.processor_seconds:8.1f} "
        f"{run.peak_bytes / 2**30:7.2f} {run.longest_silence:8.1f}"
    )
    if run.exit_code:
        line += f"  failed ({run.exit_code})"
        line = "\n    ".join([line, *run.last_words])
    return line


def write(
    tables: Mapping[str, Case | list[str]],
    out: str,
    *,
    programs: Sequence[str],
    flags: Mapping[str, Any],
) -> None:
    """Runs all programs on all tables, prints lines, writes a result folder.

    Args:
      tables: What is simulated, or the flags that name a table, by name.
      out: The result folder; tables that are in it already are used again.
      programs: Which programs run.
      flags: What the program was called with.
    """
    print(
        f"{'models x texts':>16} {'program':>18} {'seconds':>8} "
        f"{'of cores':>8} "
        f"{'GiB':>7} {'silent s':>8}"
    )
    rows = []
    for name, table in tables.items():
        folder = pathlib.Path(out, name)
        source = table
        if isinstance(table, Case):
            if not (folder / "scores").exists():
                # Another process: its memory is given back.
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    process.apply(write_table, (table, folder / "scores"))
            source = [f"--scores={folder / 'scores'}"]
        for program, arguments in programs_of(source, folder, programs):
            run = ran(program, arguments)
            print(sentence(name, run), flush=True)
            rows.append({"table": name, **run._asdict()})
    result.write_result(out, {"runs": rows}, flags=flags)
