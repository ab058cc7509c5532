"""The long attack: kills, damage and fuzzing, and a table of what came of it.

  python -m tests.faults --kills=200 --flips=400 --fuzz_seconds=300 \
      --out=faults.md

`--only=kills,scoring` takes the attacks of which a word stands in the name.
Exit code 1 where something is lost. An attack that takes the process with it
(a crash, more than 8 GiB, more than an hour) counts as lost. The tests run a
much smaller form of it. Files that people write have no checksum: one with a
flipped digit is read as another file, and counts as harmless.

With 200 kills, 400 flips and 300 seconds of fuzzing for each reader it takes
five hours of one core. `pip install atheris` makes the fuzzing faster.
"""

import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator

from absl import app, flags

from tests.faults import attacks, files, fuzz, jobs

_KILLS = flags.DEFINE_integer(
    "kills", 200, "Kills of each job; 0 for none.", lower_bound=0
)
_PROGRAM_KILLS = flags.DEFINE_integer(
    "program_kills", 20, "Kills of each program of users.", lower_bound=0
)
_FLIPS = flags.DEFINE_integer(
    "flips", 400, "Flipped bits of each kind of file.", lower_bound=0
)
_CUTS = flags.DEFINE_integer(
    "cuts",
    None,
    "Places where files are cut off; every tenth byte if unset.",
    lower_bound=0,
)
_SLOW_FLIPS = flags.DEFINE_integer(
    "slow_flips", None, "The same of kinds that take seconds to read."
)
_SLOW_CUTS = flags.DEFINE_integer("slow_cuts", None, "Likewise for cuts.")
_FUZZ_SECONDS = flags.DEFINE_integer(
    "fuzz_seconds", 300, "Seconds of fuzzing for each reader.", lower_bound=0
)
_FINDINGS = flags.DEFINE_string(
    "findings", "findings", "Folder where contents that fail are kept."
)
_ONLY = flags.DEFINE_list("only", None, "Words of attacks to take; all if not.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of times and bits.")
_OUT = flags.DEFINE_string("out", None, "File for the table.")


def _attacks() -> Iterator[tuple[str, Callable[..., attacks.Row], tuple]]:
    """Yields the name of each attack, what does it, and its arguments."""
    for num, of_kind in (
        (_KILLS.value, jobs.JOBS),
        (_PROGRAM_KILLS.value, jobs.PROGRAMS),
    ):
        for name in of_kind:
            if num:
                yield f"kills: {name}", attacks.kill, (name, num, _SEED.value)
    for name, kind in files.KINDS.items():
        cuts, flips = _CUTS.value, _FLIPS.value
        if kind.is_slow:
            cuts = cuts if _SLOW_CUTS.value is None else _SLOW_CUTS.value
            flips = flips if _SLOW_FLIPS.value is None else _SLOW_FLIPS.value
        if flips or cuts:
            arguments = (name, cuts, flips, _SEED.value)
            yield f"damage: {name}", attacks.damage_files, arguments
    for name in fuzz.READERS:
        if _FUZZ_SECONDS.value:
            arguments = (name, _FUZZ_SECONDS.value, _FINDINGS.value)
            yield f"fuzzing: {name}", attacks.fuzz_reader, arguments


def _keep_programs(folder: str) -> None:
    """Lets all processes share what they compile."""
    os.environ.update(
        JAX_PLATFORMS="cpu",
        JAX_COMPILATION_CACHE_DIR=folder,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.1",
    )


def main(argv: list[str]) -> None:
    """Does all attacks and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"stray arguments: {argv[1:]}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        _keep_programs(folder)
        for name, attack, arguments in _attacks():
            words = _ONLY.value or [""]
            if not any(word in name for word in words):
                continue
            rows.append(attacks.done(name, attack, arguments))
            print(_line(rows[-1]), *rows[-1].lost, sep="\n  ", flush=True)
    table = "\n".join([*_HEAD, *map(_line, rows)])
    if _OUT.value is not None:
        pathlib.Path(_OUT.value).write_text(f"{table}\n")
    sys.exit(any(row.lost for row in rows))


_HEAD = (
    "| attack | what | attempts | caught or harmless | lost |",
    "| --- | --- | ---: | ---: | ---: |",
)


def _line(row: attacks.Row) -> str:
    return (
        f"| {row.attack} | {row.target} | {row.num_attempts:,} | "
        f"{row.num_caught:,} | {len(row.lost)} |"
    )


if __name__ == "__main__":
    app.run(main)
