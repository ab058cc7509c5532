"""What of lm-evaluation-harness lies in a folder: runs of models on tasks.

    0.4.0 to 0.4.2  <model_args>_<task>.jsonl   one array, beside results.json
    0.4.3 on        <model>/samples_<task>_<date>.jsonl, results_<date>.json

People rename and move these files, so that content decides what one is; names
say the date, the task where the results do not, and which results belong to
which samples.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import logging

from mmc_jax.corpus import files
from mmc_jax.importers import json_files, logs
from mmc_jax.importers.logs import Log

_SUFFIXES = (".json", ".jsonl")
# Bytes that tell samples from other files.
_HEAD = 2**16
_FIELDS = (re.compile(rb'"doc_id"\s*:'), re.compile(rb'"doc"\s*:'))
_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)$")
# The argument that names a model, in the order in which the tool looks.
_NAMING = ("peft", "delta", "pretrained", "model", "path", "engine")
_NAMED = re.compile(rf"(?:^|,)(?:{'|'.join(_NAMING)})(?:=|__)([^,]+)")
# The tool's ways to make a file name of model arguments.
_UNSAFE = (r"/|=", r"[\"<>:/\|\\?\*\[\]]+")


@dataclasses.dataclass(frozen=True)
class Run(Log):
    """One run of a model on a task; the model may be "name@revision".

    Attributes:
      results: What the run's results file holds; empty where there is none.
    """

    results: dict[str, Any]

    def label(self) -> str:
        """Returns how messages name the run: task, date, few-shot examples."""
        shots = self.of_task("n-shot")
        return super().label() + ("" if shots is None else f" ({shots}-shot)")

    def config(self, name: str) -> Any:
        """Returns a setting of the run; None where it is not known."""
        return _mapping(self.results.get("config")).get(name)

    def of_task(self, field: str) -> Any:
        """Returns what a field of the results says of this task, or None."""
        return _mapping(self.results.get(field)).get(self.task)


def is_samples(path: pathlib.Path) -> bool:
    """Returns whether a file begins as samples of this tool do."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    return all(field.search(head) for field in _FIELDS)


def runs(path: pathlib.Path, tasks: Sequence[str] | None) -> list[Run]:
    """Returns all runs below a folder, or the one of a file of samples.

    Args:
      path: A folder, or one file of samples.
      tasks: Names of the tasks to read; all if None. They help where the name
        of a file does not tell where the model ends and the task begins.

    Raises:
      ValueError: There are no samples, or the model or the task of a file is
        not known; the message names the file and the cure.
    """
    folder = path if path.is_dir() else path.parent
    found, _ = files.text_files(folder, _SUFFIXES)
    samples = [file for file in found if is_samples(file)]
    if path.is_dir():
        _refuse_empty(found, tasks)
    else:
        # Results that belong to it lie beside it.
        samples = [path]
        found = [file for file in found if file.parent == folder]
    results = {
        file: content
        for file in found
        if file not in set(samples) and (content := _results(file)) is not None
    }
    if not samples:
        raise ValueError(
            f"{path}: no samples of lm-evaluation-harness, only "
            f"{len(results)} files of results; run it with --log_samples"
        )
    logs.say_left_out(
        path,
        [file for file in found if file.suffix.lower() == ".jsonl"],
        samples,
        "samples of lm-evaluation-harness",
    )
    all_runs = [_run(file, results, tasks) for file in samples]
    if tasks is not None:
        for task in tasks:
            if all(run is None or run.task != task for run in all_runs):
                there = sorted({run.task for run in all_runs if run})
                raise ValueError(
                    f"{path}: no samples of the task {task!r}; there are "
                    f"{', '.join(there) or 'none'}"
                )
    kept = [run for run in all_runs if run is not None]
    used = {id(run.results) for run in kept}
    unused = [
        f.name for f, content in results.items() if id(content) not in used
    ]
    if unused and tasks is None:
        logging.warning(
            "%s: results without samples: %s", path, ", ".join(unused[:10])
        )
    return kept


def _refuse_empty(
    found: list[pathlib.Path], tasks: Sequence[str] | None
) -> None:
    """Raises the error of samples that a run began and never wrote."""
    for file in found:
        wanted = tasks is None or any(task in file.stem for task in tasks)
        if not wanted or file.suffix.lower() != ".jsonl":
            continue
        with open(file, "rb") as opened:
            if not opened.read(_HEAD).strip():
                raise ValueError(
                    f"{file}: empty; the run did not end. Delete it, or choose "
                    "tasks by --tasks"
                )


