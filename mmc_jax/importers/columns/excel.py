"""Spreadsheets of Excel and of what writes its format (.xlsx)."""

import contextlib
import pathlib
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa
from absl import logging

from mmc_jax import limits

_KINDS = {float: pa.float64(), bool: pa.bool_(), str: pa.string()}


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of a spreadsheet."""
    return path.name.lower().endswith((".xlsx", ".xlsm"))


def header(path: pathlib.Path) -> list[str]:
    """Returns no names: reading a sheet's first row takes as long as all."""
    return []


def read(
    path: pathlib.Path,
    text_columns: Sequence[str],
    only_columns: Sequence[str] | None,
) -> pa.Table:
    """Returns the columns of the first sheet: floats, truth values or strings.

    A formula is the value that it had when the file was saved.

    Raises:
      ImportError: openpyxl is not installed.
      ValueError: The file is no spreadsheet, or a formula has no value.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(
            f"{path}: spreadsheets need openpyxl (pip install openpyxl), or "
            "save the sheet as CSV"
        ) from error
    limits.check_archive("spreadsheet", path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            sheet = book.worksheets[0]
            others = book.sheetnames[1:]
            rows = [
                row
                for row in sheet.iter_rows(values_only=True)
                if any(cell is not None for cell in row)
            ]
    # What zipfile, zlib and parsers of XML raise has no common kind.
    except Exception as error:
        raise ValueError(f"{path}: no spreadsheet ({error})") from error
    if others:
        logging.warning(
            "%s: the sheet %r is read; ignored: %s",
            path,
            sheet.title,
            ", ".join(others),
        )
    if not rows:
        return pa.table({})
    if any(cell is None for row in rows[1:] for cell in row):
        _refuse_unsaved(path, openpyxl)
    header = [_text(cell) for cell in rows[0]]
    columns, names = [], []
    for i in range(max(map(len, rows))):
        cells = [row[i] if i < len(row) else None for row in rows[1:]]
        # So pandas writes an index; a column without a name is no model.
        name = header[i] if i < len(header) and header[i] else ""
        if not name and all(cell is None for cell in cells):
            continue
        names.append(name)
        kinds = {type(cell) for cell in cells if cell is not None} or {float}
        kind = _KINDS.get(kinds.pop()) if len(kinds) == 1 else None
        if kind is None or name.strip() in text_columns:
            kind = pa.string()
        if kind == pa.string():
            cells = [_text(cell) for cell in cells]
        columns.append(pa.array(cells, kind))
    return pa.table(columns, names=names)


def _refuse_unsaved(path: pathlib.Path, openpyxl: ModuleType) -> None:
    """Raises the error of a formula whose value was never saved.

    It reads as an empty cell; programs that only write a sheet leave it so.
    """
    values, formulas = (
        openpyxl.load_workbook(path, read_only=True, data_only=is_value)
        for is_value in (True, False)
    )
    try:
        pairs = zip(
            values.worksheets[0].iter_rows(values_only=True),
            formulas.worksheets[0].iter_rows(values_only=True),
            strict=False,
        )
        for row, (found, written) in enumerate(pairs, 1):
            for place, (value, cell) in enumerate(
                zip(found, written, strict=False)
            ):
                if value is None and cell is not None:
                    raise ValueError(
                        f"{path}, row {row - 1}, column {place + 1}: the "
                        f"formula {str(cell)[:40]!r} has no value; open the "
                        "file in a spreadsheet program and save it"
                    )
    finally:
        values.close()
        formulas.close()


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    # repr keeps every bit of a float; a whole one is that of an integer.
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return repr(cell) if isinstance(cell, int | float) else str(cell)
