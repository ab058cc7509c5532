"""Logs of lm-evaluation-harness, 0.4.0 to 0.5.0.dev1: tasks become domains.

`Options.value` says what a table takes from them:

    rolling         nll of a document in nats, and bytes of the text scored
    target          nll of the right continuation in nats, and its bytes
    accuracy        1 - acc
    acc_norm, ...   any metric; "exact_match,strict-match" names the filter too

A document is known by its task and the hash of its content, never by its line:
order differs between models, and there is a line for each filter.
"""

import collections
import dataclasses
import hashlib
import math
import pathlib

from absl import logging

from mmc_jax.corpus import files
from mmc_jax.importers import (
    lm_eval_runs,
    lm_eval_samples,
    lm_eval_values,
    logs,
)
from mmc_jax.importers.documents import Document, joined
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.importers.lm_eval_runs import Run
from mmc_jax.importers.lm_eval_samples import Sample
from mmc_jax.scores import ScoredModel

# Hexadecimal digits of a document's hash that are its name: 64 bits.
_DIGITS = 16


def recognises(path: pathlib.Path) -> bool:
    """Returns whether samples of this tool are at a path."""
    if not path.is_dir():
        return lm_eval_runs.is_samples(path)
    found, _ = files.text_files(path, (".json", ".jsonl"))
    return any(lm_eval_runs.is_samples(file) for file in found)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all models in a folder of logs.

    Of several runs of a model on a task the latest is read, or the one that
    `options.run` names; the others are in the model's provenance.

    Args:
      path: The folder that was `--output_path`, one above it, or one file of
        samples.
      options: `value`, `tasks`, `run`, `higher_is_better`, `keep_texts` and
        `allow_other_prompts` matter here.

    Raises:
      ValueError: A file that is no log, a model or task that is not known, a
        value that a task does not have, two values for one document, several
        undated runs, or other prompts for one document. The message names file,
        line and field.
    """
    found = lm_eval_runs.runs(path, options.tasks)
    names = _short_names({run.model for run in found})
    found = [dataclasses.replace(run, model=names[run.model]) for run in found]
    value = lm_eval_values.Value.of(path, options, found)
    scored = []
    filters: dict[str, tuple[Run, set[str]]] = {}
    for name, taken, left in logs.of_models(path, found, options):
        _refuse_two_sizes(taken)
        of_model = []
        for run in taken:
            documents, of_run = _documents(run, value, options)
            of_model += documents
            _refuse_other_filter(run, of_run, filters, value.name)
        caveats = _caveats(taken, of_model, value.name)
        if caveats:
            logging.warning("%s: %s", name, "; ".join(caveats))
        scored.append((_scored_model(name, taken, left, caveats), of_model))
    unit = value.unit(scored)
    return joined(
        path,
        scored,
        unit,
        options,
        {"tool": "lm-evaluation-harness", "read": value.name},
    )


def _short_names(models: set[str]) -> dict[str, str]:
    """Returns names of models; of paths the last folder if it is unique."""
    short = {
        model: model.rstrip("/").rpartition("/")[2]
        if model.startswith(("/", "./", "../", "~"))
        else model
        for model in models
    }
    taken = list(short.values())
    return {
        model: name if taken.count(name) == 1 else model
        for model, name in short.items()
    }


def _refuse_two_sizes(taken: list[Run]) -> None:
    """Raises the error of one name for models of different sizes."""
    sizes = {_size(run): run for run in taken if _size(run) is not None}
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise ValueError(
            f"{first.file}: {first.model!r} has {one:.0f} parameters there and "
            f"{other:.0f} in {second.file}: two models under one name; "
            "import them from folders of their own"
        )


def _size(run: Run) -> float | None:
    # -1 where the model could not say it.
    found = run.config("model_num_parameters")
    known = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if known and 0 < found < math.inf else None


def _scored_model(
    name: str, taken: list[Run], left: list[Run], caveats: list[str]
) -> ScoredModel:
    """Returns what the results of a model's runs say of it."""
    latest = max(taken, key=lambda run: run.date)
    size = next((s for run in taken if (s := _size(run)) is not None), None)
    facts = {
        field: latest.config(field)
        for field in (
            "model_args",
            "model_dtype",
            "model_revision",
            "model_sha",
        )
    }
    facts["lm_eval_version"] = latest.results.get("lm_eval_version")
    return ScoredModel(
        name=name,
        costs={} if size is None else {"num_params": size},
        provenance={
            **{k: v for k, v in facts.items() if v not in (None, "")},
            "runs": {
                run.task: {
                    "file": run.file.name,
                    "num_fewshot": run.of_task("n-shot"),
                    "num_documents": run.of_task("n-samples"),
                    "limit": run.config("limit"),
                }
                for run in taken
            },
            "runs_left_out": [run.file.name for run in left],
            **({"caveats": caveats} if caveats else {}),
        },
    )


