"""Columns of tables as people write them: text, numbers and sizes."""

import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute

# What stands in a cell that has no value.
_MISSING = ("", "na", "n/a", "nan", "none", "null", "-")

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmbt])\s*", re.IGNORECASE)
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

# 1,5 is 1.5; 1,234 may be a thousand, and 0,234 may not.
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*")
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")


def where(path: pathlib.Path, row: int, name: str) -> str:
    """Returns how errors name a cell; the row below the header is 1."""
    return f"{path}, row {row}, column {name!r}"


def strings(
    column: pa.ChunkedArray, path: pathlib.Path, name: str
) -> list[str]:
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
        return column.cast(pa.string()).fill_null("").to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{path}, column {name!r}: {column.type} is no text ({error})"
        ) from error


def numbers(
    column: pa.ChunkedArray,
    path: pathlib.Path,
    name: str,
    *,
    empty: bool = False,
    sizes: bool = False,
    cure: str = "",
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
      cure: What errors propose.

    Raises:
      ValueError: A cell is empty, not a number or not finite; the message names
        it.
    """
    _refuse_nested(column, path, name)
    if is_number(column.type):
        values = column.cast(pa.float64(), safe=False)
        values = values.to_numpy(zero_copy_only=False).astype(np.float64)
        known = column.is_valid().to_numpy(zero_copy_only=False)
    else:
        values, known = _parsed(column, path, name, empty, sizes, cure)
    for i in np.flatnonzero(~np.isfinite(values)):
        if not (empty and (not known[i] or np.isnan(values[i]))):
            raise ValueError(
                f"{where(path, i + 1, name)}: "
                + (f"{values[i]} is not finite" if known[i] else "empty")
                + cure
            )
    return values


def _parsed(column, path, name, empty, sizes, cure):
    """Returns the numbers of a column of text, and which cells are known."""
    cells = pyarrow.compute.utf8_trim_whitespace(
        column.cast(pa.string()).fill_null("")
    )
    blank = pyarrow.compute.equal(cells, "")
    if empty:
        lower = pyarrow.compute.utf8_lower(cells)
        blank = pyarrow.compute.is_in(lower, pa.array(_MISSING))
    known = ~np.asarray(blank)
    cells = pyarrow.compute.if_else(blank, None, cells)
    try:
        values = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        text = [cell or "" for cell in cells.to_pylist()]
        read = _as_sizes(text) if sizes else None
        read = _with_decimal_commas(text) if read is None else read
        if read is None:
            _refuse_cell(text, path, name, cure)
        values = pa.chunked_array([pa.array(read, pa.float64())])
    return (
        values.fill_null(np.nan).to_numpy(zero_copy_only=False).astype(float),
        known,
    )


def _as_sizes(cells: list[str]) -> list[float | None] | None:
    """Returns "13B" as 13e9 and so on; None where a cell is something else."""
    read = []
    for cell in cells:
        match = _SIZE.fullmatch(cell)
        value = _float(cell)
        if match is not None:
            value = round(float(match[1]) * _UNITS[match[2].lower()])
        elif cell and value is None:
            return None
        read.append(value)
    return read


def _with_decimal_commas(cells: list[str]) -> list[float | None] | None:
    """Returns "1,5" as 1.5 and so on; None where a cell may be otherwise."""
    if not all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells if cell):
        return None
    with_comma = [cell for cell in cells if "," in cell]
    if all(_THOUSANDS.fullmatch(cell) for cell in with_comma):
        return None
    return [_float(cell.replace(",", ".")) for cell in cells]


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _refuse_cell(
    cells: list[str], path: pathlib.Path, name: str, cure: str
) -> None:
    """Raises the error of the first cell that is no number."""
    for row, cell in enumerate(cells, start=1):
        if cell and _float(cell) is None:
            advice = cure
            if _DECIMAL_COMMA.fullmatch(cell):
                advice = (
                    "; write thousands without a comma, and a decimal point"
                )
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
