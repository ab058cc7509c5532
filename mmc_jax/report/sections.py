"""What one analysis says, and the one writer of result folders.

An analysis computes and returns its result; a `Section` says it. Whoever shows
results reads sections: `write_sections` makes a folder and words for the
terminal of them, and a page would read the same ones.

F frontier points.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mmc_jax.report import labels, result


class Section(NamedTuple):
    """What one analysis says.

    Attributes:
      numbers: What was found, by its key in result.json; units in the names.
        NamedTuples and arrays are allowed; numbers that are not finite are
        written as null.
      point_columns: What is known of each point of the study's frontier, by
        the name of the field: F values each, in the order of the points.
      arrays: Arrays that are too long for JSON, by their name in arrays.npz.
      figures: Functions that draw, by the name of the file without its suffix.
        They are called only where figures are wanted.
      sentences: Lines for the terminal, without line ends. Control characters
        of names in them are written as escapes.
      files: Functions that write further files, by the names of the files. Each
        is called with the path to write to.
    """

    numbers: Mapping[str, Any] = {}
    point_columns: Mapping[str, Sequence[Any]] = {}
    arrays: Mapping[str, np.ndarray] = {}
    figures: Mapping[str, Callable[[], Figure]] = {}
    sentences: Sequence[str] = ()
    files: Mapping[str, Callable[[pathlib.Path], object]] = {}


def merged(sections: Sequence[Section]) -> Section:
    """Returns all that several sections say as one.

    Columns of points become the key "frontier": a list with an object a point.

    Args:
      sections: The sections, in the order of their sentences.

    Raises:
      ValueError: Two sections give the same key, column, array, figure or file;
        columns of points differ in length.

    >>> costs = Section(point_columns={"cost": [1.0, 2.0]})
    >>> losses = Section({"unit": "nats"}, {"loss": [0.9, 0.5]})
    >>> merged([costs, losses]).numbers["frontier"]
    [{'cost': 1.0, 'loss': 0.9}, {'cost': 2.0, 'loss': 0.5}]
    """
    numbers, columns, arrays, figures, files = (
        _union([getattr(section, field) for section in sections], field)
        for field in ("numbers", "point_columns", "arrays", "figures", "files")
    )
    if columns:
        if len({len(column) for column in columns.values()}) > 1:
            lengths = {name: len(column) for name, column in columns.items()}
            raise ValueError(f"columns of points differ in length: {lengths}")
        rows = [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
        numbers = _union([numbers, {"frontier": rows}], "numbers")
    return Section(
        numbers,
        columns,
        arrays,
        figures,
        [line for section in sections for line in section.sentences],
        files,
    )


def chapter(name: str, sections: Sequence[Section]) -> Section:
    """Returns sections as one whose keys begin with a name.

    Analyses that stand beside others in one result.json may so have the same
    keys: what one found stands in an object of its own. Its sentences stand
    there as well, in "sentences". Figures are left out.

    Args:
      name: Key of the object, and first word of the arrays' names.
      sections: What the analysis says.

    Raises:
      ValueError: What `merged` refuses; a section has the key "sentences".

    >>> chapter("study", [Section({"loss": 0.5}, sentences=["good"])]).numbers
    {'study': {'loss': 0.5, 'sentences': ['good']}}
    """
    found = merged(sections)
    numbers = found.numbers
    if found.sentences:
        sentences = [labels.printable(line) for line in found.sentences]
        numbers = _union([numbers, {"sentences": sentences}], "numbers")
    return Section(
        {name: numbers},
        arrays={f"{name}_{key}": array for key, array in found.arrays.items()},
        files=found.files,
    )


def write_sections(
    out: str | os.PathLike[str],
    sections: Sequence[Section],
    *,
    flags: Mapping[str, Any],
) -> str:
    """Writes a result folder and returns its sentences for the terminal.

    Args:
      out: The result folder.
      sections: What its analyses say, in the order of their sentences.
      flags: What the program was called with.

    Raises:
      ValueError: Two sections give the same key, column, array, figure or file;
        columns of points differ in length.
      OSError: The folder cannot be written.
    """
    found = merged(sections)
    path = result.write_result(
        out,
        found.numbers,
        flags=flags,
        arrays=found.arrays,
        figures=found.figures,
        files=found.files,
    )
    where = f"numbers: {path}"
    if found.figures:
        where += f"; figures: {pathlib.Path(out)}/*.png, *.svg"
    return "\n".join(map(labels.printable, [*found.sentences, "", where]))


def _union(mappings: Sequence[Mapping[str, Any]], field: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            if name in found:
                raise ValueError(f"two sections give {field}[{name!r}]")
            found[name] = value
    return found
