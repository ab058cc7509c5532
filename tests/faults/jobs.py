"""Small jobs of every kind that writes files, for kills and for damage.

    python -m tests.faults.jobs NAME INPUTS OUT

does one of them, if no program does it with so little.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Job(NamedTuple):
    """One kind of work that is to be killed and repeated.

    Attributes:
      prepare: Function that writes what the job reads into a folder.
      command: Function that returns the module to start and its arguments,
        given the folder of inputs and that of the results.
      found: Function that returns what must be the same after a kill, given
        the folder of the results: bytes or numbers by name.
    """

    prepare: Callable[[pathlib.Path], None]
    command: Callable[[pathlib.Path, pathlib.Path], Sequence[str]]
    found: Callable[[pathlib.Path], dict[str, object]]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def score_inputs(folder: pathlib.Path) -> None:
    """Writes a pool of two small models and twelve texts."""
    from tests.scoring import checkpoints

    for seed, name in enumerate(("gpt2", "llama")):
        checkpoints.make(folder / name, name, seed=seed)
    lines = (
        json.dumps({"id": f"t{i}", "text": f"Text {i}: {'so ' * (i % 9)}."})
        for i in range(12)
    )
    (folder / "texts.jsonl").write_text("\n".join(lines))
    (folder / "pool.yaml").write_text(
        "models:\n"
        + "".join(
            f"- {{name: {name}, checkpoint: {name}, family: {name}}}\n"
            for name in ("gpt2", "llama")
        )
    )


def score(inputs: pathlib.Path, out: pathlib.Path) -> None:
    """Scores with a part after every batch."""
    from mmc_jax import corpus, pool, scoring

    scoring.score(
        pool.read(inputs / "pool.yaml"),
        corpus.read(inputs / "texts.jsonl"),
        out,
        settings=scoring.Settings(
            tokens_per_batch=144, part_seconds=0.0, num_data=1, num_model=1
        ),
    )


def scores_found(out: pathlib.Path) -> dict[str, object]:
    """Returns all of a score table but the seconds that it took."""
    from mmc_jax import scores

    table = scores.open(out)
    return {
        "texts": table.texts.sha256,
        "models": [
            (m.name, m.family, m.costs, m.provenance.get("key"))
            for m in table.models
        ],
        **{
            name: _digest(np.ascontiguousarray(values).tobytes())
            for name, values in (
                ("nll_nats", table.nll_nats),
                ("num_tokens", table.num_tokens),
                ("num_scored", table.num_scored),
                ("round_trips", table.round_trips),
            )
            if values is not None
        },
    }


def _csv_inputs(folder: pathlib.Path) -> None:
    from mmc_jax import synthetic

    write_csv(folder, synthetic.pool(14, 40, noise=0.1))


def write_csv(folder: pathlib.Path, pool) -> None:
    """Writes scores.csv and models.csv of a pool of losses and costs."""
    names = [f"m{m}" for m in range(len(pool.losses))]
    rows = [["text_id", *names]]
    rows += [[f"t{x}", *row] for x, row in enumerate(pool.losses.T.tolist())]
    models = [["model", "family", "num_params"]]
    models += [
        [name, "xy"[m % 2], pool.costs[m]] for m, name in enumerate(names)
    ]
    for name, table in (("scores", rows), ("models", models)):
        lines = (",".join(map(str, row)) for row in table)
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def result_found(out: pathlib.Path) -> dict[str, object]:
    """Returns the files of a result folder, and the numbers of its JSON."""
    numbers = json.loads((out / "result.json").read_text())
    for name in ("flags", "sha256"):
        del numbers[name]
    return {
        "result.json": numbers,
        **{
            path.name: _digest(path.read_bytes())
            for path in sorted(out.iterdir())
            if path.name != "result.json"
        },
    }


def _nothing(folder: pathlib.Path) -> None:
    """Writes nothing: the job needs no file."""


def _certify_inputs(folder: pathlib.Path) -> None:
    """Writes losses and costs, which are drawn once for all runs."""
    from mmc_jax import synthetic

    pool = synthetic.pool(12, 50, noise=0.1)
    np.savez(folder / "pool.npz", losses=pool.losses, costs=pool.costs)


def certify(inputs: pathlib.Path, out: pathlib.Path) -> None:
    """Proves a frontier and writes its certificate, but no figures."""
    from mmc_jax import frontier

    with np.load(inputs / "pool.npz") as pool:
        losses, costs = pool["losses"], pool["costs"]
    found = frontier.certified(losses, costs, work_dir=out / "parts")
    frontier.write_certificate(found.certificate, out / "certificate.npz")


def _certificate_found(out: pathlib.Path) -> dict[str, object]:
    return {"certificate": _digest((out / "certificate.npz").read_bytes())}


def write_result(inputs: pathlib.Path, out: pathlib.Path) -> None:
    """Writes a result folder with a file of each kind."""
    from matplotlib.figure import Figure

    from mmc_jax import report

    numbers = np.linspace(0.0, 1.0, 2**20)

    def draw() -> Figure:
        figure = Figure()
        figure.add_subplot().plot(numbers[:10])
        return figure

    arrays = {f"a{i}": numbers + i for i in range(4)}
    section = report.Section(
        {"x": 1.5},
        arrays=arrays,
        figures={"f": draw},
        files={"more.bin": lambda path: path.write_bytes(numbers.tobytes())},
    )
    report.write_sections(out, [section], flags={})


def write_page(inputs: pathlib.Path, out: pathlib.Path) -> None:
    """Writes a page and its result folder, of numbers that are made up."""
    from mmc_jax import report
    from tests.report import contents

    sections = [
        report.Section({key: value})
        for key, value in contents.content().items()
        if key not in ("flags", "versions", "device", "sha256")
    ]
    sections.append(report.Section(arrays={"a": np.linspace(0, 1, 2**18)}))
    out.mkdir(exist_ok=True)
    report.write_page(out / "page.html", sections, flags={})


def page_found(out: pathlib.Path) -> dict[str, object]:
    """Returns a page, and the files of its result folder."""
    page = _digest((out / "page.html").read_bytes())
    return {"page.html": page, **result_found(out / "page")}


def _report_found(out: pathlib.Path) -> dict[str, object]:
    """Returns the same of a page whose flags name the folder."""
    from mmc_jax import report

    embedded = report.read_embedded((out / "page.html").read_text())
    numbers = result_found(out / "page")["result.json"]
    return {
        "page.html": {name: embedded[name] for name in numbers},
        **result_found(out / "page"),
    }


def _points(folder: pathlib.Path) -> None:
    (folder / "points.csv").write_text(
        "cost,loss\n"
        + "".join(f"{10**k},{3 * 10 ** (-0.2 * k) + 1}\n" for k in range(6))
    )


def train(inputs: pathlib.Path, out: pathlib.Path) -> None:
    """Trains a model of one layer for a few steps."""
    import transformers

    from mmc_jax import training

    streams = {"a": np.arange(400, dtype=np.uint16) % 257}
    config = transformers.GPT2Config(
        vocab_size=257, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    recipe = training.Recipe({"a": 1.0}, 16, 20, tokens_per_step=64)
    model, facts = training.train(
        config, streams, recipe, out / "state", name="tiny"
    )
    training.save_folder(
        model,
        training.byte_tokenizer("<|endoftext|>"),
        "<|endoftext|>",
        {"train_loss_nats": facts["train_loss_nats"]},
        out / "model",
    )


def _model_found(out: pathlib.Path) -> dict[str, object]:
    return {
        path.name: _digest(path.read_bytes())
        for path in sorted((out / "model").iterdir())
    }


def _own(name: str) -> Callable[[pathlib.Path, pathlib.Path], Sequence[str]]:
    return lambda inputs, out: (__spec__.name, name, str(inputs), str(out))


# One line a kind of work: the smallest that writes all files of its kind.
JOBS = {
    "scoring": Job(score_inputs, _own("score"), scores_found),
    "certified search": Job(
        _certify_inputs, _own("certify"), _certificate_found
    ),
    "training": Job(_nothing, _own("train"), _model_found),
    "import": Job(
        _csv_inputs,
        lambda inputs, out: (
            "experiments.import_scores",
            "--format=csv",
            f"--input={inputs}/scores.csv",
            f"--models={inputs}/models.csv",
            "--value=raw",
            f"--out={out}",
        ),
        scores_found,
    ),
    "result folder": Job(_nothing, _own("write_result"), result_found),
    "page": Job(_nothing, _own("write_page"), page_found),
}
# The same by the programs that users start; seconds each.
PROGRAMS = {
    "score_texts": Job(
        score_inputs,
        lambda inputs, out: (
            "experiments.score_texts",
            f"--corpus={inputs}/texts.jsonl",
            f"--pool={inputs}/pool.yaml",
            f"--out={out}",
        ),
        scores_found,
    ),
    "trace_frontier": Job(
        _csv_inputs,
        lambda inputs, out: (
            "experiments.trace_frontier",
            f"--csv={inputs}/scores.csv",
            f"--models={inputs}/models.csv",
            "--normalisation=raw",
            "--method=certified",
            f"--out={out}",
        ),
        result_found,
    ),
    "report": Job(
        _csv_inputs,
        lambda inputs, out: (
            "experiments.report",
            f"--csv={inputs}/scores.csv",
            f"--models={inputs}/models.csv",
            "--normalisation=raw",
            "--num_splits=0",
            "--num_resamples=4",
            "--nomixtures",
            f"--out={out}/page.html",
        ),
        _report_found,
    ),
    "fit_law": Job(
        _points,
        lambda inputs, out: (
            "experiments.fit_law",
            f"--points={inputs}/points.csv",
            "--num_resamples=4",
            "--num_starts=8",
            "--forms=power_law",
            f"--out={out}",
        ),
        result_found,
    ),
}


if __name__ == "__main__":
    _name, *_folders = sys.argv[1:]
    globals()[_name](*map(pathlib.Path, _folders))
