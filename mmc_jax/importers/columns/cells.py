"""Columns of tables as people write them: text, numbers and sizes."""

import collections
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

# What stands in a cell that has no value.
_MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "-")
# The same as programs write them, for readers that compare to the letter.
MISSING_AS_WRITTEN = [
    "",
    *"NA N/A n/a #N/A <NA> NaN nan None null NULL -".split(),
]
# Cells that tell whether a column is one of numbers.
_SAMPLE = 100
# So pandas and others call the numbers of rows.
ROW_NUMBERS = re.compile(r"|Unnamed: [\d.]+|__index_level_\d+__")

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmbt])\s*", re.IGNORECASE)
# Mixtures of experts: 8x7B has 46.7 billion parameters, not 56.
_EXPERTS = re.compile(
    r"\s*\d+\s*[x*\u00d7]\s*\d+(\.\d+)?\s*[kmbt]?\s*"
    r"|\s*\d+(\.\d+)?[bt]-a\d+(\.\d+)?[mb]\s*",
    re.IGNORECASE,
)
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

# 1,5 is 1.5; 1,234 may be a thousand, and 0,234 may not.
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*")
_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
# Numbers as people write them, which are not read: 45%, 1.234,5 and 1 234.
_WRITTEN = re.compile(
    r"[+\-\u2212]?\d+([.,'\u2019 \u00a0\u202f]\d{3})*([.,]\d+)?\s*%?"
)


def where(path: pathlib.Path, row: int, name: str) -> str:
    """Returns how errors name a cell; the row below the header is 1."""
    return f"{path}, row {row}, column {name!r}"


def refuse_twice(
    path: pathlib.Path, there: Sequence[str], names: Iterable[str]
) -> None:
    """Refuses a name of several columns.

    Args:
      path: File, named in the error.
      there: Names of all its columns.
      names: Names that may stand there once.

    Raises:
      ValueError: One stands there twice.
    """
    counts = collections.Counter(there)
    for name in names:
        if counts[name] > 1:
            raise ValueError(f"{path}: there are two columns {name!r}")


def texts(
    column: pa.ChunkedArray, path: pathlib.Path, name: str
) -> pa.ChunkedArray:
    """Returns a column as text, "" where it is empty.

    Args:
      column: Cells of one column of a table.
      path: The file that it is from, for errors.
      name: The column's name, for errors.

    Raises:
      ValueError: A cell holds lists or structs, or bytes that are no UTF-8.
    """
    _refuse_nested(column, path, name)
    try:
        return column.cast(pa.string()).fill_null("")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{path}, column {name!r}: {column.type} is no text ({error})"
        ) from error


def strings(
    column: pa.ChunkedArray, path: pathlib.Path, name: str
) -> list[str]:
    """Returns a column as a list of texts, "" where it is empty.

    Args:
      column: Cells of one column of a table.
      path: The file that it is from, for errors.
      name: The column's name, for errors.

    Raises:
      ValueError: A cell holds lists or structs, or bytes that are no UTF-8.
    """
    return texts(column, path, name).to_pylist()


def numbers(
    column: pa.ChunkedArray,
    path: pathlib.Path,
    name: str,
    *,
    empty: bool = False,
    sizes: bool = False,
    decimal_comma: bool = False,
) -> np.ndarray:
    """Returns a column as float64, refusing what is no finite number.

    Whole numbers beyond 2^53 are rounded; True is 1; 1,5 is 1.5 where no cell
    of the column can be read otherwise.

    Args:
      column: Cells of one column of a table.
      path: The file that it is from, for errors.
      name: The column's name, for errors.
      empty: Whether a cell without a value is let through, as NaN.
      sizes: Whether "13B", "350M" and the like are numbers.
      decimal_comma: Whether a comma stands before the decimals, in 1,234 too.

    Raises:
      ValueError: A cell is empty, not a number or not finite; the message names
        it.
    """
    _refuse_nested(column, path, name)
    if is_number(column.type) or pa.types.is_null(column.type):
        values = column.cast(pa.float64(), safe=False)
        values = values.to_numpy(zero_copy_only=False).astype(np.float64)
        known = column.is_valid().to_numpy(zero_copy_only=False)
    else:
        values, known = _parsed(column, path, name, empty, sizes, decimal_comma)
    for i in np.flatnonzero(~np.isfinite(values)):
        if not (empty and (not known[i] or np.isnan(values[i]))):
            raise ValueError(
                f"{where(path, i + 1, name)}: "
                + (f"{values[i]} is not finite" if known[i] else "empty")
            )
    return values


