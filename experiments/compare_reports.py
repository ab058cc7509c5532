"""Puts two studies on one page: two corpora, two dates, or two pools.

  python -m experiments.compare_reports --a=results/may --b=results/june \
      --out=page.html

Each is a result folder of trace_frontier or of report. Shows how laws, floors,
frontiers, wins by family (of results of report) and the losses of models differ
between them. Studies in other units or of other costs are refused.
"""

from . import program, shared_flags

_A = shared_flags.path(
    "a", None, "Result folder of the first study.", required=True
)
_B = shared_flags.path(
    "b", None, "Result folder of the second study.", required=True
)
_OUT = shared_flags.page()


def main():
    from mmc_jax import comparisons, report

    report.folder_of(_OUT.value)  # Another ending is refused first.
    found = comparisons.comparison(
        *map(comparisons.read_result, (_A.value, _B.value))
    )
    print(
        report.write_page(
            _OUT.value,
            [report.comparison_section(found)],
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
