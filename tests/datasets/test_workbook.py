"""Workbooks are read without a library for them, as openpyxl reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont

from common.datasets.workbooks import read_sheets

REAL = Path(__file__).parents[3] / "shared" / "data" / "PH2" / "PH2Dataset" / "PH2_dataset.xlsx"


def read_with_openpyxl(path: Path) -> list[list[list[str]]]:
    book = openpyxl.load_workbook(path, data_only=True)
    tables = [[["" if cell is None else str(cell).strip() for cell in row] for row in sheet.values] for sheet in book]
    return [[row for row in table if any(row)] for table in tables]


def filled_rows(path: Path) -> list[list[list[str]]]:
    return [[row for row in table if any(row)] for table in read_sheets(path)]


def test_text_numbers_and_gaps_of_all_sheets(tmp_path):
    book = openpyxl.Workbook()
    first = book.active
    first["B2"], first["AB2"], first["A5"], first["B5"] = "Name ", 7, "<ä & b>", 2.5
    first["C5"] = CellRichText("two ", TextBlock(InlineFont(b=True), "looks"))
    book.create_sheet("empty")
    book.create_sheet("third").append(["x", None, "y", 12])
    book.save(tmp_path / "book.xlsx")
    tables = filled_rows(tmp_path / "book.xlsx")
    assert tables == read_with_openpyxl(tmp_path / "book.xlsx")
    assert tables[0][1][:3] == ["<ä & b>", "2.5", "two looks"]


def test_strings_in_their_cells_and_targets_from_the_root(tmp_path):
    """As other programs than Excel write them."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    sheet = f'<sheets><sheet name="a" sheetId="1" r:id="rId1" xmlns:r="{relations}"/></sheets>'
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{main}">{sheet}</workbook>')
        target = '<Relationship Id="rId1" Target="/xl/worksheets/one.xml" Type="x"/>'
        book.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="x">{target}</Relationships>')
        cells = (
            '<c t="inlineStr"><is><t>a</t></is></c><c><v>4</v></c><c t="inlineStr" r="E1"><is><r><t>b</t></r></is></c>'
        )
        rows = f"<sheetData><row>{cells}</row></sheetData>"
        book.writestr("xl/worksheets/one.xml", f'<worksheet xmlns="{main}">{rows}</worksheet>')
    assert read_sheets(tmp_path / "book.xlsx") == [[["a", "4", "", "", "b"]]]


@pytest.mark.skipif(not REAL.is_file(), reason="needs the workbook of PH2 beside the project")
def test_the_workbook_of_ph2():
    assert filled_rows(REAL) == read_with_openpyxl(REAL)
