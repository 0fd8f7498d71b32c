"""Tables: polygons of the VGG Image Annotator, and Excel workbooks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fuzzing import damage
from fuzzing.sources import noise
from fuzzing.targets import RIGHT, Target, Verdict, not_judged, silent

_COLUMNS = ["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
            "region_attributes"]  # fmt: skip
_SIZE = (40, 30)
_VIA = st.fixed_dictionaries(
    {
        "polygons": st.lists(
            st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29)), min_size=3, max_size=7), min_size=1, max_size=3
        ),
        "change": st.sampled_from([None, "order", "bom", "crlf", "utf-16", "latin-1", "semicolons", "no column",
                                   "twice", "circle", "ellipse", "rect", "no structure", "unknown structure",
                                   "text corner", "null corner", "nan corner", "huge corner", "negative corner",
                                   "float corner", "short",
                                   "unequal", "json", "list", "empty row", "quote", "shape null", "damage"]),
        "damage": damage.ANY,
    }
)  # fmt: skip
_SAME = (None, "order", "bom", "crlf", "twice", "empty row")


def _rows(plan: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for number, corners in enumerate(plan["polygons"]):
        shape: Any = {
            "name": "polygon",
            "all_points_x": [x for x, _ in corners],
            "all_points_y": [y for _, y in corners],
        }
        attributes: Any = {"Anatomy": "Capsule"}
        if number == 0:
            shape, attributes = _changed(plan["change"], shape, attributes)
        text = '{"name": "polygon", ' if plan["change"] == "json" and number == 0 else json.dumps(shape)
        values = ["image.png", "1", "{}", "1", str(number), text, json.dumps(attributes)]
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    if plan["change"] == "twice":
        rows.append({**rows[0], "region_id": "9"})
    if plan["change"] == "empty row":
        rows.append({**rows[0], "filename": "other.png", "region_shape_attributes": "{}", "region_attributes": "{}"})
    return rows


def _changed(change: str | None, shape: Any, attributes: Any) -> tuple[Any, Any]:
    corners = shape["all_points_x"]
    match change:
        case "circle" | "ellipse" | "rect":
            return {"name": change, "cx": 5, "cy": 6, "r": 3, "x": 1, "y": 2, "width": 5, "height": 6}, attributes
        case "no structure":
            return shape, {}
        case "unknown structure":
            return shape, {"Anatomy": "Spleen"}
        case "list":
            return shape, ["Capsule"]
        case "shape null":
            return None, attributes
        case "short":
            return {**shape, "all_points_x": corners[:2], "all_points_y": shape["all_points_y"][:2]}, attributes
        case "unequal":
            return {**shape, "all_points_x": corners[:-1]}, attributes
    odd = {"text corner": "5", "null corner": None, "nan corner": float("nan"), "huge corner": 10**30,
           "negative corner": -7, "float corner": 3.5}  # fmt: skip
    if change in odd:
        return {**shape, "all_points_x": [odd[change], *corners[1:]]}, attributes
    return shape, attributes


def _make_via(plan: dict[str, Any], place: Path, sources: Path) -> None:
    columns = list(_COLUMNS)
    match plan["change"]:
        case "order":
            columns = columns[::-1]
        case "no column":
            columns = columns[:-1]
    text = io.StringIO()
    delimiter = ";" if plan["change"] == "semicolons" else ","
    ending = "\r\n" if plan["change"] == "crlf" else "\n"
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator=ending, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_rows(plan))
    content = text.getvalue()
    if plan["change"] == "quote":
        content = content.replace('"', "", 1)
    encoding = {"bom": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}.get(plan["change"], "utf-8")
    path = place / "in" / "labels.csv"
    path.write_bytes(content.encode(encoding))
    if plan["change"] == "damage":
        damage.apply(plan["damage"], path)


def _run_via(plan: dict[str, Any], place: Path) -> np.ndarray:
    from common.datasets.issues import DatasetIssues
    from common.datasets.readers.kidneyus import STRUCTURES
    from common.datasets.readers.via import draw_mask, read_polygons

    issues = DatasetIssues("labels", place / "in")
    polygons = read_polygons(place / "in" / "labels.csv", STRUCTURES, issues)
    issues.raise_if_any()
    return draw_mask(polygons.get("image.png", {}), {"Capsule": 1}, _SIZE)


def _judge_via(plan: dict[str, Any], place: Path, result: np.ndarray, printed: str) -> Verdict:
    if plan["change"] == "damage" and not damage.is_cut(plan["damage"]):
        return not_judged("flipped bytes that nothing tells")
    if plan["change"] == "latin-1":
        plan = {**plan, "change": None}  # all is ASCII
    if plan["change"] in ("no structure", "shape null"):
        expected = _mask(plan["polygons"][1:])  # a shape without a structure is left out, as the docstring says
    elif plan["change"] in _SAME:
        expected = _mask(plan["polygons"])
    elif plan["change"] in ("negative corner", "float corner"):
        return not_judged("how a border is drawn between pixels is not fixed")
    else:
        return silent(f"read, though: {plan['change']}")
    return RIGHT if (result == expected).all() else silent("another mask than its polygons make")


def _mask(polygons: list[list[tuple[int, int]]]) -> np.ndarray:
    """Return the mask of polygons: an overlap is a hole, equal ones count once, borders belong to them."""
    inside, border = np.zeros(_SIZE[::-1], bool), Image.new("1", _SIZE)
    for corners in dict.fromkeys(tuple(tuple(each) for each in polygon) for polygon in polygons):
        area = Image.new("1", _SIZE)
        ImageDraw.Draw(area).polygon(list(corners), fill=1)
        inside ^= np.asarray(area)
        ImageDraw.Draw(border).line([*corners, corners[0]], fill=1)
    return (inside | np.asarray(border)).astype(np.uint8)


def _accepts_via(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in (None, "order", "bom", "crlf", "empty row")


VIA = Target("via", _VIA, _make_via, _run_via, _judge_via, _accepts_via)

_CELL = st.one_of(st.none(), st.integers(-5, 10**12), st.floats(), st.booleans(), st.text(max_size=6),
                  st.sampled_from(["=1+1", " 7 ", "007", "1e5", "ä", "2024-01-02"]))  # fmt: skip
_WORKBOOK = st.fixed_dictionaries(
    {
        "rows": st.lists(st.lists(_CELL, min_size=2, max_size=2), min_size=1, max_size=5),
        "change": st.sampled_from([None, "case", "below", "second sheet", "swapped", "renamed", "no rows", "damage",
                                   "csv", "xls", "twice"]),
        "damage": damage.ANY,
    }
)  # fmt: skip
_NAMES = ("Patient ID", "Image Number")


def _cells(plan: dict[str, Any]) -> list[list[Any]]:
    def fits(cell: Any) -> Any:
        if isinstance(cell, str):
            return "".join(each for each in cell if each.isprintable())
        return None if isinstance(cell, float) and not np.isfinite(cell) else cell

    return [[fits(cell) for cell in row] for row in plan["rows"]]


def _make_workbook(plan: dict[str, Any], place: Path, sources: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    names = list(_NAMES)
    match plan["change"]:
        case "case":
            names = [" PATIENT id ", "image number"]
        case "second sheet":
            sheet.append(["notes"])
            sheet = book.create_sheet("x")
        case "below":
            for _ in range(4):
                sheet.append(["a title", None])
        case "renamed":
            names[1] = "Picture"
        case "twice":
            names.append(names[0])
    rows = [] if plan["change"] == "no rows" else _cells(plan)
    for row in [names, *rows]:
        sheet.append(row[::-1] if plan["change"] == "swapped" else row)
    path = place / "in" / "book.xlsx"
    book.save(path)
    if plan["change"] == "damage":
        damage.apply(plan["damage"], path)
    elif plan["change"] in ("csv", "xls"):
        path.write_bytes(b"Patient ID,Image Number\n1,2\n" if plan["change"] == "csv" else noise(0, 900).tobytes())


def _run_workbook(plan: dict[str, Any], place: Path) -> list[dict[str, str]]:
    from common.datasets.workbooks import read_workbook

    return read_workbook(place / "in" / "book.xlsx", _NAMES)


def _judge_workbook(plan: dict[str, Any], place: Path, result: list[dict[str, str]], printed: str) -> Verdict:
    expected = [
        dict(zip(_NAMES, ("" if cell is None else str(cell).strip() for cell in row), strict=True))
        for row in (_cells(plan) if plan["change"] != "no rows" else [])
        if any(cell is not None and str(cell).strip() for cell in row)
    ]
    if any(isinstance(cell, str) and cell.startswith("=") for row in plan["rows"] for cell in row):
        return not_judged("a formula that no program has computed")
    if result == expected:
        return RIGHT
    if plan["change"] == "damage" and not damage.is_cut(plan["damage"]):
        return silent("other cells than in the workbook, whose checksums tell")
    if plan["change"] in ("renamed", "csv", "xls", "damage", "twice"):
        return silent(f"read, though: {plan['change']}")
    return not_judged("numbers as text") if _equal_as_numbers(result, expected) else silent(f"{result} for {expected}")


def _equal_as_numbers(found: list[dict[str, str]], expected: list[dict[str, str]]) -> bool:
    def number(text: str) -> float | str:
        try:
            return float({"True": "1", "False": "0"}.get(text, text))
        except ValueError:
            return text

    one, other = ([[number(each) for each in row.values()] for row in rows] for rows in (found, expected))
    flat = [[each for row in rows for each in row] for rows in (one, other)]
    return len(flat[0]) == len(flat[1]) and all(
        a == b or (isinstance(a, float) and isinstance(b, float) and np.isclose(a, b))
        for a, b in zip(*flat, strict=True)
    )


def _accepts_workbook(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] in (None, "case", "below", "second sheet", "swapped")


WORKBOOK = Target("workbook", _WORKBOOK, _make_workbook, _run_workbook, _judge_workbook, _accepts_workbook)
