"""The score table on disk: a folder that pandas or DuckDB read as well.

    corpus.parquet         text_id, domain, num_bytes, num_chars, sha256, and
                           date where some are known
    models/<name>.parquet  text_id, nll_nats, num_tokens, num_scored,
                           round_trips, in the order of the corpus
    models/<name>.parts/   what is finished of a model being scored
    query_costs/<name>.parquet  text_id, query_cost: where they are known
    texts.parquet          text_id, text: where they are kept
    tokens/<name>.parquet  the scores of tokens, see `tokens`

What is not known is null. Each file of a model holds JSON in its metadata,
under "provenance": name, family, kind, costs, the hash of the corpus, the unit
of the scores where it is known, and their provenance. A model's name is written
as in a URL where it has characters that do not suit a file name. Files are
written under a temporary name (.tmp), synced and renamed, so that a file that
is there is complete.
Reading and writing stay in one file: what one writes the other checks.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl import logging

from mmc_jax import at_once, corpus, limits
from mmc_jax.scores import locks
from mmc_jax.scores.facts import (
    checked_text,
    read_facts,
    with_digest,
    with_facts,
)
from mmc_jax.scores.shipped_tables import place
from mmc_jax.scores.table import ScoredModel, ScoreTable

CORPUS_SCHEMA = pa.schema(
    [
        ("text_id", pa.string()),
        ("domain", pa.string()),
        ("num_bytes", pa.int64()),
        ("num_chars", pa.int64()),
        ("sha256", pa.string()),
    ]
)
# Where the date of some text is known; tables of earlier versions have none.
_DATED_SCHEMA = CORPUS_SCHEMA.append(pa.field("date", pa.string()))
MODEL_SCHEMA = pa.schema(
    [
        ("text_id", pa.string()),
        ("nll_nats", pa.float64()),
        ("num_tokens", pa.int32()),
        ("num_scored", pa.int32()),
        ("round_trips", pa.bool_()),
    ]
)
QUERY_COSTS_SCHEMA = pa.schema(
    [("text_id", pa.string()), ("query_cost", pa.float64())]
)
TEXTS_SCHEMA = pa.schema([("text_id", pa.string()), ("text", pa.string())])
# Of a name as a file's, in which a letter may take up to 12 bytes.
_MOST_NAME_BYTES = limits.LIMITS["name"].most
_CORPUS_METADATA = b"chars_per_token"
_NO_TEXT = b""


def open(
    path: str | os.PathLike[str],
    *,
    leave_out_unfinished: bool = False,
    with_texts: bool = False,
) -> ScoreTable:
    """Returns the score table of a folder, its models sorted by name.

    Where some model has no token counts (or no `round_trips`, or no query
    costs), the table has none.

    Args:
      path: Folder of the score table, or the name of one that ships with the
        package, such as "surprisal14" (`shipped`).
      leave_out_unfinished: Open the complete models and leave out those that
        are still being scored, instead of refusing.
      with_texts: Also read the texts themselves, from a folder that keeps them.

    Raises:
      FileNotFoundError: No score table lies at `path`, or it has no texts.
      ValueError: Models that are unfinished, models that were scored on other
        texts than the folder's corpus or in other units (all are listed), a
        file that cannot be read, or no complete model.
    """
    path = place(path)
    texts, chars_per_token = _read_corpus(path)
    text_ids = pa.array(texts.ids, pa.string())
    expected = corpus_sha256(texts)
    folder = path / "models"
    there = unfinished(path)
    if there and not leave_out_unfinished:
        raise ValueError(
            f"{path}: unfinished models: {', '.join(there)}; score again to "
            "finish them, or open with leave_out_unfinished=True"
        )
    models, columns, other, units = [], [], [], {}
    for file in sorted(folder.glob("*.parquet")):
        table, facts = read_scores(file)
        if facts["corpus_sha256"] != expected or not table.column(
            "text_id"
        ).combine_chunks().equals(text_ids):
            other.append(f"{facts['name']} (models/{file.name})")
            continue
        models.append(model_of(facts))
        columns.append(table)
        units.setdefault(_unit_of(facts), []).append(facts["name"])
    if other:
        raise ValueError(
            f"{path}: models scored on other texts than corpus.parquet: "
            f"{', '.join(other)}; delete these files and score again"
        )
    if not models:
        raise ValueError(f"{path}: no model is finished")
    if len(units) > 1:
        listed = (
            f"{unit or 'not stated'} of {', '.join(names)}"
            for unit, names in units.items()
        )
        raise ValueError(
            f"{path}: scores in several units: {'; '.join(listed)}; keep those "
            "of each in a folder of its own"
        )
    order = sorted(range(len(models)), key=lambda m: models[m].name)
    models, columns = [models[m] for m in order], [columns[m] for m in order]
    if with_texts:
        texts = _with_texts(path, texts)
    query_costs = _query_costs(path, models, text_ids)
    try:
        table = ScoreTable(
            models=tuple(models),
            texts=texts,
            nll_nats=_stacked(columns, "nll_nats", np.float64),
            num_tokens=_stacked(columns, "num_tokens", np.int64),
            num_scored=_stacked(columns, "num_scored", np.int64),
            round_trips=_stacked(columns, "round_trips", np.bool_),
            chars_per_token=chars_per_token,
            unit=next(iter(units)),
            query_costs=query_costs,
        )
    except ValueError as error:
        raise ValueError(
            f"{path}: corpus.parquet and models/ make no score table: {error}"
        ) from error
    if not (path / "tokens").is_dir():
        return table
    from mmc_jax.scores import tokens  # It reads files by what is here.

    return dataclasses.replace(table, tokens=tokens.TokenFiles(path, table))


def is_table(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is the folder of a score table.

    Args:
      path: Any path, or the name of a table that ships; nothing needs to be
        there.
    """
    return (place(path) / "corpus.parquet").exists()


