"""What a table takes from a sample of lm-evaluation-harness."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from mmc_jax.importers import json_files, units
from mmc_jax.importers.documents import Document
from mmc_jax.importers.frame import Options
from mmc_jax.importers.lm_eval_runs import Run
from mmc_jax.importers.lm_eval_samples import Sample, samples
from mmc_jax.scores import ScoredModel

# Values that are likelihoods; all others are metrics.
_LIKELIHOODS = ("rolling", "target")
# Stored as [log-likelihood, count] in each sample.
_PAIRS = ("word_perplexity", "byte_perplexity", "bits_per_byte")
# Where logs do not say it: shares of right answers.
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")


@dataclasses.dataclass(frozen=True)
class Value:
    """What is read of each sample.

    Attributes:
      name: "rolling", "target" or the name of a metric.
      filter: Name of the filter whose metrics are read; None for any.
      higher_is_better: Whether higher is better, of a metric; None for a
        likelihood.
      is_said: Whether the options say so, and not the results alone.
    """

    name: str
    filter: str | None = None
    higher_is_better: bool | None = None
    is_said: bool = False

    @classmethod
    def of(
        cls, path: pathlib.Path, options: Options, found: Sequence[Run]
    ) -> "Value":
        """Returns what the options ask for.

        Raises:
          ValueError: Nothing is said and the tasks are not all of rolling
            likelihoods, or the direction of a metric is not known or said
            wrongly.
        """
        word = options.value
        if word is None:
            kinds = {_kind(run) for run in found}
            if kinds != {"loglikelihood_rolling"}:
                _refuse_unsaid(path, found)
            word = "rolling"
        if word in _LIKELIHOODS:
            return cls(word)
        if word in units.VALUES and word != "bits_per_byte":
            _refuse_unsaid(path, found)
        name, _, filter_name = word.partition(",")
        name = "acc" if name == "accuracy" else name
        if name in _PAIRS:
            raise ValueError(
                f"{path}: each sample holds a log-likelihood and a count under "
                f"{name}; --value=rolling reads it, with the bytes of the text"
            )
        return cls(
            name,
            filter_name or None,
            _direction(name, options, found),
            options.higher_is_better is not None,
        )

    def is_of(self, sample: Sample, run: Run) -> bool:
        """Returns whether a sample's line holds this value."""
        if self.name in _LIKELIHOODS:
            return True
        if self.filter is not None:
            return sample.filter in (self.filter, "")
        return self.name in sample.metrics

    def score(self, sample: Sample, run: Run) -> float:
        """Returns the value of a sample: nats, or the metric as it stands.

        Raises:
          ValueError: The sample does not have it; the message says why.
        """
        if self.name == "rolling":
            kind = _output_type(run) or sample.kind()
            if kind != "loglikelihood_rolling" or len(sample.responses) != 1:
                other = "" if kind == "generate_until" else "--value=target, "
                raise ValueError(
                    f"{sample.where}: {run.task} is of {kind}, without rolling "
                    f"likelihood; choose {other}a metric "
                    f"({_listed(sample.metrics)}), or tasks by --tasks"
                )
            return 0 - sample.log_likelihood(0)
        if self.name == "target":
            return 0 - sample.log_likelihood(_right(sample, run))
        found = sample.metrics.get(self.name)
        if found is None:
            raise ValueError(
                f"{sample.where}: no metric {self.name!r}; there are "
                f"{_listed(sample.metrics)}"
            )
        if isinstance(found, list | dict):
            raise ValueError(
                f"{sample.where}, {self.name}: {str(found)[:40]} has several "
                "numbers, of which the tool makes one over all documents; "
                "choose another metric"
            )
        number = json_files.number(found, sample.where, self.name)
        if self.name == "perplexity" and number <= 0:
            raise ValueError(
                f"{sample.where}, perplexity: {number:g} is a log-likelihood, "
                "in spite of its name; --value=target reads it"
            )
        return number

    def text(self, sample: Sample, run: Run) -> str | None:
        """Returns what was scored; None for a metric, or if it is not there."""
        if self.name == "rolling":
            # Since 0.5 an empty context stands before the text.
            text = sample.arguments[0][-1]
        elif self.name == "target":
            request = min(_right(sample, run), len(sample.arguments) - 1)
            text = sample.arguments[request][-1]
        else:
            return None
        return text if isinstance(text, str) else None

    def unit(
        self, scored: Sequence[tuple[ScoredModel, Sequence[Document]]]
    ) -> str:
        """Returns the unit of all values, one of `units.VALUES`.

        Raises:
          ValueError: A metric beyond [0, 1] is better higher, and the options
            do not say so.
        """
        if self.name in _LIKELIHOODS:
            return "nll_nats"
        if not self.higher_is_better:
            return "raw"
        for _, of_model in scored:
            for document in of_model:
                if not 0 <= document.value <= 1:
                    self._need_direction(document)
                    return "raw"
        return "score"

    def _need_direction(self, document: Document) -> None:
        if not self.is_said:
            raise ValueError(
                f"{document.where}, {self.name}: {document.value:g} is not "
                "between 0 and 1, and higher is better, as the results say; "
                "say so too: --higher_is_better"
            )

    def refuse_none(self, run: Run) -> None:
        """Raises the error of a run of which no sample has this value."""
        filters, metrics = set(), set()
        for sample in samples(run.file):
            filters.add(sample.filter)
            metrics.update(sample.metrics)
        raise ValueError(
            f"{run.file}: no {self.name!r}"
            + (f" of the filter {self.filter!r}" if self.filter else "")
            + f"; there are {_listed(metrics)} of the filters "
            f"{_listed(filters)}"
        )


