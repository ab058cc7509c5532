"""Runs the programs on large tables: seconds, peak memory, longest silence.

  python -m experiments.benchmark_scale --out=results/scale

Score tables of --tables (models x texts, simulated by `mmc_jax.synthetic`, all
of one cost where `-equal` follows) are written, and each program runs on each
in a process of its own. A certified search bounds the roots alone.

The largest table takes 8 GB of memory and 2 GB of disk. An hour on two quiet
cores.
"""

import re
import shlex

from absl import flags

from . import program, shared_flags

_PROGRAMS = [
    "trace_frontier",
    "fit_law",
    "check_certificate",
    "measure_diversity",
    "report",
]
_TABLES = flags.DEFINE_list(
    "tables",
    ["71x1000000", "1018x10000", "2x1000000", "1000x1000-equal"],
    "Sizes of the simulated tables.",
)
_RUN = flags.DEFINE_list("programs", _PROGRAMS, "Programs that run.")
_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "One more table, by the flags that name it: '--csv=a.csv --models=b.csv'.",
)
_OUT = shared_flags.out()

flags.register_validator(
    _TABLES,
    lambda tables: all(
        re.fullmatch(r"\d+x\d+(-equal)?", table) for table in tables
    ),
    "MODELSxTEXTS or MODELSxTEXTS-equal is needed.",
)
flags.register_validator(
    _RUN,
    lambda chosen: set(chosen) <= set(_PROGRAMS),
    f"only {', '.join(_PROGRAMS)} can run.",
)


def main():
    from .benchmarks import scale

    tables = {}
    for table in _TABLES.value:
        num_models, num_texts = map(int, re.findall(r"\d+", table))
        tables[table] = scale.Case(num_models, num_texts, "-" in table)
    if _SOURCE.value is not None:
        tables["source"] = shlex.split(_SOURCE.value)
    scale.write(
        tables, _OUT.value, programs=_RUN.value, flags=program.flag_values()
    )


if __name__ == "__main__":
    program.run(main)