def unfinished(path: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the models of a folder whose scoring has not ended.

    Args:
      path: Folder of a score table, or the name of one that ships.
    """
    return [
        urllib.parse.unquote(parts.stem)
        for parts in sorted((place(path) / "models").glob("*.parts"))
        if not parts.with_suffix(".parquet").exists()
    ]


def write(table: ScoreTable, path: str | os.PathLike[str]) -> None:
    """Writes a table into a folder, or adds its models to a table there.

    Where the table is a selection, a new folder keeps its k; a folder with a
    table has a k already. One run at a time writes there: others that write
    tables wait for it.

    Args:
      table: The score table to write.
      path: Folder to write into; it is made.

    Raises:
      ValueError: The folder has another corpus, or a model of the same name
        with other scores; a name is too long for a file; rows that are segments
        of texts. No model is written then.
      BlockingIOError: Another run is scoring into the folder.
    """
    if table.places is not None:
        raise ValueError(
            "the table's rows are segments of texts; write the table of the "
            "texts, and cut them where they are needed"
        )
    path = pathlib.Path(path)
    # Imports wait for one another; scoring takes too long for that.
    with at_once.alone(path), locks.locked(path, "writing scores"):
        _write(table, path)


def _write(table: ScoreTable, path: pathlib.Path) -> None:
    """Writes a table into a folder in which no other run writes."""
    # k stands in the file only where it is not what the folder would give.
    derived = ScoreTable(
        table.models,
        table.texts,
        table.nll_nats,
        table.num_tokens,
        table.num_scored,
    )
    inherited = table.chars_per_token != derived.chars_per_token
    _write_corpus(
        path,
        table.texts.counts,
        table.chars_per_token if inherited else None,
    )
    if table.texts.texts is not None:
        kept = pa.table(
            [table.texts.ids, table.texts.texts], schema=TEXTS_SCHEMA
        )
        write_atomically(with_digest(kept, {}), path / "texts.parquet")
    _check_same_unit(path, table.unit)
    # All before the first is written: a table that is refused leaves nothing.
    _check_models(path, table)
    sha256 = corpus_sha256(table.texts)
    for m, model in enumerate(table.models):
        scores = _scores_of(table, m)
        file = model_file(path, model.name)
        if table.query_costs is not None:
            costs = pa.table(
                [table.texts.ids, table.query_costs[m]],
                schema=QUERY_COSTS_SCHEMA,
            )
            write_atomically(
                with_digest(costs, {}), _query_costs_file(path, model.name)
            )
        facts = facts_of(model, sha256, table.unit)
        write_atomically(with_facts(scores, facts), file)
    if table.tokens is not None:
        from mmc_jax.scores import tokens  # It reads files by what is here.

        tokens.write_all_tokens(table, path)


def _scores_of(table: ScoreTable, m: int) -> pa.Table:
    """Returns the scores of a model of a table as Arrow columns."""
    return scores_table(
        table.texts.ids,
        *(
            None if values is None else values[m]
            for values in (
                table.nll_nats,
                table.num_tokens,
                table.num_scored,
                table.round_trips,
            )
        ),
    )


def _check_models(path: pathlib.Path, table: ScoreTable) -> None:
    """Refuses models that a folder cannot take, and names its other models."""
    ours = set()
    for m, model in enumerate(table.models):
        file = model_file(path, model.name)
        ours.add(file.name)
        if len(file.stem) > _MOST_NAME_BYTES:
            raise ValueError(
                f"{path}: the model {model.name[:40]!r}...: its name takes "
                f"{len(file.stem)} bytes in that of a file, which has room for "
                f"{_MOST_NAME_BYTES}; rename it"
            )
        if file.exists() and not read_scores(file)[0].equals(
            _scores_of(table, m)
        ):
            raise ValueError(
                f"{file}: model {model.name!r} is there already, with other "
                "scores; choose another folder or delete the file"
            )
    others = [
        urllib.parse.unquote(file.stem)
        for file in sorted((path / "models").glob("*.parquet"))
        if file.name not in ours
    ]
    if others:
        logging.warning(
            "%s: has the scores of %d other models, which stay: %s",
            path,
            len(others),
            ", ".join(others[:10]) + (", ..." if len(others) > 10 else ""),
        )


def write_corpus(
    path: str | os.PathLike[str],
    texts: corpus.Corpus | corpus.Stream,
    *,
    chars_per_token: float | None = None,
) -> None:
    """Writes the texts of a table, or makes sure that they are those there.

    Args:
      path: The table's folder; it is made.
      texts: The corpus; of it ids, domains, counts, hashes and dates are kept.
        Of a stream this is the first pass, if nothing has asked for its counts.
        Dates that the folder does not have are added to it.
      chars_per_token: k of `text_length`, where the folder is to keep that of
        another table; by default it follows from the folder's own models.

    Raises:
      ValueError: The folder has another corpus; the message names the first
        text that differs.
    """
    path, counts = pathlib.Path(path), texts.counts
    with at_once.alone(path):
        _write_corpus(path, counts, chars_per_token)


def _write_corpus(
    path: pathlib.Path, texts: corpus.Corpus, chars_per_token: float | None
) -> None:
    """Writes the counts of texts into a folder in which no other run does."""
    file = path / "corpus.parquet"
    for left in path.glob("corpus.parquet.*.tmp"):  # By a run that was killed.
        left.unlink(missing_ok=True)
    if file.exists():
        there, k = _read_corpus(file.parent)
        _check_same_texts(there, texts, file)
        if texts.dates in (None, there.dates):
            return
        # The same texts, of which more is known now.
        chars_per_token = k
    counts = [
        pa.array(values, pa.int64(), mask=np.asarray(values) == 0)
        for values in (texts.num_bytes, texts.num_chars)
    ]
    sha256 = [value or None for value in texts.sha256]
    columns = [texts.ids, texts.domains, *counts, sha256]
    table = pa.table(columns, schema=CORPUS_SCHEMA)
    if texts.dates is not None:
        dates = [date or None for date in texts.dates]
        table = pa.table([*columns, dates], schema=_DATED_SCHEMA)
    metadata = {}
    if chars_per_token is not None:
        metadata[_CORPUS_METADATA] = json.dumps(chars_per_token).encode()
    write_atomically(with_digest(table, metadata), file)


def read_corpus(path: pathlib.Path) -> corpus.Corpus:
    """Returns the corpus of a table's folder, without the texts themselves."""
    return _read_corpus(path)[0]


def _read_corpus(path: pathlib.Path) -> tuple[corpus.Corpus, float | None]:
    """Returns the corpus, and k of `text_length` where the folder states it."""
    file = path / "corpus.parquet"
    if not file.exists():
        raise FileNotFoundError(f"{path}: no score table (no corpus.parquet)")
    table = read_parquet(file, CORPUS_SCHEMA, _DATED_SCHEMA)
    stated = checked_text(table, _CORPUS_METADATA, file)
    counts = {
        name: table.column(name).fill_null(0).to_numpy()
        for name in ("num_bytes", "num_chars")
    }
    texts = corpus.Corpus(
        ids=tuple(table.column("text_id").to_pylist()),
        domains=tuple(table.column("domain").to_pylist()),
        sha256=tuple(table.column("sha256").fill_null("").to_pylist()),
        texts=None,
        dates=tuple(table.column("date").fill_null("").to_pylist())
        if "date" in table.column_names
        else None,
        **counts,
    )
    try:
        return texts, None if stated is None else float(json.loads(stated))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{file}: its chars_per_token is no number ({error})"
        ) from error


