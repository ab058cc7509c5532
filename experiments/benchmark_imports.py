"""Imports simulated tables of scores from files of each kind and layout.

  python -m experiments.benchmark_imports --out=results/imports

Each import is a process of its own: its seconds, its peak memory, and the size
of the file. The imported scores must be the exported ones, to the bit. Five
minutes on two cores, and 3 GB of disk.
"""

import pathlib
import re

from absl import flags

from . import program, shared_flags

_TABLES = flags.DEFINE_list(
    "tables", ["1018x10000"], "Sizes of the simulated tables."
)
_OUT = shared_flags.out()

flags.register_validator(
    _TABLES,
    lambda tables: all(re.fullmatch(r"\d+x\d+", table) for table in tables),
    "MODELSxTEXTS is needed.",
)


def main():
    from mmc_jax import report

    from .benchmarks import import_speed

    rows = []
    for table in _TABLES.value:
        folder = pathlib.Path(_OUT.value, "files", table)
        sizes = map(int, table.split("x"))
        for name, num_bytes, run in import_speed.runs(*sizes, folder):
            print(
                f"{table:<14}{name:<16}{num_bytes / 1e6:9.1f} MB"
                f"{run.seconds:9.1f} s{run.peak_bytes / 1e9:7.2f} GB"
                + ("" if run.exit_code == 0 else f"  {run.last_words}")
            )
            rows.append(
                {"table": table, "file": name, "bytes": num_bytes}
                | run._asdict()
            )
    print(
        report.write_result(
            _OUT.value, {"imports": rows}, flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
