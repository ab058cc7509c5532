"""The mixture kernel, the oracle's, and a loop of NumPy: seconds of each.

S subsets, M models, X texts.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmc_jax import oracle
from mmc_jax.report import result

# Mean nats of a text, and of the differences of two models on it: documents of
# a few hundred tokens, and words.
_TEXTS = {"documents": (800.0, 30.0), "words": (3.0, 0.5)}
_DENSITY = 0.3
# Two float32 means, relative.
_AGREEMENT = 1e-5


def write(
    cases: Iterable[tuple[int, int, int]],
    out: str,
    *,
    num_repeats: int,
    flags: Mapping[str, Any],
) -> None:
    """Times all cases, prints the table, and writes the result folder.

    Args:
      cases: Numbers of subsets, models and texts of each case.
      out: The result folder.
      num_repeats: Turns of each implementation in a case.
      flags: What the program was called with.
    """
    rows = []
    kinds = itertools.product(cases, _TEXTS, ("float64", "float32"))
    for sizes, texts, dtype in kinds:
        with jax.enable_x64(dtype == "float64"):
            rows += _measured(texts, dtype, sizes, num_repeats)
    print(_table(rows))
    result.write_result(out, {"measurements": rows}, flags=flags)


def _measured(
    texts: str, dtype: str, sizes: tuple[int, int, int], num_repeats: int
) -> list[dict[str, Any]]:
    """Returns a row for each implementation, timed in turns."""
    nll, masks = _case(*_TEXTS[texts], *sizes)
    nll = nll.astype(dtype)
    placed = jax.device_put(nll), jax.device_put(masks)
    calls: dict[str, Callable[[], np.ndarray]] = {
        "NumPy, a loop over subsets": lambda: _numpy_losses(nll, masks),
        "mixture_losses": lambda: np.asarray(oracle.mixture_losses(*placed)),
        "oracle_losses": lambda: np.asarray(oracle.oracle_losses(*placed)),
    }
    expected, found = (
        calls[name]()
        for name in ("NumPy, a loop over subsets", "mixture_losses")
    )
    np.testing.assert_allclose(found, expected, rtol=_AGREEMENT)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(num_repeats):
        for name, call in calls.items():
            call()  # The first call of a turn finds its tables out of caches.
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    least = {name: min(times) for name, times in seconds.items()}
    return [
        {
            "S": sizes[0],
            "M": sizes[1],
            "X": sizes[2],
            "texts": texts,
            "dtype": dtype,
            "implementation": name,
            "seconds": least[name],
            "times_mixture_losses": least[name] / least["mixture_losses"],
        }
        for name in calls
    ]


def _case(mean, spread, num_subsets, num_models, num_texts):
    """Returns simulated nll [M, X] and masks [S, M]."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(0, 0.5, num_texts)
    nll = lengths * (
        mean
        + spread * rng.normal(size=(num_models, 1))
        + spread * rng.normal(size=(num_models, num_texts))
    )
    masks = rng.random((num_subsets, num_models)) < _DENSITY
    masks[:, 0] |= ~masks.any(axis=1)
    return np.maximum(nll, 0.01), masks


def _numpy_losses(nll: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns each subset's loss by the log of a sum of exponentials: [S]."""
    found = np.empty(len(masks), nll.dtype)
    for s, mask in enumerate(masks):
        rows = nll[mask]
        least = rows.min(axis=0)
        found[s] = np.mean(least - np.log(np.exp(least - rows).mean(axis=0)))
    return found


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows in Markdown."""
    lines = [
        "| S | M | X | texts | dtype | implementation | ms "
        "| times mixture_losses |",
        "|--:|--:|--:|---|---|---|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['S']:,} | {row['M']:,} | {row['X']:,} | {row['texts']} "
            f"| {row['dtype']} | {row['implementation']} "
            f"| {1e3 * row['seconds']:.1f} "
            f"| {row['times_mixture_losses']:.2f} |"
        )
    return "\n".join(lines)