def corpus_sha256(texts: corpus.Corpus) -> str:
    """Returns a hash over the texts' ids and hashes, in order."""
    return hashlib.sha256(
        json.dumps([texts.ids, texts.sha256]).encode()
    ).hexdigest()


def model_file(path: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file of a finished model."""
    return path / "models" / f"{urllib.parse.quote(name, safe='')}.parquet"


def _check_same_unit(path: pathlib.Path, unit: str | None) -> None:
    """Raises a ValueError if the scores of a folder are in another unit."""
    for file in sorted((path / "models").glob("*.parquet"))[:1]:
        there = _unit_of(read_scores(file)[1])
        if there != unit:
            raise ValueError(
                f"{path}: its scores are in the unit {there or 'not stated'}, "
                f"and these in {unit or 'none that is stated'}; choose another "
                "folder"
            )


def _query_costs_file(path: pathlib.Path, name: str) -> pathlib.Path:
    return path / "query_costs" / model_file(path, name).name


def _query_costs(
    path: pathlib.Path, models: list[ScoredModel], text_ids: pa.Array
) -> np.ndarray | None:
    """Returns the costs of calls, [M, X], None where a model has none."""
    files = [_query_costs_file(path, model.name) for model in models]
    if not all(file.exists() for file in files):
        return None
    tables = [read_parquet(file, QUERY_COSTS_SCHEMA) for file in files]
    for file, table in zip(files, tables, strict=True):
        checked_text(table, _NO_TEXT, file)
        _refuse_other_ids(table, text_ids, file)
    return _stacked(tables, "query_cost", np.float64)


def _with_texts(path: pathlib.Path, texts: corpus.Corpus) -> corpus.Corpus:
    file = path / "texts.parquet"
    if not file.exists():
        raise FileNotFoundError(
            f"{path}: the texts themselves are not kept (no texts.parquet); "
            "import_scores --keep_texts keeps them"
        )
    table = read_parquet(file, TEXTS_SCHEMA)
    checked_text(table, _NO_TEXT, file)
    _refuse_other_ids(table, pa.array(texts.ids, pa.string()), file)
    return dataclasses.replace(
        texts, texts=tuple(table.column("text").to_pylist())
    )


def _refuse_other_ids(
    table: pa.Table, text_ids: pa.Array, file: pathlib.Path
) -> None:
    if not table.column("text_id").combine_chunks().equals(text_ids):
        raise ValueError(f"{file}: of other texts than corpus.parquet")


def is_finished(path: str | os.PathLike[str], name: str) -> bool:
    """Returns whether all texts have a score under a model.

    Args:
      path: Folder of the table.
      name: Name of the model.
    """
    return model_file(pathlib.Path(path), name).exists()


def parts_folder(path: str | os.PathLike[str], name: str) -> pathlib.Path:
    """Returns where parts of a model lie while it is being scored.

    Args:
      path: Folder of the table.
      name: Name of the model.
    """
    return model_file(pathlib.Path(path), name).with_suffix(".parts")


def finished_models(
    path: str | os.PathLike[str], names: Sequence[str]
) -> dict[str, ScoredModel]:
    """Returns finished models by name, those of the folder's texts alone.

    Models whose files are damaged or of other texts are left out.

    Args:
      path: Folder of the table, with its corpus.
      names: Names of the models.
    """
    expected = corpus_sha256(read_corpus(pathlib.Path(path)))
    found = {}
    for name in names:
        try:
            _, facts = read_scores(model_file(pathlib.Path(path), name))
            if facts["corpus_sha256"] == expected:
                found[name] = model_of(facts)
        except (ValueError, KeyError):
            continue
    return found


def finished_key(
    path: str | os.PathLike[str], name: str
) -> dict[str, Any] | None:
    """Returns the key of a finished model's scores, None of another's.

    Raises:
      ValueError: The model's file is damaged.
    """
    if not is_finished(path, name):
        return None
    _, facts = read_scores(model_file(pathlib.Path(path), name))
    return facts["provenance"].get("key", {})


def scores_table(text_ids, nll_nats, num_tokens, num_scored, round_trips):
    """Returns the scores of one model as Arrow columns; None becomes null."""
    num_texts = len(text_ids)
    return pa.table(
        [
            pa.array(text_ids, pa.string()),
            *(
                pa.nulls(num_texts, field.type)
                if values is None
                else pa.array(np.asarray(values)).cast(field.type)
                for field, values in zip(
                    list(MODEL_SCHEMA)[1:],
                    (nll_nats, num_tokens, num_scored, round_trips),
                    strict=True,
                )
            ),
        ],
        schema=MODEL_SCHEMA,
    )


def facts_of(
    model: ScoredModel, sha256: str, unit: str | None
) -> dict[str, Any]:
    """Returns what stands in the metadata of a finished model's file."""
    return {
        "name": model.name,
        "family": model.family,
        "kind": model.kind,
        "costs": model.costs,
        "corpus_sha256": sha256,
        "unit": unit,
        "provenance": model.provenance,
    }


def _unit_of(facts: Mapping[str, Any]) -> str | None:
    """Returns the unit of a model's scores, None where it is not stated."""
    # Files of earlier versions state none; a key is that of scoring.
    scored = "key" in facts["provenance"]
    return facts.get("unit", "nll_nats" if scored else None)


def model_of(facts: Mapping[str, Any]) -> ScoredModel:
    """Returns the model that the metadata of its file describe."""
    fields = ("name", "family", "kind", "costs", "provenance")
    return ScoredModel(**{field: facts[field] for field in fields})


def read_scores(file: pathlib.Path) -> tuple[pa.Table, dict[str, Any]]:
    """Returns scores and facts of a model's file or of a part of one."""
    table = read_parquet(file, MODEL_SCHEMA)
    facts = read_facts(table, file)
    return table.replace_schema_metadata(None), facts


def read_parquet(
    file: pathlib.Path, schema: pa.Schema, *others: pa.Schema
) -> pa.Table:
    """Returns a Parquet file, refusing one that is damaged or another's."""
    limits.refuse_pipe(file)
    # Not read_table: it makes columns of folders that are named a=b.
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            shape = opened.metadata
            limits.check("cells", shape.num_rows * shape.num_columns, file)
            table = opened.read()
        names = table.schema.names
    # A name that is not in UTF-8 is noticed when it is asked.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:
            # Of the system, such as a lack of rights: the file may be fine.
            raise OSError(error.errno, error.strerror, str(file)) from error
        raise ValueError(
            f"{file}: damaged, not readable as Parquet "
            f"({limits.reason(error)}); delete it and score again: only what "
            "it held is missing then"
        ) from error
    if not any(table.schema.equals(known) for known in (schema, *others)):
        raise ValueError(
            f"{file}: its columns are {', '.join(names)}; those of a score "
            f"table are {', '.join(schema.names)}"
        )
    return table


def write_atomically(
    table: pa.Table, file: pathlib.Path, **options: Any
) -> None:
    """Writes a file that is complete as soon as it has its name.

    Args:
      table: What to write.
      file: Where to; its folder is made.
      **options: Compression and encoding of the columns, as
        `pyarrow.parquet.write_table` takes them.

    Raises:
      OSError: It cannot be written, as on a full disk. Nothing is left of it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with at_once.replaced(file) as new, new.open("wb") as opened:
        pyarrow.parquet.write_table(table, opened, **options)
        opened.flush()
        os.fsync(opened.fileno())
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # Else a power cut may undo the renaming.
    finally:
        os.close(folder)


def _stacked(
    columns: list[pa.Table], name: str, dtype: type
) -> np.ndarray | None:
    """Returns one column of all models, [M, X], None where one has nulls."""
    if any(table.column(name).null_count for table in columns):
        return None
    values = np.empty((len(columns), columns[0].num_rows), dtype)
    for m, table in enumerate(columns):
        values[m] = table.column(name).to_numpy()
    return values


def _check_same_texts(
    there: corpus.Corpus, texts: corpus.Corpus, file: pathlib.Path
) -> None:
    what_to_do = (
        "choose another output folder for this corpus, or delete this one to "
        "score everything again"
    )
    for i in range(min(len(there), len(texts))):
        for field in ("ids", "sha256", "domains", "num_bytes", "num_chars"):
            old, new = getattr(there, field)[i], getattr(texts, field)[i]
            if old != new:
                if isinstance(new, np.integer):
                    old, new = int(old), int(new)
                raise ValueError(
                    f"{file}: the corpus has changed: text {i} "
                    f"({texts.ids[i]!r}) has {field} {new!r}, and {old!r} "
                    f"there; {what_to_do}"
                )
    if len(there) != len(texts):
        longer = max(there, texts, key=len)
        i = min(len(there), len(texts))
        raise ValueError(
            f"{file}: the corpus has changed: it has {len(texts)} texts, and "
            f"{len(there)} there; text {i} ({longer.ids[i]!r}) is the first "
            f"that one has alone; {what_to_do}"
        )
