"""The certified search, its checker, and HiGHS: seconds of each."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmc_jax import frontier, synthetic
from mmc_jax.frontier import proof
from mmc_jax.report import result
from mmc_jax.statistics import checked_inputs

from ..peers import p_median

# What verifies: its whole time is that of a user who trusts none of the rest.
_CHECKER = """
import json, sys
import numpy as np
from mmc_jax import certificate_checker

with np.load(sys.argv[2]) as pool:
    verdict = certificate_checker.check(
        sys.argv[1], pool["losses"], pool["costs"]
    )
assert "jax" not in sys.modules
print(json.dumps([int(verdict.proven.sum()), len(verdict.proven)]))
"""


class Case(NamedTuple):
    """A simulated pool that is searched.

    Attributes:
      num_models: Number of its models.
      num_texts: Number of its texts.
      noise: Standard deviation of log loss of one model on one text.
      time_limit: Seconds for the trees; 0 bounds the roots alone.
      has_peer: Whether HiGHS proves one budget too.
    """

    num_models: int
    num_texts: int
    noise: float
    time_limit: float
    has_peer: bool


def searched(
    drawn: synthetic.SyntheticPool, time_limit: float, patience: float
) -> tuple[list[float], frontier.Certified]:
    """Returns the seconds of each run, and what the last of them found."""
    seconds = []
    while len(seconds) < 2:
        bar = tqdm.tqdm(desc="points proven", leave=False)

        def show(progress: frontier.Progress, bar=bar) -> None:
            bar.total, bar.n = progress.num_points, progress.num_proven
            bar.set_postfix(nodes=progress.num_nodes)

        started = time.perf_counter()
        found = frontier.certified(
            drawn.losses, drawn.costs, time_limit=time_limit, on_progress=show
        )
        seconds.append(time.perf_counter() - started)
        bar.close()
        if seconds[-1] > patience:
            break
    return seconds, found


def verified(
    drawn: synthetic.SyntheticPool, certificate: pathlib.Path
) -> dict[str, Any]:
    """Returns what a process of its own says of the certificate."""
    with tempfile.TemporaryDirectory() as folder:
        pool = pathlib.Path(folder, "pool.npz")
        np.savez(pool, losses=drawn.losses, costs=drawn.costs)
        started = time.perf_counter()
        checked = subprocess.run(
            [sys.executable, "-c", _CHECKER, str(certificate), str(pool)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
    if checked.returncode:
        raise ValueError(f"{certificate} does not pass: {checked.stderr}")
    num_proven, num_points = json.loads(checked.stdout)
    return {
        "seconds": seconds,
        "num_points": num_points,
        "num_proven": num_proven,
    }


def one_budget(
    pool: proof.IntegerPool,
    certificate: frontier.Certificate,
    peer_time_limit: float,
) -> dict[str, Any]:
    """Returns how long HiGHS and our tree take in the middle of the frontier.

    The budget is the cost of the point in the middle, by the log of the cost.
    """
    costs = certificate.costs
    middle = np.sqrt(float(costs[0]) * float(costs[-1]))
    k = int(np.searchsorted(costs, middle, side="right")) - 1
    budget, known = int(costs[k]), int(certificate.loss_sums[k])
    row = {
        "budget": budget / pool.cost_scale,
        "is_proven": bool(certificate.bounds[k] == known),
    }
    for name, given in (("from_nothing", None), ("loss_given", known)):
        found = p_median.solved(pool, budget, given, peer_time_limit)
        row[f"highs_{name}"] = {
            "seconds": found.seconds,
            "is_optimal": found.is_optimal,
            "is_equal": found.loss_sum == known,
            "num_variables": found.num_variables,
            "num_nodes": found.num_nodes,
        }
    row["tree_loss_given"] = proven(pool, budget, known, certificate.masks[k])
    return row


def proven(
    pool: proof.IntegerPool, budget: int, known: int, mask: np.ndarray
) -> dict[str, Any]:
    """Returns how long a tree takes to prove one budget, compiled before."""
    budgets, sums = np.array([budget]), np.array([known])
    for _ in range(2):
        started = time.perf_counter()
        tuned = proof.thresholds(pool, budgets, sums.astype(float), mask[None])
        search = proof.SearchTree(
            proof.device_table(pool, jax.devices()[0]),
            tuned[0],
            [budget],
            sums,
            np.zeros(1, np.int64),
        )
        while not search.is_done:
            search.step()
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "is_optimal": not search.better,
        "num_nodes": search.num_nodes,
    }


def measured(
    case: Case, out: str, *, patience: float, peer_time_limit: float
) -> tuple[dict[str, Any], frontier.Certified]:
    """Returns a case's numbers and what the search found.

    Args:
      case: What is searched.
      out: Folder that the certificate is written into.
      patience: Seconds after which a search is not run a second time.
      peer_time_limit: Seconds for HiGHS, each time.
    """
    drawn = synthetic.pool(case.num_models, case.num_texts, case.noise)
    seconds, found = searched(drawn, case.time_limit, patience)
    certificate = pathlib.Path(
        out,
        f"{case.num_texts}-{case.noise:g}-{case.time_limit:g}.certificate.npz",
    )
    frontier.write_certificate(found.certificate, certificate)
    row = {
        "num_models": case.num_models,
        "num_texts": case.num_texts,
        "noise": case.noise,
        "time_limit_s": case.time_limit,
        "seconds": seconds,
        "num_points": len(found.proven),
        "num_proven": int(found.proven.sum()),
        "num_nodes": found.num_nodes,
        "mean_gap": float(found.gaps.mean()),
        "largest_gap": float(found.gaps.max()),
        "certificate_bytes": certificate.stat().st_size,
        "checker": verified(drawn, certificate),
    }
    if case.has_peer:
        pool = proof.integer_pool(
            checked_inputs(drawn.losses, drawn.costs, None)
        )
        row["one_budget"] = one_budget(pool, found.certificate, peer_time_limit)
    return row, found


def sentence(row: dict[str, Any]) -> str:
    """Returns a line of the table."""
    runs = ", ".join(f"{seconds:.2f}" for seconds in row["seconds"])
    return (
        f"{row['num_texts']:9,} {row['noise']:5g} {row['time_limit_s']:5g} "
        f"{runs:>14} {row['num_points']:6,} "
        f"{row['num_proven'] / row['num_points']:7.2%} {row['num_nodes']:10,} "
        f"{row['mean_gap']:8.4%} {row['largest_gap']:8.4%} "
        f"{row['certificate_bytes'] / 1e6:7.2f} "
        f"{row['checker']['seconds']:8.2f}"
    )


def beside_highs(row: dict[str, Any]) -> str:
    """Returns how HiGHS fares on one budget, in words."""
    one, seconds = row["one_budget"], min(row["seconds"])
    tree = one["tree_loss_given"]["seconds"]
    lines = [
        f"{row['num_texts']:,} texts, noise {row['noise']:g}, the budget "
        f"{one['budget']:.4g}: our tree, the best loss given, {tree:.3f} s"
    ]
    for name, title in (
        ("highs_from_nothing", "HiGHS from nothing"),
        ("highs_loss_given", "HiGHS, the best loss given"),
    ):
        highs = one[name]
        least = "" if highs["is_optimal"] else "over "
        if highs["is_equal"]:
            answer = "the same loss"
        else:
            answer = "ANOTHER LOSS" if highs["is_optimal"] else "a worse loss"
        times = highs["seconds"]
        lines.append(
            f"  {title}: {least}{times:.2f} s, {answer}; {least}"
            f"{times / tree:,.0f} times our tree, {times / seconds:.3g} times "
            "the whole frontier, "
            f"{times * row['num_points'] / seconds:,.0f} times a point of it"
        )
    return "\n".join(lines)


def gaps(cases: list[tuple[dict[str, Any], frontier.Certified]]) -> Figure:
    """Returns how much better an unknown subset could be, by budget."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for i, (row, found) in enumerate(cases):
        budgets = np.append(found.frontier.costs, found.frontier.costs[-1])
        limit = row["time_limit_s"]
        axes.stairs(
            found.gaps,
            budgets,
            fill=True,
            alpha=0.5,
            color=f"C{i}",
            label=f"{row['num_texts']:,} texts, noise {row['noise']:g}, "
            + (f"{limit:g} s" if limit else "the root alone"),
        )
    axes.set(
        xscale="log",
        xlabel="Total parameters",
        ylabel="A better loss is lower by at most",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return figure


def write(
    cases: Sequence[Case],
    out: str,
    *,
    patience: float,
    peer_time_limit: float,
    flags: Mapping[str, Any],
) -> None:
    """Runs all cases, prints a line of each, and writes the result folder.

    Args:
      cases: What is searched.
      out: The result folder.
      patience: Seconds after which a search is not run a second time.
      peer_time_limit: Seconds for HiGHS, each time.
      flags: What the program was called with.
    """
    print(
        f"{'texts':>9} {'noise':>5} {'limit':>5} {'seconds, runs':>14} "
        f"{'points':>6} {'proven':>7} {'nodes':>10} {'mean gap':>8} "
        f"{'largest':>8} {'MB':>7} {'checker':>8}"
    )
    done = []
    for case in cases:
        done.append(
            measured(
                case, out, patience=patience, peer_time_limit=peer_time_limit
            )
        )
        print(sentence(done[-1][0]), flush=True)
    rows = [row for row, _ in done]
    for row in rows:
        if "one_budget" in row:
            print(beside_highs(row))
    open_cases = [case for case in done if not case[1].proven.all()]
    result.write_result(
        out,
        {"cases": rows},
        flags=flags,
        figures={"gaps": gaps(open_cases)} if open_cases else {},
    )
