"""What is known of a text before any model of the subset has scored it.

Features come from the text itself (`ngrams`), from the cheapest model of the
pool (`readings`), or from a file that the user brings. Each row bears the
id of its text, and rows are taken by id, never by place.

X texts, D features.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl import logging

from mmc_jax import limits
from mmc_jax.corpus import Corpus
from mmc_jax.importers.columns import cells, kinds
from mmc_jax.scores.files import write_atomically

_TEXT_ID = "text_id"
_VALUES = "features"
_SHA256 = b"sha256"


class Features(NamedTuple):
    """Numbers that describe each text.

    Attributes:
      ids: Id of each text, [X].
      values: Features of each text, finite, float32 [X, D].
      reader: Name of the model that reads a text to make them; None where no
        model does. Its cost is in the router's budget.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    reader: str | None = None

    def of(self, ids: Sequence[str]) -> "Features":
        """Returns the features of some texts, in their order.

        Args:
          ids: Ids of the texts that are wanted, [X].

        Raises:
          ValueError: A text has no features.

        >>> known = Features(("a", "b"), np.array([[1.0], [2.0]]))
        >>> known.of(["b"]).values
        array([[2.]])
        """
        if tuple(ids) == self.ids:
            return self
        row = {id_: i for i, id_ in enumerate(self.ids)}
        lacking = [id_ for id_ in ids if id_ not in row]
        if lacking:
            raise ValueError(
                f"{len(lacking)} of {len(ids)} texts have no features, the "
                f"first is {lacking[0]!r}: the features are of other texts."
            )
        rows = [row[id_] for id_ in ids]
        return Features(tuple(ids), self.values[rows], self.reader)


def joined(several: Sequence[Features]) -> Features:
    """Returns several kinds of features side by side.

    Args:
      several: Features of the same texts; those after the first may be in
        another order or of more texts.

    Raises:
      ValueError: Nothing to join; a text has no features of some kind; two
        models read the texts.

    >>> a = Features(("a",), np.ones((1, 2)))
    >>> joined([a, a]).values
    array([[1., 1., 1., 1.]])
    """
    if not several:
        raise ValueError("there are no features to join.")
    ids = several[0].ids
    readers = {each.reader for each in several} - {None}
    if len(readers) > 1:
        raise ValueError(
            f"features of two models, {' and '.join(sorted(readers))}: one "
            "model reads a text for its router."
        )
    return Features(
        ids,
        np.concatenate([each.of(ids).values for each in several], axis=1),
        next(iter(readers), None),
    )


def noise_features(
    ids: Sequence[str], num_features: int, seed: int
) -> Features:
    """Returns features that say nothing: what a router cannot learn from.

    Args:
      ids: Id of each text, [X].
      num_features: Number of features D.
      seed: Seed of the normal numbers.

    >>> noise_features(["a", "b"], 3, seed=0).values.shape
    (2, 3)
    """
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((len(ids), num_features), np.float32)
    return Features(tuple(ids), values)


def read_features(path: str | os.PathLike[str]) -> Features:
    """Returns the features of a file, such as embeddings that a user brings.

    Args:
      path: A table (`.parquet`, `.jsonl`, `.csv`, ...) with the column
        `text_id` and either one column of lists of equal length or any number
        of columns of numbers; or a `.npy` file of shape [X, D], beside which
        the ids of the texts stand, one a line, in a file of the same name that
        ends in `.ids.txt`.

    Raises:
      FileNotFoundError: The file, or that of the ids, is not there.
      ValueError: Another kind of file; ids that are empty, there twice or not
        as many as rows; rows of different lengths; a number that is not
        finite, with the text.
    """
    path = pathlib.Path(path)
    if path.name.endswith(".npy"):
        ids, values = _of_npy(path)
    else:
        ids, values = _of_table(path)
    seen: set[str] = set()
    for id_ in ids:
        if not id_ or id_ in seen:
            raise ValueError(
                f"{path}: the text id {id_!r} is empty or there twice"
            )
        seen.add(id_)
    # Beyond float32's range a number would become infinite.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        x, d = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}: feature {d} of text {ids[x]!r} is {values[x, d]} in "
            "float32; finite features are needed"
        )
    return Features(tuple(ids), values)


