"""One sample of lm-evaluation-harness, whatever version wrote it.

Before 0.4.3 numbers are numbers and `arguments` lists; since then all responses
are strings and `arguments` an object of objects.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from mmc_jax.importers import json_files

_FIELDS = frozenset(
    """
    doc_id doc target arguments resps filtered_resps filter metrics doc_hash
    prompt_hash target_hash scores_per_repeat
    """.split()
)
_PAIR = re.compile(r"[(\[]\s*([^,]+),\s*(?:True|False)\s*[)\]]")


@dataclasses.dataclass(frozen=True)
class Sample:
    """A document as one model saw it.

    Attributes:
      where: How errors name it: file and line.
      doc_id: Number of the document in its task.
      doc_hash: Hash of the document, as the tool makes it.
      prompt_hash: Hash of what stands before the first continuation.
      filter: Name of the filter of its metrics; "" where the version names
        none.
      doc: The document, as the data set holds it.
      target: What the task says is right.
      keeps_types: Whether a number is still a number in `target`, and not yet a
        string of one.
      arguments: What the model got in each request: a text alone, a context and
        a continuation, or a context and settings.
      responses: The first answer to each request, as it stands in the file.
      metrics: What else stands there: the metrics by name.
    """

    where: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    filter: str
    doc: Any
    target: Any
    keeps_types: bool
    arguments: list[list[Any]]
    responses: list[Any]
    metrics: dict[str, Any]

    def kind(self) -> str:
        """Returns the output type of the sample's task, by its form."""
        form = self.arguments[0]
        alone = len(form) == 1 or (form[0] == "" and len(self.arguments) == 1)
        if alone and len(self.responses) == 1:
            return "loglikelihood_rolling"
        if any(isinstance(a, dict) for a in form[1:]):
            return "generate_until"
        if len(self.responses) > 1:
            return "multiple_choice"
        return "loglikelihood"

    def log_likelihood(self, request: int) -> float:
        """Returns the log-likelihood of a request's continuation, in nats.

        Raises:
          ValueError: The response is no log-likelihood.
        """
        answer = self.responses[request]
        if isinstance(answer, list | tuple) and answer:
            answer = answer[0]
        elif isinstance(answer, str) and (pair := _PAIR.fullmatch(answer)):
            answer = pair[1]
        field = f"resps of request {request + 1}"
        found = json_files.number(answer, self.where, field)
        if found > 0:
            raise ValueError(
                f"{self.where}, {field}: {found:g} is above 0, so it is no "
                "log-likelihood"
            )
        return found


def samples(path: pathlib.Path) -> Iterator[Sample]:
    """Yields the samples of a file, in its order.

    Raises:
      ValueError: A sample has no `doc_id`, or fields of another form; the
        message names file, line and field.
    """
    for where, item in json_files.objects(path):
        yield _sample(where, item)


def _sample(where: str, item: dict[str, Any]) -> Sample:
    for field in ("doc_id", "doc", "arguments", "resps"):
        if field not in item:
            raise ValueError(f"{where}: no field {field!r}")
    number = json_files.number(item["doc_id"], where, "doc_id")
    arguments = _arguments(item["arguments"], where)
    responses = item["resps"]
    if not isinstance(responses, list) or not responses:
        raise ValueError(f"{where}, resps: a list is expected")
    first = arguments[0][0]
    doc_hash, prompt_hash = item.get("doc_hash"), item.get("prompt_hash")
    if doc_hash is None:
        # As the tool makes it since 0.4.3, so that old and new runs join.
        doc_hash = _hash(_dumped(item["doc"], where))
    if prompt_hash is None:
        prompt_hash = _hash(first if isinstance(first, str) else repr(first))
    return Sample(
        where=where,
        doc_id=int(number),
        doc_hash=str(doc_hash),
        prompt_hash=str(prompt_hash),
        filter=str(item.get("filter", "")),
        doc=item["doc"],
        target=item.get("target"),
        keeps_types=not isinstance(item["arguments"], dict),
        arguments=arguments,
        responses=[
            answers[0] if isinstance(answers, list) and answers else answers
            for answers in responses
        ],
        metrics={k: v for k, v in item.items() if k not in _FIELDS},
    )


def _dumped(doc: Any, where: str) -> str:
    try:
        return json.dumps(doc, indent=2, ensure_ascii=False)
    except RecursionError as error:
        raise ValueError(
            f"{where}, doc: lists or objects are nested too deeply"
        ) from error


def _arguments(found: Any, where: str) -> list[list[Any]]:
    """Returns the arguments of each request, of all that versions write."""
    if isinstance(found, dict):
        try:
            requests = [
                [given[f"arg_{i}"] for i in range(len(given))]
                for given in (found[f"gen_args_{i}"] for i in range(len(found)))
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{where}, arguments: an object of gen_args_0, gen_args_1, ... "
                "with arg_0, arg_1, ... is expected"
            ) from error
    elif isinstance(found, list) and found and isinstance(found[0], str):
        # The first versions wrote the first request alone.
        requests = [found]
    else:
        requests = found
    if (
        not isinstance(requests, list)
        or not requests
        or not all(isinstance(r, list) and r for r in requests)
    ):
        raise ValueError(f"{where}, arguments: a list of requests is expected")
    return requests


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
