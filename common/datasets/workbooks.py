"""Read Excel workbooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError


class NoReaderError(InputError):
    """There is a workbook, and openpyxl is not installed to read it."""


def read_workbook(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of an Excel workbook below the first row that names the columns, in whatever sheet it is.

    Args:
        path: an ``.xlsx`` file.
        columns: names of the columns to read; case and white space around them do not matter.

    Returns:
        One dictionary for each row that is not empty: the text of its cells by column, "" for an empty cell.

    Raises:
        NoReaderError: if openpyxl is not installed.
        InputError: if the file is missing or damaged, or no row names all columns.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    wanted = [column.casefold() for column in columns]
    for table in _read_sheets(path):
        for number, row in enumerate(table):
            names = [cell.casefold() for cell in row]
            if set(wanted) <= set(names):
                places = [names.index(name) for name in wanted]
                rows = ([cells[place] for place in places] for cells in table[number + 1 :])
                return [dict(zip(columns, cells, strict=True)) for cells in rows if any(cells)]
    raise InputError(f"{path}: no row names the columns {', '.join(columns)}; take the workbook as it was published")


def _read_sheets(path: Path) -> list[list[list[str]]]:
    """Return the text of every cell: for each sheet its rows, "" for an empty cell."""
    try:
        import openpyxl  # here because a released student is installed without it, and images need none of it
    except ImportError as error:
        raise NoReaderError(f"{path}: reading workbooks takes the package openpyxl; install it") from error
    try:
        book = openpyxl.load_workbook(path, data_only=True)
    except Exception as error:  # a damaged workbook fails in the ZIP, in the XML, or in what refers to what
        raise InputError(f"{path}: cannot be read as a workbook, copy it again ({error})") from error
    return [
        [["" if cell is None else str(cell).strip() for cell in row] for row in sheet.values]
        for sheet in book.worksheets
    ]
