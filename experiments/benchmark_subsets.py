"""Times the oracle kernels on every backend, beside other libraries.

  pip install -e ".[bench]"
  python -m experiments.benchmark_subsets --out=results/subsets

Every implementation takes its turn in every round, and its best round counts.
All are checked against float64 before they are timed. The roofline is the rate
at which this machine takes minima and adds them up in registers alone. On a GPU
or TPU the same command times their kernels. Some three minutes on two cores;
the numbers to look at are ratios.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments import program, subset_peers
from mmc_jax.oracle import backends, cpu
from mmc_jax.report import result

_NUM_MODELS = flags.DEFINE_multi_integer("num_models", [71], "M.")
_NUM_TEXTS = flags.DEFINE_multi_integer("num_texts", [8_192], "X.")
_NUM_SUBSETS = flags.DEFINE_multi_integer("num_subsets", [1_024], "S.")
_DENSITY = flags.DEFINE_multi_float(
    "density", [0.3], "Share of the models that is in a subset."
)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns of each.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

_DTYPES = (np.float32, np.float64, np.uint32, np.uint16, np.uint8)
# Of a sum in float32 by a peer; ours are held to 1e-6 by the tests.
_TOLERANCE = 1e-4
# Subsets of oracle_sums for each of min_sum: a subset is a row of pairs less.
_SUBSETS_PER_ROW = 4

Implementation = tuple[str, str, int, Callable[[], Any], np.ndarray]


def drawn(
    rng: np.random.Generator, shape: tuple[int, int], dtype: type
) -> np.ndarray:
    """Returns log-normal losses, as integers over the dtype's whole range."""
    losses = rng.lognormal(0.0, 0.4, shape)
    if issubclass(dtype, np.floating):
        return losses.astype(dtype)
    most = np.iinfo(dtype).max
    return np.minimum(losses / 4 * most, most).astype(dtype)


def min_sum_cases(rng, num_models, num_texts, num_subsets):
    """Yields each implementation of min_sum with what it should find."""
    for dtype in _DTYPES:
        values = drawn(rng, (num_subsets, num_texts), dtype)
        losses = drawn(rng, (num_models, num_texts), dtype)
        exact = np.stack(
            [
                np.minimum(values, loss).sum(axis=1, dtype=float)
                for loss in losses
            ],
            axis=1,
        )
        tables = jnp.asarray(values), jnp.asarray(losses)
        for name, module in backends.runnable(dtype).items():
            kernel = functools.partial(jax.jit(module.min_sum), *tables, None)
            yield (
                f"mmc_jax {name}",
                np.dtype(dtype).name,
                num_subsets,
                kernel,
                exact,
            )
        if dtype is np.float32:
            for name, call in subset_peers.min_sums(values, losses).items():
                yield name, "float32", num_subsets, call, exact


def oracle_cases(rng, num_models, num_texts, num_subsets, density):
    """Yields each implementation of oracle_sums with what it should find."""
    masks = rng.random((num_subsets, num_models)) < density
    masks[:, 0] |= ~masks.any(axis=1)
    for dtype in _DTYPES:
        losses = drawn(rng, (num_models, num_texts), dtype)
        exact = np.array(
            [losses[mask].min(axis=0).sum(dtype=float) for mask in masks]
        )
        table, subsets = jnp.asarray(losses), jnp.asarray(masks)
        for name, module in backends.runnable(dtype).items():
            kernel = jax.jit(module.oracle_sums)
            call = functools.partial(kernel, table, subsets, None)
            yield (
                f"mmc_jax {name}",
                np.dtype(dtype).name,
                num_subsets,
                call,
                exact,
            )
        if dtype is np.float32:
            peers = subset_peers.oracle_sums(losses, masks)
            for name, (count, call) in peers.items():
                yield name, "float32", count, call, exact[:count]


