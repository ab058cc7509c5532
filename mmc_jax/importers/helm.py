"""Runs of HELM: `per_instance_stats.json`, and `run_spec.json` beside it.

`Options.value` names what a table takes from them:

    logprob            the nll of an instance in nats, with `num_bytes`
    exact_match, ...   any other statistic of an instance

A run is of one model on one scenario. Perturbed instances are left out, and
several trials of one instance (other examples in front) are averaged.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any

from absl import logging

from mmc_jax.importers import json_files, logs
from mmc_jax.importers.documents import Document, joined, metric_unit
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_STATS = "per_instance_stats.json"
_SPEC = "run_spec.json"
# Shares of right answers, by the names that HELM gives them.
_ACCURACIES = re.compile(
    r"(quasi_)?(prefix_|leave_articles_)?exact_match(@\d+)?"
    r"|f1_score|rouge_[12l]|bleu_[14]|math_equiv.*|pass|test_avg"
)
# What of `adapter_spec` makes a prompt of an instance.
_PROMPT = tuple(
    """
    method global_prefix global_suffix instructions input_prefix input_suffix
    reference_prefix reference_suffix output_prefix output_suffix
    instance_prefix substitutions max_train_instances
    """.split()
)
_MODEL = re.compile(r",?model(?:_deployment)?=[^,]*")


@dataclasses.dataclass(frozen=True)
class _Run(logs.Log):
    spec: dict[str, Any]


def recognises(path: pathlib.Path) -> bool:
    """Returns whether runs of HELM are at a path."""
    return bool(_files(path))


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all models in a folder of runs, or in one run.

    Args:
      path: A suite, a folder above it, one run's folder, or its file of
        statistics.
      options: `value`, `tasks`, `run` (a suite), `higher_is_better` and
        `allow_other_prompts` (other examples, other numbers of trials) matter
        here.

    Raises:
      ValueError: A run without a specification, a statistic that is not there,
        or a file of another form. The message names file, instance and field.
    """
    value = options.value
    found = [_run(file) for file in _files(path)]
    if not found:
        raise ValueError(f"{path}: no {_STATS}")
    if value is None:
        raise ValueError(
            f"{path}: say what to read: --value=logprob, exact_match or "
            f"another statistic: {', '.join(sorted(_names(found[0].file)))}"
        )
    higher = options.higher_is_better
    if value != "logprob" and higher is None:
        if not _ACCURACIES.fullmatch(value):
            raise ValueError(
                f"{path}: whether higher {value} is better is not known; say "
                "--higher_is_better or --lower_is_better"
            )
        higher = True
    scored = []
    for model, taken, left in logs.of_models(path, found, options):
        documents = [d for run in taken for d in _documents(run, value)]
        scored.append((_model(model, taken, left), documents))
    unit = "nll_nats"
    if value != "logprob":
        unit = metric_unit(path, scored, value, higher, options)
    provenance = {"tool": "HELM", "read": value}
    return joined(path, scored, unit, options, provenance)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        return sorted(path.rglob(_STATS))
    return [path] if path.name == _STATS else []


def _run(file: pathlib.Path) -> _Run:
    path = file.parent / _SPEC
    if not path.is_file():
        raise ValueError(f"{file}: no {_SPEC} beside it, which names the model")
    spec = json_files.value(path)
    adapter = spec.get("adapter_spec") if isinstance(spec, dict) else None
    model = adapter.get("model") if isinstance(adapter, dict) else None
    if not isinstance(model, str) or not model:
        raise ValueError(f"{path}, adapter_spec.model: no name")
    name = str(spec.get("name") or file.parent.name)
    # "mmlu:subject=law,model=org_name" of every model is one task.
    task = _MODEL.sub("", name).replace(":,", ":").rstrip(":,") or name
    return _Run(file, model, task, "", spec)


def _instances(file: pathlib.Path) -> list[Any]:
    content = json_files.value(file)
    if not isinstance(content, list):
        raise ValueError(f"{file}: no list of instances")
    return content