def cached_features(
    make: Callable[[], Features],
    made_from: dict[str, Any],
    texts: Corpus,
    cache_dir: str | os.PathLike[str] | None,
) -> Features:
    """Returns features from a file beside the scores, or makes and keeps them.

    The file is named by the texts' hashes and by all else that the features
    depend on. Whatever changes in those makes another file.

    Args:
      make: Makes the features where no file has them.
      made_from: All that the features depend on beside the texts, as JSON.
      texts: The texts, whose ids and hashes name the file.
      cache_dir: Folder of the files; None to keep nothing.

    Raises:
      OSError: The file cannot be written.
    """
    if cache_dir is None:
        return make()
    content = json.dumps(
        [made_from, texts.ids, texts.sha256], sort_keys=True
    ).encode()
    name = hashlib.sha256(content).hexdigest()[:32]
    file = pathlib.Path(cache_dir, f"{made_from['kind']}-{name}.parquet")
    if file.exists():
        try:
            found = read_features(file)
            stated = pyarrow.parquet.read_schema(file).metadata or {}
            if stated.get(_SHA256) != _sha256(found):
                raise ValueError(f"{file}: damaged, or of an older version")
            if found.ids == texts.ids:
                return found._replace(reader=made_from.get("reader"))
        except ValueError as error:
            logging.warning("%s; it is made anew", error)
    found = make()
    rows = pa.FixedSizeListArray.from_arrays(
        pa.array(found.values.ravel()), found.values.shape[1]
    )
    kept = pa.table({_TEXT_ID: pa.array(found.ids, pa.string()), _VALUES: rows})
    write_atomically(
        kept.replace_schema_metadata({_SHA256: _sha256(found)}), file
    )
    return found


def _sha256(features: Features) -> bytes:
    """Returns the SHA-256 of ids and values, hexadecimal."""
    digest = hashlib.sha256(json.dumps(features.ids).encode())
    digest.update(np.asarray(features.values, np.float32).tobytes())
    return digest.hexdigest().encode()


def _of_npy(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    beside = path.with_suffix(".ids.txt")
    if not beside.exists():
        raise FileNotFoundError(
            f"{beside}: missing; write the id of each row's text into it, one "
            f"a line, so that {path.name} cannot be taken for other texts'"
        )
    limits.check_file("arrays", path)
    try:
        # A header may state any shape: mapping fails where it is not there.
        values = np.load(path, allow_pickle=False, mmap_mode="r")
    # Headers are read by Python's own tokenizer, which raises other kinds.
    except Exception as error:
        raise ValueError(f"{path}: not readable: {error}") from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path}: an archive of arrays; np.save writes one")
    try:
        # Text mode ends lines at \n and \r\n; an id may hold any other break.
        ids = beside.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{beside}: no UTF-8: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
        raise ValueError(
            f"{path}: {values.dtype} of shape {values.shape}; numbers of shape "
            "[texts, features] are needed"
        )
    if len(ids) != len(values):
        raise ValueError(
            f"{beside}: {len(ids)} ids for the {len(values)} rows of "
            f"{path.name}"
        )
    return ids, values


def _of_table(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    # An id such as 007 is no number.
    table = kinds.read_columns(path, text_columns=[_TEXT_ID])
    cells.refuse_twice(path, table.column_names, table.column_names)
    if _TEXT_ID not in table.column_names:
        raise ValueError(
            f"{path}: no column {_TEXT_ID!r}, which names the text of each row"
        )
    ids = cells.strings(table.column(_TEXT_ID), path, _TEXT_ID)
    names = [name for name in table.column_names if name != _TEXT_ID]
    nested = [n for n in names if pa.types.is_nested(table.column(n).type)]
    if len(names) != 1 or not nested:
        columns = [
            cells.numbers(table.column(name), path, name) for name in names
        ]
        if not columns:
            raise ValueError(f"{path}: no column but {_TEXT_ID!r}")
        return ids, np.stack(columns, axis=1)
    column = table.column(names[0]).combine_chunks()
    is_list = (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    )
    if not is_list or not cells.is_number(column.type.value_type):
        raise ValueError(
            f"{path}, column {names[0]!r}: {column.type}; numbers or lists of "
            "numbers are needed"
        )
    lengths = set(pa.compute.list_value_length(column).to_pylist())
    flat = column.flatten()
    if len(lengths) != 1 or lengths & {None, 0} or flat.null_count:
        raise ValueError(
            f"{path}, column {names[0]!r}: rows of the lengths "
            f"{sorted(map(str, lengths))}; as many numbers in each are needed"
        )
    values = flat.to_numpy(zero_copy_only=False)
    return ids, values.reshape(len(ids), -1)
