"""Spreadsheets of Excel and of what writes its format (.xlsx)."""

import pathlib
import zipfile
from collections.abc import Sequence

import pyarrow as pa
from absl import logging

from mmc_jax import limits


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
    """Returns the columns of the first sheet, strings unless all are floats.

    A formula is the value that it had when the file was saved.

    Raises:
      ImportError: openpyxl is not installed.
      ValueError: The file is no spreadsheet, or its first row names no columns.
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
    except (
        zipfile.BadZipFile,
        openpyxl.utils.exceptions.InvalidFileException,
        KeyError,
    ) as error:
        raise ValueError(f"{path}: no spreadsheet ({error})") from error
    try:
        sheet = book.worksheets[0]
        others = book.sheetnames[1:]
        rows = [
            row
            for row in sheet.iter_rows(values_only=True)
            if any(cell is not None for cell in row)
        ]
    finally:
        book.close()
    if others:
        logging.warning(
            "%s: the sheet %r is read; ignored: %s",
            path,
            sheet.title,
            ", ".join(others),
        )
    if not rows:
        return pa.table({})
    header = [_text(cell) for cell in rows[0]]
    width = len(header)
    while width and header[width - 1] is None:
        width -= 1
    columns = []
    for i in range(width):
        if header[i] is None:
            raise ValueError(
                f"{path}, row 0: column {i + 1} has no name; the first row "
                "names the columns"
            )
        cells = [row[i] if i < len(row) else None for row in rows[1:]]
        if str(header[i]).strip() not in text_columns and all(
            cell is None or type(cell) is float for cell in cells
        ):
            columns.append(pa.array(cells, pa.float64()))
            continue
        columns.append(pa.array([_text(cell) for cell in cells], pa.string()))
    return pa.table(columns, names=header[:width])


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    # repr keeps every bit of a float; a whole one is that of an integer.
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return repr(cell) if isinstance(cell, int | float) else str(cell)