def _stats(where: str, instance: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns name and content of each statistic that is not of a change."""
    stats = instance.get("stats") if isinstance(instance, dict) else None
    if not isinstance(stats, list) or "instance_id" not in instance:
        raise ValueError(f"{where}: no instance_id with stats")
    found = []
    for stat in stats:
        name = stat.get("name") if isinstance(stat, dict) else None
        if not isinstance(name, dict) or not isinstance(name.get("name"), str):
            raise ValueError(f"{where}, stats: a statistic without a name")
        if not name.get("perturbation"):
            found.append((name["name"], stat))
    return found


def _names(file: pathlib.Path) -> set[str]:
    names: set[str] = set()
    for i, instance in enumerate(_instances(file)[:100]):
        where = f"{file}, item {i + 1}"
        names.update(name for name, _ in _stats(where, instance))
    return names


def _documents(run: _Run, value: str) -> list[Document]:
    """Returns the instances of a run that have the statistic."""
    adapter = run.spec["adapter_spec"]
    form = {field: adapter[field] for field in _PROMPT if field in adapter}
    trials: dict[str, list[Document]] = {}
    of_trials: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for i, instance in enumerate(_instances(run.file)):
        where = f"{run.file}, item {i + 1}"
        stats = _stats(where, instance)
        if instance.get("perturbation"):
            continue
        found = [stat for name, stat in stats if name == value]
        if not found:
            continue
        if len(found) > 1:
            raise ValueError(f"{where}: the statistic {value!r} stands twice")
        score = _mean(where, value, found[0])
        num_bytes = 0.0
        if value == "logprob":
            if score > 0:
                raise ValueError(f"{where}, logprob: {score:g} is above 0")
            score = 0.0 - score
            counts = [stat for name, stat in stats if name == "num_bytes"]
            if counts:
                num_bytes = _mean(where, "num_bytes", counts[0])
                if num_bytes < 0:
                    raise ValueError(
                        f"{where}, num_bytes: {num_bytes:g} is below 0"
                    )
        name = f"{run.task}/{instance['instance_id']}"
        index = instance.get("train_trial_index")
        trial = name, str(i if index is None else index)
        if trial in seen:
            raise ValueError(
                f"{where}: trial {trial[1]} of instance "
                f"{instance['instance_id']!r} stands there twice"
            )
        seen.add(trial)
        of_trials.setdefault(name, []).append(str(index))
        document = Document(
            text_id=name,
            value=score,
            where=where,
            domain=run.task,
            order=len(trials),
            num_bytes=int(num_bytes),
        )
        trials.setdefault(name, []).append(document)
    if not trials:
        raise ValueError(
            f"{run.file}: no statistic {value!r}; there are "
            f"{', '.join(sorted(_names(run.file)))}"
        )
    several = max(map(len, trials.values()))
    if several > 1:
        logging.info("%s: %d trials, averaged", run.file, several)
    return [
        of[0]._replace(
            value=sum(d.value for d in of) / len(of),
            prompt=json.dumps([form, sorted(of_trials[name])], sort_keys=True),
        )
        for name, of in trials.items()
    ]


def _mean(where: str, name: str, stat: dict[str, Any]) -> float:
    """Returns a statistic of one instance: its sum over its count."""
    total = json_files.number(stat.get("sum"), where, f"{name}.sum")
    count = json_files.number(stat.get("count"), where, f"{name}.count")
    if count < 1:
        raise ValueError(f"{where}, {name}.count: {count:g}")
    return total / count


def _model(name: str, taken: list[_Run], left: list[_Run]) -> ScoredModel:
    return ScoredModel(
        name=name,
        provenance={
            "runs": {
                run.task: {
                    "folder": run.file.parent.name,
                    "num_examples": (run.spec.get("adapter_spec") or {}).get(
                        "max_train_instances"
                    ),
                }
                for run in taken
            },
            "runs_left_out": [str(run.file.parent.name) for run in left],
        },
    )
