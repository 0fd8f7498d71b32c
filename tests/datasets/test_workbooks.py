"""Workbooks are read, and what is none is named."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont

from common.datasets.workbooks import NoReaderError, read_workbook
from common.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "PH2" / "PH2Dataset" / "PH2_dataset.xlsx"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def write_workbook(path, rows, sheet="Sheet1"):
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.create_sheet(sheet, 9).append([]) if row is None else workbook.worksheets[-1].append(row)
    workbook.save(path)
    return path


def test_workbook_is_read_below_the_row_that_names_the_columns(tmp_path):
    rows = [["a title"], [], ["No", "patient id ", "Image Number"], [1, "P1", 7], [None, None, None], [2, "P2", None]]
    path = write_workbook(tmp_path / "table.xlsx", rows)
    assert read_workbook(path, ["Image Number", "Patient ID"]) == [
        {"Image Number": "7", "Patient ID": "P1"},
        {"Image Number": "", "Patient ID": "P2"},
    ]


def test_workbook_is_read_from_whatever_sheet_has_the_columns(tmp_path):
    path = write_workbook(tmp_path / "table.xlsx", [["notes"], None, ["Patient ID"], ["P1"]])
    assert read_workbook(path, ["Patient ID"]) == [{"Patient ID": "P1"}]


def test_workbook_without_the_columns_is_named_with_them(tmp_path):
    path = write_workbook(tmp_path / "table.xlsx", [["Patient", "Image Number"], ["P1", 7]])
    with pytest.raises(InputError, match=r"table\.xlsx: no row names the columns Patient ID, Image Number"):
        read_workbook(path, ["Patient ID", "Image Number"])


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "cannot be read"), (b"PK", "cannot be")])
def test_file_that_is_no_workbook_is_named(tmp_path, content, reason):
    path = tmp_path / "table.xlsx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"table\.xlsx: {reason}"):
        read_workbook(path, ["Patient ID"])


def test_numbers_and_text_of_several_looks_are_read_as_text(tmp_path):
    looks = CellRichText("two ", TextBlock(InlineFont(b=True), "looks"))
    path = write_workbook(tmp_path / "table.xlsx", [["a", "b", "c"], [7, " <ä & b> ", 2.5], [looks, None, "x"]])
    rows = [{"a": "7", "b": "<ä & b>", "c": "2.5"}, {"a": "two looks", "b": "", "c": "x"}]
    assert read_workbook(path, ["a", "b", "c"]) == rows


def test_strings_that_lie_in_their_cells_are_read(tmp_path):
    """As other programs than Excel write them."""
    path = write_workbook(tmp_path / "table.xlsx", [["shared"], ["strings"]])
    sheet = ElementTree.Element("worksheet", xmlns=MAIN)
    rows = ElementTree.SubElement(sheet, "sheetData")
    for number, text in ((1, "a"), (3, "P1")):
        row = ElementTree.SubElement(rows, "row", r=str(number))
        cell = ElementTree.SubElement(row, "c", r=f"B{number}", t="inlineStr")
        ElementTree.SubElement(ElementTree.SubElement(cell, "is"), "t").text = text
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, ElementTree.tostring(sheet) if name.endswith("sheet1.xml") else content)
    assert read_workbook(path, ["a"]) == [{"a": "P1"}]


def test_without_openpyxl_what_to_install_is_said(tmp_path, monkeypatch):
    path = write_workbook(tmp_path / "table.xlsx", [["a"], [1]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(NoReaderError, match=r"table\.xlsx: reading workbooks takes the package openpyxl; install it"):
        read_workbook(path, ["a"])


def laid_out_as_ph2(path):
    """Write a workbook as that of PH2: its columns in row 13, an X for the diagnosis of each of 200 images."""
    above = [[], ["PH2 dataset"], *([[None, "legend"]] * 10)]
    columns = ["Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma"]
    marks = [("X", None, None)] * 80 + [(None, "X", None)] * 80 + [(None, None, "X")] * 40
    rows = [[f"IMD{number:03d}", None, *mark] for number, mark in enumerate(marks, start=2)]
    return write_workbook(path, [*above, columns, *rows])


# PH2 may not be passed on: its own workbook is read too where it lies beside the project.
@pytest.mark.parametrize("real", [False, *([True] if REAL.is_file() else [])])
def test_the_workbook_of_ph2(real, tmp_path):
    rows = read_workbook(REAL if real else laid_out_as_ph2(tmp_path / "table.xlsx"), ["Image Name", "Melanoma"])
    names = [row["Image Name"] for row in rows if row["Image Name"].startswith("IMD")]
    assert len(names) == len(set(names)) == 200
    assert sum(row["Melanoma"] == "X" for row in rows) == 40
