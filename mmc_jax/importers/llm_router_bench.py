"""LLMRouterBench (github.com/ynulihao/LLMRouterBench, arXiv 2601.07206).

`results/bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<time>.json`,
each with `records` of `index`, `prompt`, `score` between 0 and 1, `cost` in US
dollars. Of several runs of a model the latest counts, demonstrations never.
M models, X texts.
"""

import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mmc_jax.importers import json_files, prompts
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_TIME = re.compile(r"(\d{8}_\d{6})\.json")
_OLD_NAME = "result.json"


class _Run(NamedTuple):
    """One file: the answers of a model to a data set."""

    file: pathlib.Path
    time: str
    records: list[dict[str, Any]]


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a folder holds results of LLMRouterBench."""
    # Files of the old name alone may be anything.
    return path.is_dir() and any(
        _TIME.search(_files(folder)[-1].name) for folder in _folders(path)
    )


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns scores and costs of all models; data sets are the domains.

    Args:
      path: A folder `results`, `results/bench`, or one data set in it.
      options: `run`, the time (such as 20250101_120000) of the runs to read.

    Raises:
      ValueError: A file is damaged, two records of a run have one index, or
        models saw other prompts for one text.
    """
    runs: dict[tuple[str, str], dict[str, _Run]] = {}
    for folder in _folders(path):
        dataset, split, model = folder.parts[-3:]
        run = _latest(folder, options.run)
        if run is not None:
            runs.setdefault((dataset, split), {})[model] = run
        elif options.run is not None:
            logging.warning("%s: no run of %s", folder, options.run)
    if not runs:
        raise ValueError(f"{path}: no results that are no demonstration")
    models = sorted({model for of in runs.values() for model in of})
    rows = {model: m for m, model in enumerate(models)}
    ids, domains, said = [], [], []
    values, costs = [], []
    for (dataset, split), of_models in sorted(runs.items()):
        texts: dict[str, int] = {}
        seen: set[tuple[str, str]] = set()
        for model, run in of_models.items():
            for number, record in enumerate(run.records):
                where = f"{run.file}, record {number}"
                index, prompt = _text_of(record, where)
                if (model, index) in seen:
                    raise ValueError(
                        f"{where}: a second record of the index {index}"
                    )
                seen.add((model, index))
                x = texts.get(index)
                if x is None:
                    x = texts[index] = len(ids)
                    ids.append(f"{dataset}/{split}/{index}")
                    domains.append(dataset)
                    said.append(prompt)
                    values.append(np.full(len(models), np.nan))
                    costs.append(np.full(len(models), np.nan))
                elif said[x] != prompt and not options.allow_other_prompts:
                    raise ValueError(
                        f"{where}: another prompt than other models saw for "
                        f"the index {index}; --allow_other_prompts takes it"
                    )
                m = rows[model]
                values[x][m] = _number(record, "score", where)
                costs[x][m] = _number(record, "cost", where)
    query_costs = np.stack(costs, axis=1)
    known = np.isfinite(query_costs) | ~np.isfinite(np.stack(values, axis=1))
    if not known.all():
        logging.warning("%s: costs of calls are not known for all", path)
    return Imported(
        path=path,
        models=tuple(ScoredModel(model) for model in models),
        text_ids=tuple(ids),
        values=np.stack(values, axis=1),
        unit="score",
        domains=tuple(domains),
        query_costs=query_costs if known.all() else None,
        provenance={
            "source": "LLMRouterBench",
            "query_costs": "US dollars a call",
        },
        **prompts.facts(said),
    )


def _folders(path: pathlib.Path):
    """Yields the folders of models, `<dataset>/<split>/<model>`."""
    for bench in (path / "results" / "bench", path / "bench", path):
        found = False
        for folder in sorted(bench.glob("*/*/*/")):
            if folder.is_dir() and _files(folder):
                found = True
                yield folder
        if found:
            return
    for folder in sorted(path.glob("*/*/")):
        if folder.is_dir() and _files(folder):
            yield folder.absolute()


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns a model's files, the latest last."""
    dataset, split, model = folder.absolute().parts[-3:]
    named = [
        file
        for file in folder.glob("*.json")
        if file.name.startswith(f"{dataset}-{split}-{model}-")
        and _TIME.search(file.name)
    ]
    named.sort(key=lambda file: _TIME.search(file.name)[1])
    old = folder / _OLD_NAME
    return [old, *named] if old.exists() else named


def _latest(folder: pathlib.Path, time: str | None) -> _Run | None:
    """Returns a model's run of that time, or the latest; names the others."""
    left = _files(folder)[::-1]
    for file in list(left):
        found = _TIME.search(file.name)
        of_file = found[1] if found else ""
        if time is not None and not of_file.startswith(time):
            continue
        result = json_files.value(file)
        if not isinstance(result, dict) or not isinstance(
            result.get("records"), list
        ):
            raise ValueError(f"{file}: no 'records'")
        if result.get("demo"):
            logging.warning("%s: a demonstration; ignored", file)
            left.remove(file)
            continue
        left.remove(file)
        if left:
            logging.warning(
                "%s: read %s; other runs are left out: %s (--run chooses)",
                folder,
                file.name,
                ", ".join(other.name for other in left),
            )
        return _Run(file, of_file, result["records"])
    return None


def _text_of(record: Any, where: str) -> tuple[str, str]:
    if not isinstance(record, dict) or "index" not in record:
        raise ValueError(f"{where}: no 'index'")
    prompt = record.get("origin_query") or record.get("prompt") or ""
    if not isinstance(prompt, str):
        raise ValueError(f"{where}: 'prompt' is no text")
    return str(record["index"]), prompt


def _number(record: dict[str, Any], field: str, where: str) -> float:
    value = record.get(field)
    if value is None:
        return np.nan
    found = json_files.number(value, where, field)
    if field == "cost" and found < 0:
        raise ValueError(f"{where}, cost: {found:g} is below 0")
    return found
