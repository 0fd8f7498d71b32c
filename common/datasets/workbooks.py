"""Read Excel workbooks."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from common.errors import InputError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_sheets(path: str | Path) -> list[list[list[str]]]:
    """Return the text of every cell of an ``.xlsx`` file: for each sheet its rows, "" for an empty cell.

    Raises:
        Exception: if the file is damaged, from wherever in ZIP or XML that shows.
    """
    with zipfile.ZipFile(path) as archive:
        strings = _shared_strings(archive)
        parts = _sheet_parts(archive)
        return [_rows(ElementTree.fromstring(archive.read(part)), strings) for part in parts]


def _sheet_parts(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the sheets' files, in the order of the sheets."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {relation.attrib["Id"]: relation.attrib["Target"] for relation in relations}
    sheets = ElementTree.fromstring(archive.read("xl/workbook.xml")).iter(f"{_MAIN}sheet")
    parts = [PurePosixPath("/xl", targets[sheet.attrib[_RELATION]]) for sheet in sheets]  # some targets start with /
    return [part.as_posix().lstrip("/") for part in parts if part.parts[-2] == "worksheets"]


def _shared_strings(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    return [_text(item) for item in ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))]


def _text(element: ElementTree.Element) -> str:
    """Return a string that may be in several pieces of different looks, without hints on pronunciation."""
    pieces = [*element.findall(f"{_MAIN}t"), *element.findall(f"{_MAIN}r/{_MAIN}t")]
    return "".join(piece.text or "" for piece in pieces)


def _rows(sheet: ElementTree.Element, strings: list[str]) -> list[list[str]]:
    rows = []
    for row in sheet.iter(f"{_MAIN}row"):
        cells: list[str] = []
        for cell in row.iter(f"{_MAIN}c"):
            place = _column(cell.attrib["r"]) if "r" in cell.attrib else len(cells)
            cells += [""] * (place + 1 - len(cells))
            cells[place] = _value(cell, strings).strip()
        rows.append(cells)
    width = max(map(len, rows), default=0)
    return [cells + [""] * (width - len(cells)) for cells in rows]


def _column(reference: str) -> int:
    """Return the number, from 0, of the column in a reference such as ``AB12``."""
    number = 0
    for letter in re.match("[A-Z]+", reference)[0]:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: ElementTree.Element, strings: list[str]) -> str:
    kind = cell.attrib.get("t")
    if kind == "inlineStr":
        return _text(cell.find(f"{_MAIN}is"))
    value = cell.find(f"{_MAIN}v")
    if value is None or not value.text:
        return ""
    return strings[int(value.text)] if kind == "s" else value.text


def read_workbook(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of an Excel workbook below the first row that names the columns, in whatever sheet it is.

    Args:
        path: an ``.xlsx`` file.
        columns: names of the columns to read; case and white space around them do not matter.

    Returns:
        One dictionary for each row that is not empty: the text of its cells by column, "" for an empty cell.

    Raises:
        InputError: if the file is missing or damaged, or no row names all columns.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tables = read_sheets(path)
    except Exception as error:  # a damaged workbook fails in the ZIP, in the XML, or in what refers to what
        raise InputError(f"{path}: cannot be read as a workbook, copy it again ({error})") from error
    wanted = [column.casefold() for column in columns]
    for table in tables:
        for number, row in enumerate(table):
            names = [cell.casefold() for cell in row]
            if set(wanted) <= set(names):
                places = [names.index(name) for name in wanted]
                rows = ([cells[place] for place in places] for cells in table[number + 1 :])
                return [dict(zip(columns, cells, strict=True)) for cells in rows if any(cells)]
    raise InputError(f"{path}: no row names the columns {', '.join(columns)}; take the workbook as it was published")
