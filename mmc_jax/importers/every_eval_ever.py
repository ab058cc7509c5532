"""Instance files of Every Eval Ever, schema up to 0.3.0: accuracy alone.

The converter from lm-evaluation-harness keeps the first metric of a sample that
is a number, and writes 0.0 where there is none, as for rolling likelihoods,
whose metrics are pairs. Such files are refused.
"""

import hashlib
import json
import pathlib
from typing import Any

from mmc_jax.corpus import files
from mmc_jax.importers import json_files, logs
from mmc_jax.importers.documents import Document, joined
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_HEAD = 2**14
_FIELDS = (b'"schema_version"', b'"evaluation_id"', b'"model_id"')


def recognises(path: pathlib.Path) -> bool:
    """Returns whether instance files are at a path."""
    return bool(_files(path))


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the errors of all models in a folder of instance files.

    Args:
      path: A folder, or one file of instances (`.jsonl`).
      options: `value` (accuracy, or None), `tasks`, `run` (a date or a folder),
        `keep_texts` and `allow_other_prompts` matter here.

    Raises:
      ValueError: Scores of rolling likelihoods or beyond [0, 1], another value
        than accuracy, or a line without a field of the schema. The message
        names file, line and field.
    """
    if options.value not in (None, "accuracy", "score"):
        raise ValueError(
            f"{path}: --value={options.value}: instance files hold accuracies "
            "alone, no likelihoods; give --value=accuracy"
        )
    found: list[logs.Log] = []
    documents: dict[logs.Log, list[Document]] = {}
    there = _files(path)
    if path.is_dir():
        lines, _ = files.text_files(path, (".jsonl",))
        logs.say_left_out(path, lines, there, "instances of Every Eval Ever")
    for file in there:
        for log, of_log in _logs(file, options).items():
            found.append(log)
            documents[log] = of_log
    if not found:
        raise ValueError(f"{path}: no instance files of Every Eval Ever")
    scored = []
    for model, taken, left in logs.of_models(path, found, options):
        facts = {
            "runs": {log.task: {"file": log.file.name} for log in taken},
            "runs_left_out": [log.file.name for log in left],
        }
        of_model = [d for log in taken for d in documents[log]]
        scored.append((ScoredModel(model, provenance=facts), of_model))
    provenance = {"tool": "Every Eval Ever", "read": "accuracy"}
    return joined(path, scored, "score", options, provenance)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    found = [path]
    if path.is_dir():
        found, _ = files.text_files(path, (".jsonl",))
    return [file for file in found if _is_instances(file)]


def _is_instances(path: pathlib.Path) -> bool:
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    return all(field in head for field in _FIELDS)


def _logs(
    file: pathlib.Path, options: Options
) -> dict[logs.Log, list[Document]]:
    """Returns the documents of each model, task and run of a file."""
    found: dict[logs.Log, list[Document]] = {}
    for where, row in json_files.objects(file):
        for field in ("model_id", "evaluation_name", "sample_id"):
            if not isinstance(row.get(field), str) or not row[field]:
                raise ValueError(f"{where}, {field}: no name")
        # benchmark/model/time
        date = str(row.get("evaluation_id", "")).rpartition("/")[2]
        date = date if date[:1].isdigit() else ""
        log = logs.Log(file, row["model_id"], row["evaluation_name"], date)
        document = _document(log, where, row, options)
        of_log = found.setdefault(log, [])
        if document is not None:
            of_log.append(document._replace(order=len(of_log)))
    return found


def _document(
    log: logs.Log, where: str, row: dict[str, Any], options: Options
) -> Document | None:
    """Returns an instance with its score; None if it ended in an error."""
    _refuse_pairs(where, row)
    if row.get("error"):
        return None
    evaluation = row.get("evaluation")
    if not isinstance(evaluation, dict):
        raise ValueError(f"{where}: no evaluation")
    score = json_files.number(
        evaluation.get("score"), where, "evaluation.score"
    )
    if not 0 <= score <= 1:
        raise ValueError(
            f"{where}, evaluation.score: {score:g} is no accuracy, which lies "
            "between 0 and 1; import the logs of the tool that made it"
        )
    given = row.get("input")
    prompt = given.get("raw") if isinstance(given, dict) else None
    prompt = prompt if isinstance(prompt, str) else ""
    raw = prompt.encode(errors="surrogatepass")
    name = row.get("sample_hash") or row["sample_id"]
    return Document(
        text_id=f"{log.task}/{name}",
        value=score,
        where=where,
        domain=log.task,
        prompt=hashlib.sha256(raw).hexdigest(),
        text=prompt if options.keep_texts else None,
    )


def _refuse_pairs(where: str, row: dict[str, Any]) -> None:
    """Raises the error of a score that stands for pairs of numbers."""
    facts = row.get("metadata")
    metrics = facts.get("lm_eval_metrics") if isinstance(facts, dict) else None
    if not isinstance(metrics, str):
        return
    try:
        metrics = json.loads(metrics)
    except (ValueError, RecursionError):
        return
    if isinstance(metrics, dict) and not any(
        isinstance(m, int | float) for m in metrics.values()
    ):
        raise ValueError(
            f"{where}: the score stands for {', '.join(metrics) or 'nothing'}, "
            "of which the converter writes 0.0 whatever they are; import the "
            "logs of lm-evaluation-harness themselves"
        )