def _results(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the content of a file of results; None if it is none."""
    if path.suffix.lower() != ".json":
        return None
    try:
        content = json_files.value(path)
    except ValueError as error:
        logging.warning("%s (left out)", error)
        return None
    if isinstance(content, dict) and {"results", "config"} <= content.keys():
        return content
    return None


def _run(
    path: pathlib.Path,
    results: dict[pathlib.Path, dict[str, Any]],
    tasks: Sequence[str] | None,
) -> Run | None:
    """Returns the run of a file of samples; None if its task is not wanted."""
    stem = path.stem
    dated = _DATE.search(stem)
    if dated is not None:
        task = stem[: dated.start()].removeprefix("samples_")
        if tasks is not None and task not in tasks:
            return None
        date = dated[1]
        content = _dated_results(path, date, results)
        model = _model_of(content, path)
        if model is None:
            model = _model_of_folder(path, date)
        return Run(path, model, task, date, content or {})
    beside = {f: c for f, c in results.items() if f.parent == path.parent}
    for file, content in beside.items():
        for task in _tasks_of(content):
            if stem in _old_stems(content, task) or stem == f"samples_{task}":
                if tasks is not None and task not in tasks:
                    return None
                model = _model_of(content, file)
                if model is None:
                    _refuse_unnamed(path, file)
                date = _DATE.search(file.stem)
                return Run(path, model, task, date[1] if date else "", content)
    known = {
        task for content in results.values() for task in _tasks_of(content)
    }
    return _run_by_name(path, {*known, *(tasks or ())}, tasks)


def _run_by_name(
    path: pathlib.Path, known: set[str], tasks: Sequence[str] | None
) -> Run | None:
    """Returns the run that an old file's name tells, without any results."""
    ends = [task for task in known if path.stem.endswith(f"_{task}")]
    task = max(ends, key=len, default=None)
    if task is None:
        if tasks is not None:
            return None
        raise ValueError(
            f"{path}: no results file beside it names its task; say it by "
            "--tasks"
        )
    if tasks is not None and task not in tasks:
        return None
    named = _NAMED.search(path.stem[: -len(task) - 1])
    if named is None:
        _refuse_unnamed(path, None)
    return Run(path, named[1].replace("__", "/", 1), task, "", {})


def _refuse_unnamed(path: pathlib.Path, results: pathlib.Path | None) -> None:
    where = "its name" if results is None else f"the model_args of {results}"
    raise ValueError(
        f"{path}: no model is named, {where} holds none; rename the file to "
        "pretrained=<name>_<task>.jsonl"
    )


def _dated_results(
    path: pathlib.Path,
    date: str,
    results: dict[pathlib.Path, dict[str, Any]],
) -> dict[str, Any] | None:
    """Returns the results of a date: those beside the samples come first."""
    of_date = [f for f in results if f.stem.endswith(f"_{date}")]
    near = [f for f in of_date if f.parent == path.parent] or of_date
    if len(near) > 1:
        raise ValueError(
            f"{path}: several results files have its date: "
            f"{', '.join(map(str, near))}; keep one"
        )
    return results[near[0]] if near else None


def _model_of_folder(path: pathlib.Path, date: str) -> str:
    name = path.parent.name
    if "__" not in name.strip("_"):
        raise ValueError(
            f"{path}: its model is not known: no results file of {date} lies "
            "beside it"
        )
    model = name.replace("__", "/", 1)
    logging.warning(
        "%s: no results file of %s; the folder's name is taken for the model: "
        "%s",
        path,
        date,
        model,
    )
    return model


def _model_of(content: dict[str, Any] | None, path: pathlib.Path) -> str | None:
    """Returns the name of a run's model; None where the results hold none."""
    if content is None:
        return None
    config = _mapping(content.get("config"))
    arguments = config.get("model_args")
    if isinstance(arguments, dict):
        arguments = ",".join(f"{k}={v}" for k, v in arguments.items())
    arguments = arguments if isinstance(arguments, str) else ""
    name = content.get("model_name")
    if not name:
        for key in _NAMING:
            found = re.search(rf"(?:^|,){key}=([^,]+)", arguments)
            if found:
                name = found[1]
                break
    if not name:
        return None
    if not isinstance(name, str):
        raise ValueError(f"{path}: model_name is {name!r}, not a name")
    revision = re.search(r"(?:^|,)revision=([^,]+)", arguments)
    revision = revision[1] if revision else config.get("model_revision")
    if isinstance(revision, str) and revision not in ("", "main"):
        name = f"{name}@{revision}"
    return name


def _tasks_of(content: dict[str, Any]) -> list[str]:
    return list(
        _mapping(content.get("configs")) or _mapping(content.get("results"))
    )


def _old_stems(content: dict[str, Any], task: str) -> set[str]:
    """Returns the names, without suffix, of old samples of a task."""
    arguments = _mapping(content.get("config")).get("model_args")
    if not isinstance(arguments, str):
        return set()
    return {f"{re.sub(u, '__', arguments)}_{task}" for u in _UNSAFE}


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}
