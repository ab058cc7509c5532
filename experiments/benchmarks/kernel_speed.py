"""The oracle kernels and other libraries: subsets a second of each.

S subsets, M models, X texts.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from matplotlib.figure import Figure

from mmc_jax.report import result
from mmc_jax.report.figures import COLORS

from ..peers import subset_kernels

# Before each turn: the threads of OpenMP spin for a while after the last one.
_PAUSE_S = 0.3
_TURN_S = 0.2

# The case that the others depart from.
_USUAL = {"S": 1024, "M": 71, "X": 8192, "density": 0.3}

# Two float32 sums, in whatever order, as a fraction of the largest.
_AGREEMENT = 1e-4


def write(
    sizes: Mapping[str, Sequence[float]],
    out: str,
    *,
    num_repeats: int,
    patience: float,
    flags: Mapping[str, Any],
) -> None:
    """Times all cases, prints the table, and writes the result folder.

    Args:
      sizes: Values of S, M, X and density that are tried, one at a time.
      out: The result folder.
      num_repeats: Turns of each implementation in a case.
      patience: Seconds after which an implementation gets no further turn.
      flags: What the program was called with.
    """
    # 64-bit mode for the sums of integers; all float tables are float32.
    jax.config.update("jax_enable_x64", True)
    roofline, rows = 0.0, []
    for kernel, implementations in (
        ("min_sum", subset_kernels.min_sums()),
        ("oracle_sums", subset_kernels.oracle_sums()),
    ):
        for case in tqdm.tqdm(_cases(kernel, sizes), desc=kernel):
            rows += _measured(
                kernel, case, implementations, num_repeats, patience
            )
            # Other programs' load can only lower it.
            rate = subset_kernels.min_adds_per_second(_seconds)
            roofline = max(roofline, rate)
    print(f"roofline: {roofline / 1e9:.1f} Gpair/s")
    print(_table(rows, roofline))
    result.write_result(
        out,
        {"roofline_gpairs_per_second": roofline / 1e9, "measurements": rows},
        flags=flags,
        figures={
            kernel: _figure(kernel, rows, roofline)
            for kernel in ("min_sum", "oracle_sums")
        },
    )


def _cases(
    kernel: str, sizes: Mapping[str, Sequence[float]]
) -> list[dict[str, float]]:
    """Returns the usual case and, one at a time, the other sizes."""
    cases = [dict(_USUAL)]
    for size, values in sizes.items():
        if size != "density" or kernel == "oracle_sums":
            for value in values:
                case = _USUAL | {size: value}
                if case not in cases:
                    cases.append(case)
    return cases


def _measured(
    kernel: str,
    case: dict[str, float],
    implementations: dict[str, subset_kernels.Implementation],
    num_repeats: int,
    patience: float,
) -> list[dict[str, Any]]:
    """Returns a row for each implementation, all checked to agree."""
    rng = np.random.default_rng(0)
    table = rng.lognormal(size=(case["M"], case["X"])).astype(np.float32)
    others = rng.lognormal(size=(case["S"], case["X"])).astype(np.float32)
    masks = rng.random((case["S"], case["M"])) < case["density"]
    masks[:, 0] |= ~masks.any(axis=1)
    num_pairs = masks.sum() * case["X"]
    if kernel == "min_sum":
        num_pairs = case["S"] * case["M"] * case["X"]
    calls, expected = {}, {}
    for name, (place, compute, dtype) in implementations.items():
        losses = _as(table, dtype)
        arrays = (losses, masks)
        if kernel == "min_sum":
            arrays = (_as(others, dtype), losses)
        placed = [place(array) for array in arrays]
        calls[name] = lambda compute=compute, placed=placed: _finished(
            compute(*placed)
        )
        try:
            sums = np.asarray(calls[name](), np.float64)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"{name} does not fit in memory at {case}: left out")
            del calls[name]
            continue
        scale = expected.setdefault(dtype, sums)
        exact = np.dtype(dtype).kind == "u"
        np.testing.assert_allclose(
            sums,
            scale,
            rtol=0,
            atol=0 if exact else _AGREEMENT * np.abs(scale).max(),
            err_msg=f"{name} differs at {case}",
        )
    seconds = {name: [] for name in calls}
    for _ in range(num_repeats):
        for name, call in calls.items():
            if sum(seconds[name]) < patience:
                time.sleep(_PAUSE_S)
                seconds[name] += _turn(call)
    return [
        {
            "kernel": kernel,
            **case,
            "implementation": name,
            "seconds": min(times),
            "gpairs_per_second": num_pairs / min(times) / 1e9,
            "subsets_per_second": case["S"] / min(times),
        }
        for name, times in seconds.items()
    ]


def _as(table: np.ndarray, dtype: str) -> np.ndarray:
    """Returns the table in the dtype; integers fill it up to its largest."""
    if np.dtype(dtype).kind == "f":
        return table.astype(dtype)
    # In float64: the largest of 32 bits is no float32.
    shares = table.astype(np.float64) / table.max()
    return (shares * np.iinfo(dtype).max).astype(dtype)


def _finished(sums: Any) -> np.ndarray:
    """Returns the sums on the host: the call is over only then."""
    return np.asarray(sums.cpu() if hasattr(sums, "cpu") else sums)


def _turn(call: Callable[[], Any]) -> list[float]:
    """Returns the seconds of each call of a turn."""
    seconds = [_seconds(call), _seconds(call)]
    while sum(seconds) < _TURN_S:
        seconds.append(_seconds(call))
    return seconds


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _table(rows: list[dict[str, Any]], roofline: float) -> str:
    """Returns the rows in Markdown."""
    lines = [
        "| kernel | S | M | X | density | implementation | Gpair/s | subsets/s "
        "| of the float32 roofline |",
        "|---|" + "--:|" * 4 + "---|" + "--:|" * 3,
    ]
    for row in rows:
        density = row["density"] if row["kernel"] == "oracle_sums" else ""
        share = row["gpairs_per_second"] * 1e9 / roofline
        lines.append(
            f"| {row['kernel']} | {row['S']:,} | {row['M']:,} | {row['X']:,} "
            f"| {density} | {row['implementation']} "
            f"| {row['gpairs_per_second']:.2f} "
            f"| {row['subsets_per_second']:,.0f} | {share:.0%} |"
        )
    return "\n".join(lines)


def _is_ours(name: str) -> bool:
    return name.startswith("mmc_jax")


def _figure(kernel: str, rows: list[dict[str, Any]], roofline: float) -> Figure:
    """Returns the rate over each size, a line for each implementation."""
    rows = [row for row in rows if row["kernel"] == kernel]
    sizes = [
        size
        for size in _USUAL
        if len({row[size] for row in rows}) > 1
    ] or ["S"]  # fmt: skip
    figure = Figure(figsize=(4 * len(sizes) + 3, 4.5), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    unit = "gpairs_per_second" if kernel == "min_sum" else "subsets_per_second"
    for axes, size in zip(panels, sizes, strict=True):
        others = [name for name in _USUAL if name != size]
        names = dict.fromkeys(row["implementation"] for row in rows)
        for number, name in enumerate(sorted(names, key=_is_ours)):
            points = sorted(
                (row[size], row[unit])
                for row in rows
                if row["implementation"] == name
                and all(row[other] == _USUAL[other] for other in others)
            )
            axes.plot(
                *zip(*points, strict=True),
                color=COLORS[number % len(COLORS)],
                linestyle="-" if _is_ours(name) else ":",
                marker="o" if _is_ours(name) else "x",
                label=name,
            )
        if kernel == "min_sum":
            axes.axhline(
                roofline / 1e9, color="black", ls="--", label="roofline"
            )
        axes.set(xscale="log", yscale="log", xlabel=size)
    panels[0].set_ylabel(unit.replace("_", " "))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside right", fontsize=8
    )
    figure.suptitle(f"{kernel}: one size varied, the others S=1,024, M=71, "
                    "X=8,192, density 0.3")  # fmt: skip
    return figure