def best_seconds(cases: list[Implementation]) -> tuple[list[float], float]:
    """Returns the best time of each, and the best roofline, pairs a second."""
    for name, dtype, _, call, exact in cases:  # Compiles, too.
        np.testing.assert_allclose(
            call(), exact, rtol=_TOLERANCE, err_msg=f"{name} {dtype}"
        )
    best, roofline = [np.inf] * len(cases), 0.0
    for _ in range(_ROUNDS.value):
        for i, (_, _, _, call, _) in enumerate(cases):
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[i] = min(best[i], time.perf_counter() - start)
        if jax.default_backend() == "cpu" and cpu.why_not() is None:
            roofline = max(roofline, cpu.min_adds_per_second(seconds=0.1))
    return best, roofline


def rows_of(kernel, cases, **shape) -> list[dict[str, Any]]:
    """Returns a row for each implementation, printed as it goes."""
    cases = list(cases)
    best, roofline = best_seconds(cases)
    rows = []
    for (name, dtype, count, _, _), seconds in zip(cases, best, strict=True):
        pairs = count * shape["num_texts"]
        pairs *= shape["num_models"] if kernel == "min_sum" else 1
        rows.append(
            {
                "kernel": kernel,
                **shape,
                "implementation": name,
                "dtype": dtype,
                "seconds": seconds,
                "subsets_per_second": count / seconds,
                "giga_pairs_per_second": pairs / seconds / 1e9
                if kernel == "min_sum"
                else None,
                "roofline_giga_pairs_per_second": roofline / 1e9 or None,
            }
        )
    ours = next(r for r in rows if r["dtype"] == "float32")
    print(" ".join(f"{k}={v}" for k, v in {"kernel": kernel, **shape}.items()))
    for row in rows:
        ratio = ours["subsets_per_second"] / row["subsets_per_second"]
        pairs = row["giga_pairs_per_second"]
        print(
            f"  {row['implementation']:<14}{row['dtype']:<9}"
            f"{row['subsets_per_second']:14,.0f} subsets/s"
            + (f"{pairs:9.1f} Gpair/s" if pairs else "")
            + f"   first / this: {ratio:.2f}"
        )
    if kernel == "min_sum" and roofline:
        share = ours["giga_pairs_per_second"] * 1e9 / roofline
        print(
            f"  roofline, float32: {roofline / 1e9:.1f} Gpair/s, of which the "
            f"first is {share:.0%}"
        )
    return rows


def bars(rows: list[dict[str, Any]]) -> Figure:
    """Returns subsets a second of each implementation, a panel a shape."""
    keys = ("kernel", "num_models", "num_texts", "num_subsets", "density")
    panels: dict[tuple, list] = {}
    for row in rows:
        panels.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    figure = Figure(figsize=(7, 3.4 * len(panels)), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(len(panels), 1))
    for axes, (key, panel) in zip(all_axes, panels.items(), strict=True):
        panel = sorted(panel, key=lambda row: row["subsets_per_second"])
        axes.barh(
            [f"{r['implementation']}, {r['dtype']}" for r in panel],
            [r["subsets_per_second"] for r in panel],
            color=[
                "C0" if r["implementation"].startswith("mmc") else "0.7"
                for r in panel
            ],
        )
        kernel, M, X, S, density = key
        of = "" if density is None else f", density {density}"
        axes.set(
            xscale="log",
            xlabel="Subsets per second",
            title=f"{kernel}: {M} models, {X:,} texts, {S:,} subsets{of}",
        )
    return figure


def main():
    rng = np.random.default_rng(0)
    rows = []
    with jax.enable_x64(True):
        for M in _NUM_MODELS.value:
            for X in _NUM_TEXTS.value:
                for S in _NUM_SUBSETS.value:
                    shape = {"num_models": M, "num_texts": X}
                    cases = min_sum_cases(rng, M, X, S)
                    rows += rows_of("min_sum", cases, **shape, num_subsets=S)
                    S *= _SUBSETS_PER_ROW
                    for density in _DENSITY.value:
                        cases = oracle_cases(rng, M, X, S, density)
                        shape |= {"num_subsets": S, "density": density}
                        rows += rows_of("oracle_sums", cases, **shape)
    result.write_result(
        _OUT.value,
        {"cases": rows},
        flags=program.flag_values(),
        figures={"subsets": bars(rows)},
    )


if __name__ == "__main__":
    program.run(main)
