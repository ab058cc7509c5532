"""Every kind of file that is read back, as small as it can be.

A kind says how its files are made, which of them are damaged, and what reading
them gives. Files that we write carry checksums. Files that people write, such
as tables and configs, cannot: with a flipped digit they are other files.
"""

import functools
import json
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.faults import jobs, strangers


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
      make: Function that writes the files into a folder.
      damaged: Pattern of the files that are damaged, below the folder.
      read: Function that returns what is read from the folder, to compare.
      has_checksum: Whether other numbers than those written are a fault.
      is_slow: Whether reading takes a second.
      named: Names of other files that errors may name, as they contradict.
    """

    make: Callable[[pathlib.Path], object]
    damaged: str
    read: Callable[[pathlib.Path], object]
    has_checksum: bool = True
    is_slow: bool = False
    named: tuple[str, ...] = ()


def _table():
    from mmc_jax import corpus, scores

    rng = np.random.default_rng(0)
    ids = tuple(f"text-{i}" for i in range(20))
    num_tokens = rng.integers(1, 9, (2, 20))
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(f"m{m}", "xy"[m], costs={"num_params": 10 + m})
            for m in range(2)
        ),
        texts=corpus.Corpus(
            ids=ids,
            domains=tuple("ab"[i % 2] for i in range(20)),
            num_bytes=np.arange(2, 22),
            num_chars=np.arange(1, 21),
            sha256=tuple(f"{i:064x}" for i in range(20)),
            texts=tuple(f"This is text {i}." for i in range(20)),
        ),
        query_costs=rng.exponential(size=(2, 20)),
        nll_nats=rng.exponential(size=(2, 20)),
        num_tokens=num_tokens,
        num_scored=num_tokens,
        round_trips=rng.random((2, 20)) < 0.5,
    )


def _write_table(folder: pathlib.Path) -> None:
    from mmc_jax import scores

    scores.write(_table().select(models=["m0"]), folder)


def _read_table(folder: pathlib.Path) -> object:
    from mmc_jax import scores

    has_texts = (folder / "texts.parquet").exists()
    table = scores.open(folder, with_texts=has_texts)
    costs = table.query_costs
    return {
        "texts themselves": table.texts.texts,
        "query_costs": None if costs is None else costs.tolist(),
        **jobs.scores_found(folder),
        "provenance": [model.provenance for model in table.models],
        "domains": table.texts.domains,
        "num_bytes": table.texts.num_bytes.tolist(),
        "num_chars": table.texts.num_chars.tolist(),
        "chars_per_token": table.chars_per_token,
    }


def _write_parts(folder: pathlib.Path) -> None:
    from mmc_jax import scores

    table = _table()
    scores.write_corpus(folder, table.texts)
    with scores.ModelWriter(folder, table.models[0], {"a": 1}) as writer:
        for rows in (slice(0, 15), slice(15, 20)):
            writer.append(
                table.texts.ids[rows],
                table.nll_nats[0, rows],
                table.num_tokens[0, rows],
                table.num_scored[0, rows],
                table.round_trips[0, rows],
                seconds=1.0,
            )


def _write_tokens(folder: pathlib.Path) -> None:
    from mmc_jax import scores

    table = _table()
    scores.write_corpus(folder, table.texts)
    with scores.ModelWriter(
        folder, table.models[0], {"a": 1}, keep_tokens=True
    ) as writer:
        nll = [np.full(num, 0.5, np.float32) for num in table.num_tokens[0]]
        writer.append(
            table.texts.ids,
            [row.sum(dtype=np.float64) for row in nll],
            table.num_tokens[0],
            table.num_scored[0],
            table.round_trips[0],
            token_scores=scores.token_scores(
                nll, [np.arange(1, len(row) + 1) for row in nll]
            ),
        )
        writer.finish()


def _read_tokens(folder: pathlib.Path) -> object:
    from mmc_jax import scores

    found = scores.open(folder).tokens["m0"]
    return [np.asarray(field).tolist() for field in found]


def _finish_parts(folder: pathlib.Path) -> object:
    from mmc_jax import scores

    with scores.ModelWriter(folder, _table().models[0], {"a": 1}) as writer:
        writer.finish()
    return _read_table(folder)


def _write_result(folder: pathlib.Path) -> None:
    """Writes what trace_frontier does, with a certificate."""
    from mmc_jax import frontier, report

    losses, costs = _losses()
    found = frontier.certified(losses, costs)
    line = found.frontier
    section = report.Section(
        arrays={
            "single_costs": costs,
            "single_losses": losses.mean(axis=1),
            "frontier_costs": line.costs,
            "frontier_losses": line.losses,
        },
        files={
            "certificate.npz": functools.partial(
                frontier.write_certificate, found.certificate
            )
        },
    )
    report.write_sections(folder, [section], flags={})


def _losses() -> tuple[np.ndarray, np.ndarray]:
    from mmc_jax import synthetic

    pool = synthetic.pool(6, 10, noise=0.1)
    return pool.losses, pool.costs


@functools.cache
def _all_subsets() -> tuple[np.ndarray, np.ndarray]:
    """Returns costs and oracle losses of all subsets of `_losses`."""
    losses, costs = _losses()
    subsets = np.arange(1, 2 ** len(costs))[:, None] >> np.arange(len(costs))
    masks = (subsets & 1).astype(bool)
    of_losses = [losses[mask].min(axis=0) for mask in masks]
    return masks @ costs, np.array([math.fsum(x) / len(x) for x in of_losses])


def _read_result(folder: pathlib.Path) -> object:
    from mmc_jax import report

    report.check_file(folder / "certificate.npz")
    return {
        name: [values.tolist() for values in points]
        for name, points in report.read_points(folder).items()
    }


def _read_certificate(folder: pathlib.Path) -> object:
    """Reads a certificate that no result.json names: by the proof alone.

    Whoever forges one may not prove what is false.
    """
    from mmc_jax import certificate_checker

    verdict = certificate_checker.check(folder / "certificate.npz", *_losses())
    all_costs, all_losses = _all_subsets()
    ends = [*verdict.costs[1:], np.inf]
    for k, (end, loss) in enumerate(zip(ends, verdict.losses, strict=True)):
        better = all_losses[all_costs < end - verdict.cost_resolution].min()
        assert better >= verdict.bounds[k], "a bound is violated"
        least = loss - 2 * verdict.resolution - 2 * np.spacing(loss)
        assert not verdict.proven[k] or better >= least, "a false proof"
    return {
        name: np.asarray(value).tolist()
        for name, value in verdict._asdict().items()
        if name != "num_nodes"
    }


def _write_certificate(folder: pathlib.Path) -> None:
    from mmc_jax import frontier

    found = frontier.certified(*_losses())
    frontier.write_certificate(found.certificate, folder / "certificate.npz")


def _certify(folder: pathlib.Path) -> object:
    from mmc_jax import frontier

    found = frontier.certified(*_losses(), work_dir=folder / "work")
    return {
        name: np.asarray(array).tolist()
        for name, array in found.certificate._asdict().items()
    }


def _train(folder: pathlib.Path) -> object:
    import jax

    with jax.numpy_dtype_promotion("standard"):
        jobs.train(folder, folder)
    return (folder / "model/model.safetensors").read_bytes()


def _search_errors(folder: pathlib.Path) -> object:
    from mmc_jax import frontier

    return frontier.kept_search_errors(
        folder / "cases.jsonl",
        [(4, 8, 0.1, 0), (4, 8, 0.1, 1)],
        num_new_texts=0,
    )


def _checkpoint(folder: pathlib.Path) -> None:
    from tests.scoring import checkpoints

    checkpoints.make(folder / "gpt2", "gpt2")
    hour_ago = time.time() - 3600
    for file in (folder / "gpt2").iterdir():
        os.utime(file, (hour_ago, hour_ago))


def _load(folder: pathlib.Path, *, is_cached: bool = True) -> object:
    from flax import nnx

    from mmc_jax import models

    cache_dir = folder / "cache" if is_cached else None
    model = models.load(folder / "gpt2", cache_dir=cache_dir)
    return {
        ".".join(map(str, path)): np.asarray(value).tobytes()
        for path, value in nnx.to_flat_state(nnx.state(model))
    }


def _with_cache(folder: pathlib.Path) -> None:
    _checkpoint(folder)
    _load(folder)


def _hashes(folder: pathlib.Path) -> object:
    from mmc_jax.models import hashes

    return hashes.file_hashes(
        sorted((folder / "gpt2").iterdir()), cache_dir=folder / "cache"
    )


def _with_hashes(folder: pathlib.Path) -> None:
    _checkpoint(folder)
    _hashes(folder)


def _kept_features(folder: pathlib.Path) -> object:
    """Reads the features of a text, or makes them anew where they are none."""
    from mmc_jax import realizable
    from mmc_jax.realizable import features

    found = features.cached_features(
        lambda: realizable.noise_features(["text-0"], 50, seed=0),
        {"kind": "noise"},
        _table().texts.select([0]),
        folder / "features",
    )
    return found.ids, found.values.tolist()


def _scored(folder: pathlib.Path) -> object:
    """Scores again what is scored: a checkpoint that has changed is seen."""
    from mmc_jax import corpus, pool, scoring

    (folder / "texts.jsonl").write_text(json.dumps({"text": "so it is"}))
    (folder / "pool.yaml").write_text(
        "models: [{name: gpt2, checkpoint: gpt2, family: gpt2}]"
    )
    table = scoring.score(
        pool.read(folder / "pool.yaml"),
        corpus.read(folder / "texts.jsonl"),
        folder / "scores",
        settings=scoring.Settings(num_data=1, num_model=1),
    )
    return table.nll_nats.tolist()


def _with_scores(folder: pathlib.Path) -> None:
    _checkpoint(folder)
    _scored(folder)


def _write_csv(folder: pathlib.Path) -> None:
    from mmc_jax import synthetic

    jobs.write_csv(folder, synthetic.pool(3, 6, noise=0.1))
    (folder / "points.csv").write_text("cost,loss\n1,3.5\n10,2.5\n100,2.25\n")
    (folder / "texts.jsonl").write_text(
        "".join(
            json.dumps({"id": f"t{i}", "text": f"a text {i}"}) + "\n"
            for i in range(3)
        )
    )
    (folder / "m").mkdir()
    (folder / "pool.yaml").write_text(
        "name: tiny\nmodels:\n"
        "- {name: a, checkpoint: m, family: x, costs: {price: 0.5}}\n"
        "- {name: b, checkpoint: org/b, revision: main, family: y}\n"
    )


def _read_points(folder: pathlib.Path) -> object:
    from mmc_jax import report

    return {
        name: [values.tolist() for values in points]
        for name, points in report.read_points(folder / "points.csv").items()
    }


def _import(folder: pathlib.Path) -> object:
    from mmc_jax import importers

    table = importers.csv(
        folder / "scores.csv", folder / "models.csv", text_id="text_id"
    )
    return [table.nll_nats.tolist(), [model.costs for model in table.models]]


def _read_pool(folder: pathlib.Path) -> object:
    from mmc_jax import pool

    found = pool.read(folder / "pool.yaml")
    return [(model.name, model.costs, model.family) for model in found.models]


def _read_corpus(folder: pathlib.Path) -> object:
    from mmc_jax import corpus

    return corpus.read(folder / "texts.jsonl").sha256


def _write_parquet(folder: pathlib.Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    _write_csv(folder)
    (folder / "scores.csv").unlink()
    texts = pa.table({"id": ["a", "b"], "text": ["a text", "another"]})
    pa.parquet.write_table(texts, folder / "texts.parquet")
    columns = {"text_id": ["a", "b"], "m0": [1.5, 2.0], "m1": [1, 2]}
    pa.parquet.write_table(
        pa.table({**columns, "m2": [0.5, 1.0]}), folder / "scores.parquet"
    )


def _import_parquet(folder: pathlib.Path) -> object:
    from mmc_jax import importers

    table = importers.csv(
        folder / "scores.parquet", folder / "models.csv", text_id="text_id"
    )
    return table.nll_nats.tolist()


def _read_parquet_corpus(folder: pathlib.Path) -> object:
    from mmc_jax import corpus

    return corpus.read(folder / "texts.parquet").sha256


def _read_config(folder: pathlib.Path) -> object:
    from mmc_jax.models import configs

    return configs.read(folder / "gpt2").to_dict()


def _of_people(damaged: str, read: Callable[[pathlib.Path], object]) -> Kind:
    return Kind(_write_csv, damaged, read, has_checksum=False)


def _of_strangers(
    make: Callable[[pathlib.Path], object],
    damaged: str,
    read: Callable[[pathlib.Path], object],
) -> Kind:
    """Returns the kind of files that lie in a folder of their own.

    Where none of its files is what it should be, the folder is named.
    """

    def make_below(folder: pathlib.Path) -> None:
        (folder / "theirs").mkdir()
        make(folder / "theirs")

    return Kind(
        make_below,
        f"theirs/{damaged}",
        lambda folder: read(folder / "theirs"),
        has_checksum=False,
        named=("theirs:", "router"),
    )


# One line a kind of file.
KINDS = {
    "scores of a model": Kind(
        _write_table, "models/m0.parquet", _read_table, named=("model 'm0'",)
    ),
    "corpus of a score table": Kind(
        _write_table, "corpus.parquet", _read_table
    ),
    "costs of calls": Kind(_write_table, "query_costs/m0.parquet", _read_table),
    "texts of a score table": Kind(_write_table, "texts.parquet", _read_table),
    "part of a model's scores": Kind(
        _write_parts, "models/m0.parts/part-*.parquet", _finish_parts
    ),
    "tokens of a model": Kind(_write_tokens, "tokens/m0.parquet", _read_tokens),
    "result.json": Kind(_write_result, "result.json", _read_result),
    "arrays of a result": Kind(_write_result, "arrays.npz", _read_result),
    "certificate of a result": Kind(
        _write_result, "certificate.npz", _read_result
    ),
    "certificate alone": Kind(
        _write_certificate, "certificate.npz", _read_certificate
    ),
    "windows, start and key of a proof": Kind(
        _certify, "work/*", _certify, is_slow=True
    ),
    "pools of compare_pruning": Kind(
        _search_errors, "cases.jsonl", _search_errors
    ),
    "state of a training": Kind(_train, "state/**/*", _train, is_slow=True),
    "converted parameters": Kind(
        _with_cache, "cache/params/**/*", _load, is_slow=True
    ),
    "router": Kind(
        strangers.write_router,
        "router/**/*",
        strangers.read_router,
        named=("router",),
    ),
    "kept features": Kind(_kept_features, "features/*.parquet", _kept_features),
    "hashes of files": Kind(_with_hashes, "cache/hashes/*", _hashes),
    "safetensors of a scored model": Kind(
        _with_scores, "gpt2/model.safetensors", _scored
    ),
    "tokenizer.json of a scored model": Kind(
        _with_scores, "gpt2/tokenizer.json", _scored
    ),
    "config.json of a scored model": Kind(
        _with_scores, "gpt2/config.json", _scored
    ),
    "safetensors of a stranger": Kind(
        _checkpoint,
        "gpt2/model.safetensors",
        functools.partial(_load, is_cached=False),
        has_checksum=False,
        named=("gpt2",),
    ),
    "config.json of a stranger": Kind(
        _checkpoint, "gpt2/config.json", _read_config, has_checksum=False
    ),
    "scores in Parquet": Kind(
        _write_parquet, "scores.parquet", _import_parquet, has_checksum=False
    ),
    "corpus in Parquet": Kind(
        _write_parquet,
        "texts.parquet",
        _read_parquet_corpus,
        has_checksum=False,
    ),
    "points in CSV": _of_people("points.csv", _read_points),
    "scores in CSV": _of_people("scores.csv", _import),
    "facts of models in CSV": _of_people("models.csv", _import)._replace(
        named=("scores.csv",)
    ),
    "pool in YAML": _of_people("pool.yaml", _read_pool),
    "corpus in JSON lines": _of_people("texts.jsonl", _read_corpus),
    **{
        name: _of_strangers(*functions)
        for name, functions in strangers.FILES.items()
    },
}
