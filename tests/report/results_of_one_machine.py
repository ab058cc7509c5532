"""Writes result folders of one table; see test_same_bytes.py.

python -m tests.report.results_of_one_machine FOLDER
"""

import json
import pathlib
import sys

import numpy as np

from mmc_jax import corpus, diversity, report, scores, studies, synthetic
from tests import left_out
from tests.law import laws_of_one_machine

# What says where and how a result was computed.
_ELSEWHERE = ("flags", "versions", "device", "sha256")


def _table() -> scores.ScoreTable:
    drawn = synthetic.pool(9, 60, 0.1)
    # Rounded to 2^-20: exponentials may differ in their last digit.
    nll_nats = np.rint(drawn.losses * 2**20) / 2**20
    counts = np.full(60, 100)
    texts = corpus.Corpus(
        ids=tuple(map(str, range(60))),
        domains=("prose", "code", "web") * 20,
        num_bytes=counts,
        num_chars=counts,
        sha256=("",) * 60,
        texts=None,
    )
    models = tuple(
        scores.ScoredModel(name, family, costs={"num_params": cost})
        for name, family, cost in zip(
            drawn.names, drawn.families, drawn.costs.tolist(), strict=True
        )
    )
    return scores.ScoreTable(models, texts, nll_nats)


def write(folder: pathlib.Path) -> None:
    """Writes the results of a study and of diversity, and digits of laws."""
    folder.mkdir(parents=True, exist_ok=True)
    # Fits of points that are no table's, to ten digits.
    digits = (f"{number:.10g}" for number in laws_of_one_machine.numbers())
    (folder / "laws.txt").write_text("\n".join(digits))
    table = _table()
    with left_out.most_starts():
        study = studies.study(
            table,
            normalisation="raw",
            method="certified",
            routed=True,
            folder=folder / "study",
        )
    summary = diversity.summary(table, normalisation="raw", num_resamples=20)
    for name, sections in (
        ("study", report.study_sections(study)),
        ("diversity", report.diversity_sections(summary)),
    ):
        report.write_sections(folder / name, sections, flags={})


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of each file, of result.json its numbers alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.suffix == ".png":
            continue
        content = path.read_bytes()
        if path.name == "result.json":
            numbers = json.loads(content)
            for key in _ELSEWHERE:
                del numbers[key]
            content = json.dumps(numbers, indent=1).encode()
        if path.suffix == ".npz":
            # Of the archive the arrays: it may hold times.
            with np.load(path) as arrays:
                content = b"".join(
                    f"{name} {array.dtype} {array.shape}".encode()
                    + array.tobytes()
                    for name, array in arrays.items()
                )
        found[str(path.relative_to(folder))] = content
    return found


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
