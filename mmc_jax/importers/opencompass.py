"""Predictions of OpenCompass: `predictions/<model>/<dataset>.json`.

`Options.value` says what a table takes from them:

    rolling    nll of each text in nats, where an item holds one likelihood
    target     nll of the right answer, or of the prompt that holds it
    accuracy   1 where the prediction is not the gold answer

Two units of this tool mislead. BPB is in nats per byte, not in bits. PPL is no
perplexity but a mean: the nll over T tokens, of which T - 1 are scored. The nll
is BPB times the bytes, which is PPL times T; where there is no BPB, T is not
known, and the file is refused.
"""

import dataclasses
import hashlib
import pathlib
import re
from typing import Any

from absl import logging

from mmc_jax.corpus import files
from mmc_jax.importers import json_files, logs
from mmc_jax.importers.documents import Document, joined
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_HEAD = 2**12
_PREFIX = "label: "
_PART = re.compile(r"_\d+$")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
# So the tool begins a file that it has not ended.
_UNFINISHED = "tmp_"
# PPL * T must be a whole number of tokens to this fraction of a token.
_ROUNDING = 0.01


@dataclasses.dataclass(frozen=True)
class _File(logs.Log):
    parts: tuple[pathlib.Path, ...]


def recognises(path: pathlib.Path) -> bool:
    """Returns whether predictions of OpenCompass are at a path."""
    return bool(_files(path))


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all models in a folder of predictions.

    Args:
      path: The tool's work folder or one below it, down to `predictions`, or
        one file below a folder that is named as the model.
      options: `value`, `tasks`, `run` and `keep_texts` matter here.

    Raises:
      ValueError: Likelihoods without BPB or of windows of joined texts, an item
        of another form, a part of a set that is missing, or a value that the
        items do not have. The message names file, item and field.
    """
    if options.value not in ("rolling", "target", "accuracy"):
        raise ValueError(
            f"{path}: say what to read: --value=rolling, target or accuracy"
        )
    found = _logs(path)
    if not found:
        raise ValueError(f"{path}: no predictions of OpenCompass")
    scored = []
    for model, taken, left in logs.of_models(path, found, options):
        documents = [d for log in taken for d in _documents(log, options)]
        facts = {
            "runs": {log.task: {"date": log.date} for log in taken},
            "runs_left_out": [str(log.file) for log in left],
        }
        scored.append((ScoredModel(model, provenance=facts), documents))
    unit = "score" if options.value == "accuracy" else "nll_nats"
    provenance = {"tool": "OpenCompass", "read": options.value}
    if unit == "nll_nats":
        provenance["caveats"] = ["the first token of a text is not scored"]
    return joined(path, scored, unit, options, provenance)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    found = [path]
    if path.is_dir():
        found, _ = files.text_files(path, (".json",))
    return [file for file in found if _is_predictions(file)]


def _say_left_out(path: pathlib.Path, taken: list[pathlib.Path]) -> None:
    """Warns of damaged predictions; results and configs lie elsewhere."""
    there, _ = files.text_files(path, (".json",)) if path.is_dir() else ([], [])
    there = [file for file in there if "predictions" in file.parts]
    logs.say_left_out(path, there, taken, "predictions of OpenCompass")


def _is_predictions(path: pathlib.Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD).lstrip()
    items = re.match(rb'\{\s*"\d+":\s*\{\s*"([^"]+)"', head)
    known = (b"origin_prompt", b"loss", b"prediction", b"ppl", b"in-context ex")
    return items is not None and items[1].startswith((*known, b"label: "))


def _logs(path: pathlib.Path) -> list[_File]:
    """Returns one log for each model and dataset, with the files it has."""
    parts: dict[tuple[pathlib.Path, str], list[pathlib.Path]] = {}
    taken = _files(path)
    _say_left_out(path, taken)
    for file in taken:
        if file.name.startswith(_UNFINISHED):
            logging.warning("%s: of a run that did not end; left out", file)
            continue
        task = file.stem
        # Large sets are cut: <dataset>_0.json, <dataset>_1.json, ...
        whole = _PART.sub("", task)
        if (file.parent / f"{whole}_0.json").exists():
            task = whole
        parts.setdefault((file.parent, task), []).append(file)
    found = []
    for (folder, task), of_task in parts.items():
        ordered = _ordered(of_task, task)
        date = ""
        if folder.parent.name == "predictions":
            date = folder.parent.parent.name
        found.append(_File(ordered[0], folder.name, task, date, tuple(ordered)))
    return found


def _ordered(of_task: list[pathlib.Path], task: str) -> list[pathlib.Path]:
    """Returns the files of a set in order: one, or all parts from _0 on."""
    complete = [file for file in of_task if file.stem == task]
    if complete:
        # As the tool itself reads them.
        if len(of_task) > 1:
            logging.warning(
                "%s: read; parts of the same set beside it are left out",
                complete[0],
            )
        return complete
    ordered = sorted(of_task, key=lambda f: (len(f.stem), f.stem))
    for number, file in enumerate(ordered):
        expected = f"{task}_{number}{file.suffix}"
        if file.name != expected:
            raise ValueError(
                f"{file}: no part {expected} before it; without it the items "
                "that follow have no numbers"
            )
    return ordered


def _documents(log: _File, options: Options) -> list[Document]:
    found: list[Document] = []
    for file in log.parts:
        content = json_files.value(file)
        if not isinstance(content, dict):
            raise ValueError(f"{file}: no object of items")
        if options.value == "accuracy" and not any(
            name.startswith(_PREFIX)
            for item in content.values()
            if isinstance(item, dict)
            for name in item
        ):
            logging.warning(
                "%s: generated texts are compared with the answers as they "
                "stand; one that says more than the answer counts as wrong",
                file,
            )
        # A key is the item's number in its part, in whatever order they stand.
        before, is_last = len(found), file == log.parts[-1]
        numbers = {}
        for key, item in content.items():
            where = f"{file}, item {key!r}"
            if not isinstance(item, dict) or not _NUMBER.fullmatch(key):
                raise ValueError(f"{where}: no item")
            numbers[int(key)] = item
        if not is_last and max(numbers, default=-1) >= len(numbers):
            raise ValueError(
                f"{file}: {len(numbers)} items, up to number {max(numbers)}; "
                "with items missing, those of the next part have no numbers"
            )
        found += [
            _document(log, f"{file}, item '{i}'", before + i, item, options)
            for i, item in sorted(numbers.items())
        ]
    return found


def _document(
    log: _File, where: str, place: int, item: dict[str, Any], options: Options
) -> Document:
    document = Document(
        text_id=f"{log.task}/{place}",
        value=0.0,
        where=where,
        domain=log.task,
        order=place,
    )
    if options.value == "accuracy":
        for field in ("prediction", "gold"):
            if field not in item:
                raise ValueError(f"{where}: no {field}")
        right = str(item["prediction"]) == str(item["gold"])
        prompt = item.get("origin_prompt")
        return document._replace(
            value=float(right),
            prompt=_hash(str(prompt)) if prompt is not None else "",
            text=str(prompt) if options.keep_texts else None,
        )
    if "total_chr_num" in item:
        raise ValueError(
            f"{where}: a loss of one window over joined texts; it has no "
            "documents"
        )
    if "ppl" in item:
        _refuse_mean(where)
    labels = {
        name.removeprefix(_PREFIX): of_label
        for name, of_label in item.items()
        if name.startswith(_PREFIX) and isinstance(of_label, dict)
    }
    label = _label(where, item, labels, str(options.value))
    of_label = labels[label]
    field = f"label {label!r}"
    if "Loglikelihood" in of_label:
        found = json_files.number(
            of_label["Loglikelihood"], where, f"{field}.Loglikelihood"
        )
        return document._replace(value=0.0 - found)
    if "BPB" not in of_label:
        _refuse_mean(f"{where}, {field}")
    if options.value == "rolling" and of_label.get("prompt") != of_label.get(
        "testing input"
    ):
        raise ValueError(
            f"{where}, {field}: examples stand before the text, and the "
            "likelihood is that of both; choose --value=target"
        )
    text = of_label.get("testing input")
    if not isinstance(text, str) or not text:
        raise ValueError(f"{where}, {field}: no 'testing input'")
    nats_per_byte = json_files.number(of_label["BPB"], where, f"{field}.BPB")
    mean = json_files.number(of_label.get("PPL"), where, f"{field}.PPL")
    num_bytes = len(text.encode())
    nll = nats_per_byte * num_bytes
    tokens = nll / mean if mean else 0.0
    if tokens < 1 or abs(tokens - round(tokens)) > _ROUNDING:
        raise ValueError(
            f"{where}, {field}: BPB times {num_bytes} bytes over PPL is "
            f"{tokens:g} tokens, no whole number: the text is not the one that "
            "was scored"
        )
    return document._replace(
        value=nll,
        num_bytes=num_bytes,
        num_chars=len(text),
        num_tokens=round(tokens),
        num_scored=round(tokens) - 1,
        sha256=_hash(text),
        text=text if options.keep_texts else None,
    )


def _refuse_mean(where: str) -> None:
    raise ValueError(
        f"{where}: PPL is a mean over T tokens, of which T - 1 are scored, and "
        "T is not there (no BPB); the nll is not known"
    )


def _label(
    where: str, item: dict[str, Any], labels: dict[str, Any], value: str
) -> str:
    """Returns the label whose likelihood is read."""
    if not labels:
        raise ValueError(
            f"{where}: no likelihoods, only {', '.join(item) or 'nothing'}; "
            "choose --value=accuracy"
        )
    if value == "rolling":
        if len(labels) > 1:
            raise ValueError(
                f"{where}: {len(labels)} answers; choose --value=target or "
                "accuracy"
            )
        return next(iter(labels))
    gold = item.get("gold")
    if isinstance(gold, list | dict) or str(gold) not in labels:
        raise ValueError(
            f"{where}, gold: {str(gold)[:40]!r} is none of the answers "
            f"{', '.join(labels)}"
        )
    return str(gold)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
