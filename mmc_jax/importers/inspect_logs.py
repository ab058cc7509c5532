"""Logs of Inspect: `.eval` archives, and `.json` logs of older versions.

`Options.value` says what a table takes from them:

    rolling        -sum_log_probs of the scorer `perplexity`
    target         -sum_log_probs of the scorer `target_perplexity`
    accuracy       1 - the value of the only other scorer: C is 1, P 0.5, I 0
    match, ...     the value of a scorer by its name

The scorers of likelihood state a mean over tokens as their value, so that the
sums come from their metadata. A sample is known by its task and its id.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from absl import logging

from mmc_jax.corpus import files
from mmc_jax.importers import archives, json_files, logs
from mmc_jax.importers.documents import Document, joined, metric_unit
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_LIKELIHOODS = {"rolling": "perplexity", "target": "target_perplexity"}
# Values that stand for numbers, in lower case.
_WORDS = {
    **dict.fromkeys(("c", "yes", "true"), 1.0),
    "p": 0.5,
    **dict.fromkeys(("i", "n", "no", "false"), 0.0),
}
# Providers that run published weights: what follows names the weights.
_LOCAL = ("hf", "vllm", "sglang", "nnterp", "transformer_lens")
_HEAD = 2**12
# Fields of a message that are no part of what a model sees.
_DRAWN = ("id", "source", "metadata")


@dataclasses.dataclass(frozen=True)
class _Log(logs.Log):
    header: dict[str, Any]


def recognises(path: pathlib.Path) -> bool:
    """Returns whether logs of Inspect are at a path."""
    if path.is_dir():
        found, _ = files.text_files(path, (".eval", ".json"))
        return any(_is_log(file) for file in found)
    return _is_log(path)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all models in a folder of logs, or in one log.

    Several epochs of a sample are averaged. Logs that did not end, or were
    invalidated, are left out and named.

    Args:
      path: A folder, or one `.eval` or `.json` file.
      options: `value`, `tasks`, `run`, `higher_is_better`, `keep_texts` and
        `allow_other_prompts` matter here.

    Raises:
      ValueError: A file that is no log or damaged, a member whose name leads
        outside its archive, a scorer that is not there, or a value that is no
        number. The message names file, sample and field.
    """
    found = [path]
    if path.is_dir():
        there, _ = files.text_files(path, (".eval", ".json"))
        found = [file for file in there if _is_log(file)]
        logs.say_left_out(path, there, found, "logs of Inspect")
    opened, unfinished = [], []
    for file in found:
        header = _header(file)
        ended = header.get("status") == "success"
        if ended and not header.get("invalidated"):
            opened.append(_log(file, header))
        else:
            unfinished.append(f"{file.name} ({header.get('status')})")
    if unfinished:
        logging.warning(
            "%s: logs without success are left out: %s",
            path,
            ", ".join(unfinished),
        )
    if not opened:
        raise ValueError(f"{path}: no log of Inspect that ended with success")
    value = options.value
    scored = []
    for model, taken, left in logs.of_models(path, opened, options):
        of_model = []
        for log in taken:
            documents, value = _documents(log, value, options)
            of_model += documents
        scored.append((_model(model, taken, left), of_model))
    unit = "nll_nats"
    if value not in _LIKELIHOODS:
        higher = options.higher_is_better is not False
        unit = metric_unit(path, scored, value, higher, options)
    provenance = {"tool": "Inspect", "read": value}
    return joined(path, scored, unit, options, provenance)


def _is_log(path: pathlib.Path) -> bool:
    if path.suffix.lower() == ".eval":
        return path.is_file()
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    return b'"eval"' in head and b'"status"' in head and b'"task"' in head


