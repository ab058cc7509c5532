"""Scores of documents that each model's log holds, joined by document.

Logs of two models need not have the same order or the same documents: a score
is found by the document's id alone.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel, TokenScores, token_scores


class Document(NamedTuple):
    """The score of one document under one model.

    Attributes:
      text_id: Name of the document, the same under all models.
      value: The score as it is to stand in the table's values.
      where: How errors name its place in a file.
      domain: The task or set that the document is of.
      order: Number of the document in its domain.
      prompt: Hash or text of what the model saw; "" where not known.
      num_bytes: Bytes in UTF-8 of what was scored; 0 if not known.
      num_chars: Characters of what was scored; 0 if not known.
      num_tokens: Tokens of the document; 0 if not known.
      num_scored: Tokens that have a score; 0 if not known.
      sha256: Hash of the text that was scored; "" if not known.
      text: The text or prompt; None if it is not kept.
      tokens: Scores of its tokens in nats, and where they end in bytes or None
        where that is not known; None without scores of tokens.
    """

    text_id: str
    value: float
    where: str
    domain: str = ""
    order: int = 0
    prompt: str = ""
    num_bytes: int = 0
    num_chars: int = 0
    num_tokens: int = 0
    num_scored: int = 0
    sha256: str = ""
    text: str | None = None
    tokens: tuple[np.ndarray, np.ndarray | None] | None = None


def metric_unit(
    path: pathlib.Path,
    scored: Sequence[tuple[ScoredModel, Sequence[Document]]],
    value: str,
    higher: bool,
    options: Options,
) -> str:
    """Returns the unit of a metric, "score" or "raw".

    Args:
      path: File or folder that is imported, for errors.
      scored: Each model with its documents.
      value: Name of the metric.
      higher: Whether higher values are better, as the metric's name tells it or
        the options do.
      options: Options of the import; they alone can say the direction of a
        metric that is no share.

    Raises:
      ValueError: Values beyond [0, 1] of which the name alone tells that higher
        is better.
    """
    if not higher:
        return "raw"
    if all(0 <= d.value <= 1 for _, of_model in scored for d in of_model):
        return "score"
    if options.higher_is_better is None:
        raise ValueError(
            f"{path}: values of {value} beyond [0, 1]; say --higher_is_better "
            "or --lower_is_better"
        )
    return "raw"


def joined(
    path: pathlib.Path,
    scored: Sequence[tuple[ScoredModel, Sequence[Document]]],
    unit: str | None,
    options: Options,
    provenance: dict[str, Any],
) -> Imported:
    """Returns the scores of all models, by document.

    Documents are ordered by domain, by their number in it, and by name.

    Args:
      path: File or folder that they are from.
      scored: Each model with its documents, in any order.
      unit: What the values are, as `Imported.unit`.
      options: Whether models may have seen other prompts.
      provenance: Facts that hold for all models.

    Raises:
      ValueError: A document is there twice under one model, or two models saw
        other prompts or other texts under one name.
    """
    first: dict[str, Document] = {}
    seen: list[dict[str, Document]] = []
    for model, of_model in scored:
        by_id: dict[str, Document] = {}
        for document in of_model:
            name = document.text_id
            if name in by_id:
                raise ValueError(
                    f"{document.where}: a second score of {name!r} under "
                    f"{model.name!r}; the first is {by_id[name].where}"
                )
            by_id[name] = document
            other = first.setdefault(name, document)
            _refuse_other(other, document, model.name, options)
        seen.append(by_id)
    if not first:
        raise ValueError(f"{path}: no scores")
    ordered = sorted(
        first.values(), key=lambda d: (d.domain, d.order, d.text_id)
    )
    ids = tuple(document.text_id for document in ordered)
    values = np.full((len(seen), len(ids)), np.nan)
    tokens = np.zeros((2, len(seen), len(ids)), np.int64)
    for m, by_id in enumerate(seen):
        for x, name in enumerate(ids):
            if name in by_id:
                document = by_id[name]
                values[m, x] = document.value
                tokens[:, m, x] = document.num_tokens, document.num_scored
    known = ~np.isnan(values)
    has_tokens = bool((tokens[0][known] > 0).all())

    def where(m: int, x: int) -> str:
        if ids[x] in seen[m]:
            return f"{seen[m][ids[x]].where}, model {scored[m][0].name!r}"
        return f"{path}, model {scored[m][0].name!r}, text {ids[x]!r}"

    return Imported(
        path=path,
        models=tuple(model for model, _ in scored),
        text_ids=ids,
        values=values,
        unit=unit,
        domains=tuple(document.domain for document in ordered),
        num_bytes=_counts([document.num_bytes for document in ordered]),
        num_chars=_counts([document.num_chars for document in ordered]),
        num_tokens=tokens[0] if has_tokens else None,
        num_scored=tokens[1] if has_tokens else None,
        texts=_texts(ordered) if options.keep_texts else None,
        sha256=tuple(document.sha256 for document in ordered),
        provenance=provenance,
        where=where,
        tokens=_tokens(seen, ids),
    )


def _tokens(
    seen: Sequence[dict[str, Document]], ids: Sequence[str]
) -> tuple[TokenScores, ...] | None:
    """Returns each model's tokens; a document that it lacks has none."""
    if any(d.tokens is None for by_id in seen for d in by_id.values()):
        return None
    nothing = np.zeros(0), None
    found = []
    for by_id in seen:
        rows = [by_id[i].tokens if i in by_id else nothing for i in ids]
        found.append(token_scores(*zip(*rows, strict=True)))
    return tuple(found)


def _refuse_other(
    first: Document, second: Document, model: str, options: Options
) -> None:
    """Raises the error of one document that two models saw differently."""
    if first.sha256 != second.sha256 or first.num_bytes != second.num_bytes:
        raise ValueError(
            f"{second.where}: {second.text_id!r} is another text under "
            f"{model!r} ({second.num_bytes} bytes) than in {first.where} "
            f"({first.num_bytes} bytes); import the models one by one"
        )
    if first.prompt != second.prompt and not options.allow_other_prompts:
        raise ValueError(
            f"{second.where}: {model!r} saw another prompt for "
            f"{second.text_id!r} than the model of {first.where}: other "
            "few-shot examples or another chat template; scores under other "
            "prompts are not comparable (--allow_other_prompts takes them all "
            "the same, --run and --tasks choose others)"
        )


def _counts(counts: list[int]) -> np.ndarray | None:
    return np.array(counts, np.int64) if all(counts) else None


def _texts(documents: list[Document]) -> tuple[str, ...] | None:
    texts = tuple(document.text for document in documents)
    return None if any(text is None for text in texts) else texts