def _refuse_other_filter(
    run: Run,
    of_run: set[str],
    filters: dict[str, tuple[Run, set[str]]],
    name: str,
) -> None:
    """Raises the error of a metric that two models have of other filters.

    Args:
      run: Run of a model.
      of_run: Names of the filters that its values are of.
      filters: For each task the first run and the filters that all have so far.
      name: Name of the value.
    """
    # Versions before 0.4.4 name none.
    of_run = of_run - {""}
    if not of_run:
        return
    first, common = filters.setdefault(run.task, (run, of_run))
    if not common & of_run:
        raise ValueError(
            f"{run.file}: its {name} is of the filter "
            f"{', '.join(sorted(of_run))}, and that of {first.file} of "
            f"{', '.join(sorted(common))}; choose a filter that both have: "
            f"--value={name},<filter>"
        )
    filters[run.task] = first, common & of_run


def _documents(
    run: Run, value: "lm_eval_values.Value", options: Options
) -> tuple[list[Document], set[str]]:
    """Returns a document for each that a run scored, and a metric's filters."""
    filters: set[str] = set()
    first: dict[int, tuple[Sample, Document]] = {}
    for sample in lm_eval_samples.samples(run.file):
        if not value.is_of(sample, run):
            continue
        score = value.score(sample, run)
        if value.higher_is_better is not None:
            filters.add(sample.filter)
        found = first.get(sample.doc_id)
        if found is None:
            made = _document(run, sample, value, score, options)
            first[sample.doc_id] = sample, made
        elif found[1].value != score or found[0].doc_hash != sample.doc_hash:
            _refuse_second(sample, score, *found, value.name)
    if not first:
        value.refuse_none(run)
    # Documents of the same content get numbers, in the order of the task.
    copies: dict[str, int] = {}
    named = []
    for _, document in sorted(first.values(), key=lambda pair: pair[0].doc_id):
        copy = copies[document.text_id] = copies.get(document.text_id, 0) + 1
        if copy > 1:
            name = f"{document.text_id}#{copy}"
            document = document._replace(text_id=name)
        named.append(document)
    return named, filters


def _refuse_second(
    sample: Sample, score: float, first: Sample, document: Document, name: str
) -> None:
    """Raises the error of two values for one document."""
    cure = (
        "another filter that this version does not name, or two runs in one "
        "file"
    )
    if sample.filter != first.filter:
        cure = f"choose a filter: --value={name},{first.filter}"
    raise ValueError(
        f"{sample.where}: a second value of document {sample.doc_id}, "
        f"{score:g}, after {document.value:g} in {first.where}; {cure}"
    )


def _document(
    run: Run,
    sample: Sample,
    value: "lm_eval_values.Value",
    score: float,
    options: Options,
) -> Document:
    text = value.text(sample, run)
    raw = b"" if text is None else text.encode(errors="surrogatepass")
    prompt = sample.arguments[0][0]
    # The text of a rolling likelihood is its own prompt.
    is_prompt = value.name != "rolling"
    kept = prompt if is_prompt else text
    return Document(
        text_id=f"{run.task}/{sample.doc_hash[:_DIGITS]}",
        value=score,
        where=sample.where,
        domain=run.task,
        order=sample.doc_id,
        prompt=sample.prompt_hash if is_prompt else "",
        num_bytes=len(raw),
        num_chars=0 if text is None else len(text),
        sha256=hashlib.sha256(raw).hexdigest() if text else "",
        text=kept if options.keep_texts and isinstance(kept, str) else None,
    )


def _caveats(
    taken: list[Run], of_model: list[Document], value: str
) -> list[str]:
    """Returns what a user should know of how a model was scored."""
    found = []
    there = collections.Counter(document.domain for document in of_model)
    for run in taken:
        stated = run.of_task("n-samples")
        stated = stated if isinstance(stated, dict) else {}
        num = there[run.task]
        effective, original = stated.get("effective"), stated.get("original")
        counted = isinstance(effective, int) and isinstance(original, int)
        if counted and effective < original:
            found.append(
                f"a limited run, {effective} of {original} documents of "
                f"{run.task}"
            )
        elif not counted and run.config("limit"):
            found.append(
                f"a limited run, --limit={run.config('limit')}, of {run.task}"
            )
        if counted and num < effective:
            found.append(
                f"{num} documents of {run.task} in the log, of {effective} in "
                "the results"
            )
    if value == "rolling" and any(not run.date for run in taken):
        found.append(
            "before 0.4.3 the EOS token stood before a text, whatever BOS is"
        )
    return found