def _direction(name: str, options: Options, found: Sequence[Run]) -> bool:
    """Returns whether higher is better, as the results or the options say."""
    said = {
        stated[name]
        for run in found
        if isinstance(stated := run.of_task("higher_is_better"), dict)
        and isinstance(stated.get(name), bool)
    }
    if name in _ACCURACIES:
        said.add(True)
    given = options.higher_is_better
    if len(said) == 1 and given is not None and given not in said:
        raise ValueError(
            f"{found[0].file}: {'higher' if not given else 'lower'} {name} "
            "is better, as the results say; leave "
            f"--{'higher' if given else 'lower'}_is_better out"
        )
    if given is None and len(said) != 1:
        raise ValueError(
            f"{found[0].file}: the results do not say whether higher {name} "
            "is better; say --higher_is_better or --lower_is_better"
        )
    return said.pop() if given is None else given


def _right(sample: Sample, run: Run) -> int:
    """Returns which request holds the right continuation.

    The target is the text of a choice or its number; what `acc` says of the
    likeliest choice decides between the two, and between two choices where the
    target says nothing.

    Raises:
      ValueError: It is a task of generation or rolling likelihoods, several
        continuations are right, or which is right cannot be told.
    """
    kind = _output_type(run) or sample.kind()
    if kind not in ("multiple_choice", "loglikelihood"):
        raise ValueError(
            f"{sample.where}: a task of {kind} has no likelihood of a right "
            f"continuation; choose a metric ({_listed(sample.metrics)})"
        )
    num_choices = len(sample.responses)
    if "acc_mutual_info" in sample.metrics:
        # Once more without the question.
        num_choices //= 2
    if num_choices == 1:
        return 0
    target = sample.target
    if isinstance(target, list) or re.fullmatch(r"\[.*\]", str(target)):
        raise ValueError(
            f"{sample.where}, target: {str(target)[:40]} has several right "
            "continuations; choose a metric"
        )
    text = str(target)
    continuations = [
        request[1] if len(request) > 1 else ""
        for request in sample.arguments[:num_choices]
    ]
    likely = [sample.log_likelihood(i) for i in range(num_choices)]
    best = likely.index(max(likely))
    # Where the choices stand in the prompts, the continuations are one.
    told = len(continuations) == num_choices and len(set(continuations)) > 1
    is_number = _is_number(sample, run)
    found = set()
    if told and is_number is not True:
        found = {
            i
            for i, continuation in enumerate(continuations)
            if str(continuation).strip() == text.strip()
        }
    if is_number is not False and re.fullmatch(r"[0-9]{1,9}", text):
        found |= {int(text)} & set(range(num_choices))
    found = _with_accuracy(sample, found, best, num_choices, told)
    if len(found) != 1:
        missing = len(continuations) < num_choices
        raise ValueError(
            f"{sample.where}, target: {text[:40]!r} does not say which of "
            f"{num_choices} continuations is right"
            + (
                ", of which this version wrote the first alone"
                if missing
                else ""
            )
            + f"; choose a metric ({_listed(sample.metrics)})"
        )
    return found.pop()


def _is_number(sample: Sample, run: Run) -> bool | None:
    """Returns whether digits as a target are a choice's number, or its text.

    None where nothing says it. The tool takes digits for a number where the
    task makes its target by a template, and else what the document holds.
    """
    if sample.keeps_types or not isinstance(sample.target, str):
        return isinstance(sample.target, int)
    config = run.of_task("configs")
    source = config.get("doc_to_target") if isinstance(config, dict) else None
    if isinstance(source, str) and "{{" in source:
        return True
    doc = sample.doc if isinstance(sample.doc, dict) else {}
    return isinstance(doc[source], int) if source in list(doc) else None


def _with_accuracy(
    sample: Sample, found: set[int], best: int, num_choices: int, told: bool
) -> set[int]:
    """Returns the choices that may be right, after what `acc` says."""
    acc = sample.metrics.get("acc")
    if acc not in (0, 1):
        return found
    may = {best} if acc == 1 else set(range(num_choices)) - {best}
    if told and len(found) == 1 and not found & may:
        raise ValueError(
            f"{sample.where}, acc: {acc} contradicts the target "
            f"{str(sample.target)[:40]!r}: the likeliest continuation is that "
            f"of request {best + 1}; choose a metric"
        )
    if len(may) == 1:
        return may
    return found & may


def _output_type(run: Run) -> str | None:
    config = run.of_task("configs")
    found = config.get("output_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _kind(run: Run) -> str:
    """Returns the output type of a run's task."""
    stated = _output_type(run)
    if stated is not None:
        return stated
    for sample in samples(run.file):
        return sample.kind()
    raise ValueError(f"{run.file}: no samples")


def _refuse_unsaid(path: pathlib.Path, found: Sequence[Run]) -> None:
    metrics: dict[str, Any] = {}
    for run in found:
        for sample in samples(run.file):
            metrics.update(sample.metrics)
            break
    raise ValueError(
        f"{path}: say what to read: --value=rolling or target (likelihoods), "
        f"accuracy, or a metric: {_listed(metrics)}"
    )


def _listed(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
