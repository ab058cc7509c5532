"""The model map: 1,018 models on 10,000 texts of the Pile (arXiv 2502.16173).

As its authors published it (github shimo-lab/modelmap):

    raw_log-likelihood_1018.pkl   name -> log-likelihoods in nats, one a text
    model-data-1018.pkl           a list of dicts: type and size of each model
    texts-10k-pile.jsonl          the texts, with `pile_set_name` and `index`

How the scores were made matters for what they can say: in float16, without the
first token of a text where a tokenizer puts no token before it, and of long
texts only as much as the model's context holds.
"""

import hashlib
import pathlib
from typing import Any

import numpy as np
from absl import logging

from mmc_jax.importers import json_files, pickles
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_SCORES = "*log-likelihood*.pkl"
_MODELS = "model-data*.pkl"
_TEXTS = "texts*.jsonl"
# Sizes stand there in billions.
_BILLION = 1e9

_CAVEATS = (
    "scored in float16",
    "the first token of a text is not scored where the tokenizer puts no token "
    "before it: log-likelihoods are those of tokens[0, 1:]",
    "long texts are scored up to the context of each model",
)


def recognises(path: pathlib.Path) -> bool:
    """Returns whether log-likelihoods of the model map are at a path."""
    if path.is_dir():
        return bool(_found(path, _SCORES))
    return path.match(_SCORES)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the log-likelihoods of the model map.

    Args:
      path: The file of log-likelihoods, or a folder with it somewhere below.
        The files of models and of texts are found beside it or below the
        folder; without them sizes, families, domains and lengths are not known.
      options: `keep_texts` matters here.

    Raises:
      ValueError: A file that calls functions, or is of another form; clipped
        log-likelihoods; vectors of different lengths; another number of texts.
    """
    scores = path if path.is_file() else _raw(path)
    folder = path if path.is_dir() else path.parent
    if "clipped" in scores.name:
        raise ValueError(
            f"{scores}: the lowest 2% of these log-likelihoods are replaced by "
            "their bound; take raw_log-likelihood_1018.pkl"
        )
    vectors = _vectors(scores)
    facts = _facts(_one(folder, _MODELS))
    models = tuple(
        _model(name, facts.get(name, {})) for name in sorted(vectors)
    )
    unknown = [m.name for m in models if m.name not in facts]
    if unknown and facts:
        logging.warning(
            "%s: no facts of %d models, such as %s",
            folder,
            len(unknown),
            unknown[0],
        )
    values = np.stack([vectors[model.name] for model in models])
    texts = _texts(_one(folder, _TEXTS), values.shape[1])
    digest = hashlib.sha256(scores.read_bytes()).hexdigest()
    logging.warning("%s: %s", scores, "; ".join(_CAVEATS))
    provenance = {
        "tool": "model map (arXiv 2502.16173)",
        "model_dtype": "float16",
        "caveats": list(_CAVEATS),
        "file": scores.name,
        "sha256": digest,
    }
    ids = tuple(f"pile/{x:05d}" for x in range(values.shape[1]))
    if texts is None:
        return Imported(
            scores, models, ids, values, "log_likelihood", provenance=provenance
        )
    raw = [text.encode() for text, _ in texts]
    return Imported(
        path=scores,
        models=models,
        text_ids=ids,
        values=values,
        unit="log_likelihood",
        domains=tuple(domain for _, domain in texts),
        num_bytes=np.array([len(text) for text in raw], np.int64),
        num_chars=np.array([len(text) for text, _ in texts], np.int64),
        texts=tuple(t for t, _ in texts) if options.keep_texts else None,
        sha256=tuple(hashlib.sha256(text).hexdigest() for text in raw),
        provenance=provenance,
    )


def _found(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob(pattern) if p.is_file())


def _raw(folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of log-likelihoods: the raw ones where there are two."""
    found = _found(folder, _SCORES)
    raw = [file for file in found if "clipped" not in file.name] or found
    if len(raw) != 1:
        raise ValueError(
            f"{folder}: {len(raw)} files {_SCORES}; name the one to read"
        )
    return raw[0]


def _one(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
    found = _found(folder, pattern)
    if len(found) > 1:
        raise ValueError(f"{folder}: several files {pattern}; keep one")
    if not found:
        logging.warning("%s: no file %s", folder, pattern)
    return found[0] if found else None


def _vectors(path: pathlib.Path) -> dict[str, np.ndarray]:
    content = pickles.plain(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: no dict of models")
    length = None
    vectors = {}
    for name, vector in content.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: {name!r} is no name of a model")
        if isinstance(vector, list) and all(
            isinstance(v, int | float) for v in vector
        ):
            vector = np.array(vector, np.float64)
        if (
            not isinstance(vector, np.ndarray)
            or vector.ndim != 1
            or vector.dtype.kind not in "fiu"
        ):
            raise ValueError(f"{path}, {name!r}: no vector of numbers")
        length = len(vector) if length is None else length
        if len(vector) != length:
            first = next(iter(content))
            raise ValueError(
                f"{path}, {name!r}: {len(vector)} texts; {first!r} has {length}"
            )
        vectors[name] = vector.astype(np.float64)
    return vectors


def _facts(path: pathlib.Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    content = pickles.plain(path)
    if not isinstance(content, list) or not all(
        isinstance(row, dict) and isinstance(row.get("model_name"), str)
        for row in content
    ):
        raise ValueError(f"{path}: no list of dicts with model_name")
    facts: dict[str, dict[str, Any]] = {}
    for row in content:
        name = row["model_name"]
        first = facts.setdefault(name, row)
        # As text: a size that is not known is NaN.
        sizes = [str(of.get("model_size")) for of in (first, row)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{path}: {name!r} is there twice, with the sizes "
                f"{' and '.join(sizes)}; keep one"
            )
    return facts


def _model(name: str, facts: dict[str, Any]) -> ScoredModel:
    size, family = facts.get("model_size"), facts.get("model_type")
    known = isinstance(size, int | float) and not isinstance(size, bool)
    known = known and np.isfinite(size) and size > 0
    return ScoredModel(
        name=name,
        family=family if isinstance(family, str) else "",
        costs={"num_params": float(size) * _BILLION} if known else {},
        provenance={
            key: facts[key]
            for key in ("created_at", "downloads")
            if isinstance(facts.get(key), str | int)
        },
    )


def _texts(
    path: pathlib.Path | None, num_texts: int
) -> list[tuple[str, str]] | None:
    """Returns text and domain of each text, in the order of their index."""
    if path is None:
        return None
    rows = []
    for place, (where, row) in enumerate(json_files.objects(path)):
        text, meta = row.get("text"), row.get("meta")
        if not isinstance(text, str) or not text:
            raise ValueError(f"{where}, text: no text")
        domain = row.get("pile_set_name")
        if domain is None and isinstance(meta, dict):
            domain = meta.get("pile_set_name")
        index = json_files.number(row.get("index", place), where, "index")
        rows.append((index, text, str(domain or "")))
    if len(rows) != num_texts:
        raise ValueError(
            f"{path}: {len(rows)} texts; the log-likelihoods are of {num_texts}"
        )
    indices = [index for index, _, _ in rows]
    if len(set(indices)) < len(indices):
        raise ValueError(f"{path}: an index stands there twice")
    return [(text, domain) for _, text, domain in sorted(rows)]