def _header(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a log says of its run."""
    if path.suffix.lower() == ".eval":
        with archives.Archive(path) as archive:
            if "header.json" not in archive.names():
                # The tool writes it last.
                return {"status": "started"}
            where = f"{path}, member 'header.json'"
            header = json_files.parsed(archive.read("header.json"), where)
    else:
        header = json_files.value(path)
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise ValueError(f"{path}: no log of Inspect: no field 'eval'")
    return {key: value for key, value in header.items() if key != "samples"}


def _log(path: pathlib.Path, header: dict[str, Any]) -> _Log:
    run = header["eval"]
    for field in ("model", "task"):
        if not isinstance(run.get(field), str) or not run[field]:
            raise ValueError(f"{path}, eval.{field}: no name")
    provider, _, name = run["model"].partition("/")
    model = name if provider in _LOCAL and name else run["model"]
    return _Log(path, model, run["task"], str(run.get("created", "")), header)


def _samples(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields where each sample stands, and the sample."""
    if path.suffix.lower() != ".eval":
        content = json_files.value(path).get("samples")
        for i, sample in enumerate(content or ()):
            yield f"{path}, sample {i + 1}", sample
        return
    with archives.Archive(path) as archive:
        for name in sorted(archive.names()):
            if name.startswith("samples/") and name.endswith(".json"):
                where = f"{path}, member {name!r}"
                yield where, json_files.parsed(archive.read(name), where)


def _documents(
    log: _Log, value: str | None, options: Options
) -> tuple[list[Document], str]:
    """Returns the samples of a log that have a score, and what was read."""
    of_sample: dict[str, list[Document]] = {}
    order: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    for where, sample in _samples(log.file):
        if not isinstance(sample, dict) or "id" not in sample:
            raise ValueError(f"{where}: no sample with an id")
        scores = sample.get("scores")
        place = order.setdefault(str(sample["id"]), len(order))
        if sample.get("error") or not isinstance(scores, dict) or not scores:
            continue
        value = _scorer(where, scores) if value is None else value
        document = _document(log, where, sample, value, options)
        if document is not None:
            document = document._replace(order=place)
            others = of_sample.setdefault(document.text_id, [])
            epochs = seen.setdefault(document.text_id, set())
            _refuse_other_sample(document, others, sample.get("epoch"), epochs)
            others.append(document)
    if not of_sample:
        raise ValueError(f"{log.file}: no sample has a score")
    # Several epochs of one sample.
    return [
        epochs[0]._replace(value=sum(d.value for d in epochs) / len(epochs))
        for epochs in of_sample.values()
    ], str(value)


def _refuse_other_sample(
    document: Document, others: list[Document], epoch: Any, epochs: set[str]
) -> None:
    """Raises the error of another sample under the id of an earlier one."""
    if others and document.prompt != others[0].prompt:
        raise ValueError(
            f"{document.where}: another input than in {others[0].where} under "
            "the same id"
        )
    if epoch is not None and str(epoch) in epochs:
        raise ValueError(
            f"{document.where}: the epoch {epoch} of this id stands there twice"
        )
    epochs.add(str(epoch))


def _scorer(where: str, scores: dict[str, Any]) -> str:
    """Returns what to read where the options do not say it."""
    for value, scorer in _LIKELIHOODS.items():
        if list(scores) == [scorer]:
            return value
    raise ValueError(
        f"{where}: say what to read: --value=accuracy, rolling, target, or a "
        f"scorer: {', '.join(scores)}"
    )


def _document(
    log: _Log, where: str, sample: dict[str, Any], value: str, options: Options
) -> Document | None:
    """Returns a sample with its score; None if the scorer gave none."""
    scores = sample["scores"]
    name = _LIKELIHOODS.get(value, value)
    if value == "accuracy":
        others = [s for s in scores if s not in _LIKELIHOODS.values()]
        if len(others) != 1:
            raise ValueError(
                f"{where}: {len(others)} scorers; name one by --value: "
                f"{', '.join(scores)}"
            )
        name = others[0]
    if name not in scores:
        raise ValueError(
            f"{where}: no scorer {name!r}; there are {', '.join(scores)} "
            "(--tasks chooses tasks)"
        )
    score = scores[name] if isinstance(scores[name], dict) else {}
    tokens = 0
    if value in _LIKELIHOODS:
        facts = score.get("metadata") or {}
        if score.get("reason") or "sum_log_probs" not in facts:
            return None
        field = f"scores.{name}.metadata"
        found = -json_files.number(
            facts["sum_log_probs"], where, f"{field}.sum_log_probs"
        )
        tokens = json_files.number(
            facts.get("num_tokens"), where, f"{field}.num_tokens"
        )
        if tokens < 0:
            raise ValueError(
                f"{where}, {field}.num_tokens: {tokens:g} is below 0"
            )
    else:
        given = score.get("value")
        if given is None or (isinstance(given, float) and given != given):
            return None
        if isinstance(given, str) and given.lower() in _WORDS:
            given = _WORDS[given.lower()]
        found = json_files.number(given, where, f"scores.{name}.value")
    given = sample.get("input")
    text = given if isinstance(given, str) else json.dumps(_said(given))
    raw = text.encode(errors="surrogatepass")
    # What stands in a chat is not what was scored.
    counted = value == "rolling" and isinstance(given, str)
    return Document(
        text_id=f"{log.task}/{sample['id']}",
        value=found + 0.0,
        where=where,
        domain=log.task,
        prompt=hashlib.sha256(raw).hexdigest(),
        num_bytes=len(raw) if counted else 0,
        num_chars=len(text) if counted else 0,
        num_tokens=int(tokens),
        num_scored=int(tokens),
        sha256=hashlib.sha256(raw).hexdigest() if counted else "",
        text=text if options.keep_texts else None,
    )


def _said(given: Any) -> Any:
    """Returns the messages of a chat without the ids that each run draws."""
    if not isinstance(given, list):
        return given
    return [
        {field: m[field] for field in sorted(m) if field not in _DRAWN}
        if isinstance(m, dict)
        else m
        for m in given
    ]


def _model(name: str, taken: list[_Log], left: list[_Log]) -> ScoredModel:
    latest = max(taken, key=lambda log: log.date)
    run = latest.header["eval"]
    return ScoredModel(
        name=name,
        provenance={
            "model": run["model"],
            "model_args": run.get("model_args") or {},
            "packages": run.get("packages") or {},
            "runs": {
                log.task: {
                    "file": log.file.name,
                    "created": log.date,
                    "limit": (log.header["eval"].get("config") or {}).get(
                        "limit"
                    ),
                    "dataset": log.header["eval"].get("dataset") or {},
                }
                for log in taken
            },
            "runs_left_out": [log.file.name for log in left],
        },
    )
