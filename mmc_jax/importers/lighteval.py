"""Details of lighteval, 0.10 and later: `details_<task>_<date>.parquet`.

`Options.value` says what a table takes from them:

    target             nll of the right choice, in nats
    rolling,shifted    nll of the query in nats, by a version that shifts
    accuracy           1 - acc
    em, ...            any metric of the details, by its name

Before pull request 1252 (June 2026) rolling likelihoods compared each token
with the prediction of the next one, and files do not say the version. So
`rolling` alone is refused, and `rolling,shifted` says that it was later.
"""

import hashlib
import pathlib
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from absl import logging

from mmc_jax import limits
from mmc_jax.corpus import files
from mmc_jax.importers import json_files, logs
from mmc_jax.importers.documents import Document, joined, metric_unit
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_NAME = re.compile(
    r"details_(.+)_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.parquet"
)
_COLUMNS = ("doc", "metric", "model_response")
# Metrics that are shares of right answers.
_ACCURACIES = ("acc", "acc_norm", "em", "qem", "pem", "pqem", "exact_match")
_DIGITS = 16


def recognises(path: pathlib.Path) -> bool:
    """Returns whether details of lighteval are at a path."""
    return bool(_files(path))


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all models in a folder of details.

    Args:
      path: The tool's output folder, one below it, or one file of details.
      options: `value`, `tasks`, `run`, `higher_is_better`, `keep_texts` and
        `allow_other_prompts` matter here.

    Raises:
      ValueError: Rolling likelihoods of an unknown version, details of a
        version before 0.10, a value that a row does not have. The message names
        file, row and field.
    """
    value = options.value
    if value is None:
        raise ValueError(
            f"{path}: say what to read: --value=target, accuracy, a metric, or "
            "rolling,shifted"
        )
    if value == "rolling":
        raise ValueError(
            f"{path}: before its pull request 1252 lighteval compared each "
            "token with the prediction of the next, and details do not say "
            "their version; if yours is later, say --value=rolling,shifted"
        )
    value = "acc" if value == "accuracy" else value
    is_nll = value in ("target", "rolling,shifted")
    higher = options.higher_is_better
    if not is_nll and higher is None and value in _ACCURACIES:
        higher = True
    if not is_nll and higher is None:
        raise ValueError(
            f"{path}: whether higher {value} is better is not known; say "
            "--higher_is_better or --lower_is_better"
        )
    found = [_log(path, file) for file in _files(path)]
    if not found:
        raise ValueError(f"{path}: no details of lighteval")
    scored = []
    for model, taken, left in logs.of_models(path, found, options):
        of_model = [d for log in taken for d in _documents(log, value, options)]
        facts = {
            "runs": {
                log.task: {"file": log.file.name, "date": log.date}
                for log in taken
            },
            "runs_left_out": [log.file.name for log in left],
        }
        scored.append((ScoredModel(model, provenance=facts), of_model))
    unit = "nll_nats"
    if not is_nll:
        unit = metric_unit(path, scored, value, higher, options)
    provenance = {"tool": "lighteval", "read": value}
    return joined(path, scored, unit, options, provenance)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    found = [path]
    if path.is_dir():
        found, _ = files.text_files(path, (".parquet",))
    return [f for f in found if _NAME.fullmatch(f.name) and f.is_file()]


def _log(path: pathlib.Path, file: pathlib.Path) -> logs.Log:
    """Returns the log of a file: details/<model>/<date>/details_<...>."""
    task, date = _NAME.fullmatch(file.name).groups()
    folder = file.parent.parent
    # Absolute: the folder that is imported may be below "details".
    parts = folder.resolve().parts
    if "details" not in parts:
        raise ValueError(
            f"{file}: it does not lie below details/<model>/<date>, so that "
            "its model is not known"
        )
    last = len(parts) - 1 - parts[::-1].index("details")
    model = "/".join(parts[last + 1 :])
    if not model:
        raise ValueError(f"{file}: no folder names its model")
    return logs.Log(file, model, task, date)


def _rows(file: pathlib.Path) -> list[dict[str, Any]]:
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            for name in _COLUMNS:
                if name not in names:
                    raise ValueError(
                        f"{file}: no column {name!r}, only {', '.join(names)}; "
                        "details of lighteval from 0.10 on are read"
                    )
            shape = opened.metadata
            limits.check("cells", shape.num_rows * shape.num_columns, file)
            return opened.read(list(_COLUMNS)).to_pylist()
    # Of texts that are not UTF-8, the error of Python names no file.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file}: not readable: {limits.reason(error)}"
        ) from error


def _documents(log: logs.Log, value: str, options: Options) -> list[Document]:
    found: dict[str, list[Document]] = {}
    # Rows are in the order in which a model took them.
    ordered = []
    for i, row in enumerate(_rows(log.file)):
        where = f"{log.file}, row {i + 1}"
        for name in _COLUMNS:
            if not isinstance(row[name], dict):
                raise ValueError(f"{where}, {name}: no struct")
        number = str(row["doc"].get("id"))
        order = int(number[:18]) if number.isdecimal() else i
        ordered.append((order, i, where, row))
    for order, _, where, row in sorted(ordered, key=lambda found: found[:2]):
        document = _document(log, where, row, value, options)
        copies = found.setdefault(document.text_id, [])
        if copies:
            name = f"{document.text_id}#{len(copies) + 1}"
            document = document._replace(text_id=name)
        copies.append(document._replace(order=order))
    if not found:
        logging.warning("%s: no rows", log.file)
    return [document for copies in found.values() for document in copies]


def _document(
    log: logs.Log,
    where: str,
    row: dict[str, Any],
    value: str,
    options: Options,
) -> Document:
    doc, response = row["doc"], row["model_response"]
    query = doc.get("query")
    if not isinstance(query, str):
        raise ValueError(f"{where}, doc.query: no text")
    choices = doc.get("choices")
    scored: str | None = None
    if value == "rolling,shifted":
        scored = query
        score = 0.0 - sum(_log_likelihoods(where, response))
    elif value == "target":
        right = _gold(where, doc, choices)
        scores = _log_likelihoods(where, response)
        if len(scores) != len(choices):
            raise ValueError(
                f"{where}, model_response.logprobs: {len(scores)} numbers for "
                f"{len(choices)} choices"
            )
        score, scored = 0.0 - scores[right], choices[right]
    else:
        given = row["metric"].get(value)
        if given is None:
            there = [k for k, v in row["metric"].items() if v is not None]
            raise ValueError(
                f"{where}: no metric {value!r}; there are {', '.join(there)}"
            )
        score = json_files.number(given, where, f"metric.{value}")
    raw = b"" if scored is None else scored.encode(errors="surrogatepass")
    is_rolling = value == "rolling,shifted"
    # The input is there for some backends only.
    seen = [response.get("input")]
    seen += [doc.get(f) for f in ("instruction", "fewshot_samples")]
    return Document(
        text_id=f"{log.task}/{_hash(repr((query, choices)))[:_DIGITS]}",
        value=score,
        where=where,
        domain=log.task,
        prompt="" if is_rolling else _hash(repr(seen)),
        num_bytes=len(raw),
        num_chars=len(scored or ""),
        sha256=hashlib.sha256(raw).hexdigest() if scored else "",
        text=query if options.keep_texts else None,
    )


def _log_likelihoods(where: str, response: dict[str, Any]) -> list[float]:
    found = response.get("logprobs")
    if not isinstance(found, list) or not found:
        raise ValueError(f"{where}, model_response.logprobs: none")
    numbers = []
    for item in found:
        # Of a rolling likelihood each token may stand there.
        for inner in item if isinstance(item, list) else [item]:
            number = json_files.number(inner, where, "model_response.logprobs")
            if number > 0:
                raise ValueError(
                    f"{where}, model_response.logprobs: {number:g} is above 0"
                )
            numbers.append(number)
    return numbers


def _gold(where: str, doc: dict[str, Any], choices: Any) -> int:
    gold = doc.get("gold_index")
    if isinstance(gold, list) and len(gold) == 1:
        gold = gold[0]
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"{where}, doc.choices: none")
    if not isinstance(gold, int) or not 0 <= gold < len(choices):
        raise ValueError(
            f"{where}, doc.gold_index: {gold} is no one of {len(choices)} "
            "choices"
        )
    return gold


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