def _parsed(column, path, name, empty, sizes, decimal_comma):
    """Returns the numbers of a column of text, and which cells are known."""
    cells = pyarrow.compute.utf8_trim_whitespace(texts(column, path, name))
    blank = pyarrow.compute.equal(cells, "")
    if empty:
        lower = pyarrow.compute.utf8_lower(cells)
        blank = pyarrow.compute.is_in(lower, pa.array(_MISSING))
    known = ~np.asarray(blank)
    cells = pyarrow.compute.if_else(blank, None, cells)
    if decimal_comma:
        _refuse_points(cells.to_pylist(), path, name)
    try:
        values = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        text = [cell or "" for cell in cells.to_pylist()]
        read = [_float(cell) for cell in text]  # Such as +1.
        if any(v is None and c for v, c in zip(read, text, strict=True)):
            read = _as_sizes(text, path, name) if sizes else None
        if read is None:
            read = _with_decimal_commas(text, decimal_comma)
        if read is None:
            _refuse_cell(text, path, name, sizes, decimal_comma)
        # Arrow refuses whole numbers that a float64 rounds.
        read = [None if v is None else float(v) for v in read]
        values = pa.chunked_array([pa.array(read, pa.float64())])
    return (
        values.fill_null(np.nan).to_numpy(zero_copy_only=False).astype(float),
        known,
    )


def _refuse_points(
    cells: list[str | None], path: pathlib.Path, name: str
) -> None:
    """Raises the error of a point that may stand after thousands."""
    for row, cell in enumerate(cells, start=1):
        if cell and _POINTS.fullmatch(cell):
            raise ValueError(
                f"{where(path, row, name)}: {cell} may be "
                f"{cell.replace('.', '')} with --decimal_comma; write "
                "thousands without a point, and a decimal comma"
            )


def _as_sizes(
    cells: list[str], path: pathlib.Path, name: str
) -> list[float | None] | None:
    """Returns "13B" as 13e9 and so on; None where a cell is something else.

    Raises:
      ValueError: 13 stands beside 7B, and may mean 13B; or a size is beyond
        all numbers.
    """
    read, with_unit = [], None
    for cell in cells:
        match = _SIZE.fullmatch(cell)
        value = _float(cell)
        if match is not None:
            size = float(match[1]) * _UNITS[match[2].lower()]
            if size == float("inf"):
                raise ValueError(
                    f"{where(path, len(read) + 1, name)}: {cell[:40]!r} is "
                    "beyond all numbers"
                )
            value = round(size)
            # 512 beside 4k is no size of a model.
            with_unit = cell if match[2] not in "kK" else with_unit
        elif cell and value is None:
            return None
        read.append(value)
    for row, (cell, value) in enumerate(zip(cells, read, strict=True), 1):
        bare = value is not None and value == _float(cell)
        if with_unit and bare and 0 < value < _UNITS["k"]:
            raise ValueError(
                f"{where(path, row, name)}: {cell} has no unit, and others of "
                f"the column have, such as {with_unit}; write it in each cell"
            )
    return read


def _with_decimal_commas(
    cells: list[str], are_sure: bool
) -> list[float | None] | None:
    """Returns "1,5" as 1.5 and so on; None where a cell may be otherwise.

    Args:
      cells: Cells of a column.
      are_sure: Whether a comma is that of decimals where it may be another.
    """
    if are_sure:
        values = [_float(cell.replace(",", ".")) for cell in cells]
        known = all(
            value is not None and cell.count(",") <= 1
            for value, cell in zip(values, cells, strict=True)
            if cell
        )
        return values if known else None
    if not all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells if cell):
        return None
    with_comma = [cell for cell in cells if "," in cell]
    if all(_THOUSANDS.fullmatch(cell) for cell in with_comma):
        return None
    return [_float(cell.replace(",", ".")) for cell in cells]


def _float(cell: str) -> float | None:
    # Python alone reads 1_000 and the digits of other scripts.
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _refuse_cell(
    cells: list[str],
    path: pathlib.Path,
    name: str,
    sizes: bool,
    decimal_comma: bool,
) -> None:
    """Raises the error of the first cell that is no number."""
    for row, cell in enumerate(cells, start=1):
        if cell and _float(cell) is None:
            advice = ""
            if decimal_comma and _float(cell.replace(",", ".")) is not None:
                continue
            if sizes and _SIZE.fullmatch(cell):
                continue
            if sizes and _EXPERTS.fullmatch(cell):
                advice = (
                    ": experts share layers, so that it has fewer parameters "
                    "than the product; give their total number, such as 46.7B"
                )
            elif sizes and _SIZE.fullmatch(cell.replace(",", ".")):
                advice = "; write a decimal point and no thousands: 1.3B"
            elif _DECIMAL_COMMA.fullmatch(cell):
                advice = (
                    "; write thousands without a comma, and a decimal point, "
                    "or say --decimal_comma"
                )
            elif _WRITTEN.fullmatch(cell.strip()):
                advice = (
                    "; write it with digits and a decimal point alone, without "
                    "a percent sign or anything between thousands"
                )
                if not sizes:
                    advice += "; --only_models leaves out what is no model"
            raise ValueError(
                f"{where(path, row, name)}: {cell!r} is not a number{advice}"
            )


def is_number(type_: pa.DataType) -> bool:
    """Returns whether a column's type is that of numbers."""
    return (
        pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_decimal(type_)
        or pa.types.is_boolean(type_)
    )


def is_numeric(column: pa.ChunkedArray) -> bool:
    """Returns whether at least half of a column's first cells are numbers.

    Numbers in a form that is not read, such as 45%, count too: reading says so.
    Empty cells do not count; a column of them alone is none of numbers.

    Args:
      column: Cells of one column of a table.
    """
    if is_number(column.type):
        return True
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_number(kind):
        return True
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        return False
    cells = []
    for start in range(0, len(column), _SAMPLE):
        cells += [
            cell.strip()
            for cell in column.slice(start, _SAMPLE).to_pylist()
            if cell is not None and cell.strip().lower() not in _MISSING
        ]
        if len(cells) >= _SAMPLE:
            break
    numbers = [
        cell
        for cell in cells
        if _float(cell) is not None
        or _DECIMAL_COMMA.fullmatch(cell)
        or _WRITTEN.fullmatch(cell)
    ]
    return bool(numbers) and 2 * len(numbers) >= len(cells)


def is_text(column: pa.ChunkedArray) -> bool:
    """Returns whether a column has cells that are no numbers, nor empty."""
    if is_number(column.type):
        return False
    if pa.types.is_nested(column.type):
        return True
    try:
        numbers(column, pathlib.Path(), "", empty=True, sizes=True)
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return "not a number" in str(error)
    return False


def _refuse_nested(
    column: pa.ChunkedArray, path: pathlib.Path, name: str
) -> None:
    if pa.types.is_nested(column.type):
        raise ValueError(
            f"{where(path, 1, name)}: a {column.type} stands here, as in the "
            "rest of the column; a cell holds one value"
        )
