"""Polygons as the VGG Image Annotator writes them, and the masks that are drawn from them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from common.datasets.issues import DatasetIssues

Polygon = list[tuple[int, int]]  # corners as x, y in pixels

SHAPE, ATTRIBUTES = "region_shape_attributes", "region_attributes"  # columns
_FARTHEST = 2**16  # pixels from the origin; to fill a polygon takes time by its size
_COLUMNS = ("filename", SHAPE, ATTRIBUTES)


def read_polygons(
    path: Path, structures: Collection[str], issues: DatasetIssues, repeats: list[str] | None = None
) -> dict[str, dict[str, list[Polygon]]]:
    """Return the polygons of a table, by file name and by structure, which is the attribute "Anatomy".

    A row without a shape says that an image has been looked at. A shape without a structure is left out. A polygon that
    is there again, whatever corner it starts from and whichever way it runs, is one polygon: drawn twice, it would be a
    hole in itself.

    Args:
        path: the CSV.
        structures: the names that are known.
        issues: gets every row that cannot be understood.
        repeats: gets the rows whose polygon is there before, as "line 9 = line 2".
    """
    polygons: dict[str, dict[str, list[Polygon]]] = {}
    lines: dict[tuple, int] = {}
    for line, row in read_rows(path, issues, "use the mask PNGs"):
        shapes = polygons.setdefault(row["filename"], {})
        try:
            if None in row or None in row.values():
                raise ValueError("has not as many fields as the first row")
            shape, attributes = parse_object(row[SHAPE]), parse_object(row[ATTRIBUTES])
            structure = attributes.get("Anatomy")
            if shape and structure:
                _check_structure(structure, structures)
                polygon = _corners(shape)
                first = lines.setdefault((row["filename"], structure, _outline(polygon)), line)
                if first == line:
                    shapes.setdefault(structure, []).append(polygon)
                elif repeats is not None:
                    repeats.append(f"line {line} = line {first}")
        except ValueError as error:
            where = f"{path}: line {line}, {row['filename']}"
            issues.add(f"{where}: {error}; repair the row in the VGG Image Annotator, or use the mask PNGs")
    return polygons


def corners_outside(
    polygons: Mapping[str, Sequence[Polygon]], structures: Collection[str], size: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the corners of one image's polygons that lie outside of it, as of those drawn on an image of another size.

    Args:
        polygons: by structure.
        structures: those that count.
        size: width and height of the image.
    """
    corners = [corner for each in structures for polygon in polygons.get(each, []) for corner in polygon]
    return [(x, y) for x, y in corners if not (0 <= x <= size[0] and 0 <= y <= size[1])]


def draw_mask(
    polygons: Mapping[str, Sequence[Polygon]], values: Mapping[str, int], size: tuple[int, int]
) -> np.ndarray:
    """Return a mask, uint8 of shape ``(H, W)``, drawn from the polygons of one image.

    The border belongs to the polygon. Where two polygons of one structure overlap, the inside of one is a hole in the
    other. OpenCV, which the owners of KidneyUS used, places border pixels of steep lines a little differently than
    Pillow does: masks agree but for single pixels there.

    Args:
        polygons: by structure.
        values: the grey value of each structure, in the order in which they are drawn: later ones cover earlier ones.
        size: width and height of the image.
    """
    mask = np.zeros(size[::-1], np.uint8)
    for structure, value in values.items():
        inside, border = np.zeros(mask.shape, bool), Image.new("1", size)
        for polygon in polygons.get(structure, []):
            area = Image.new("1", size)
            ImageDraw.Draw(area).polygon(polygon, fill=1)
            inside ^= np.asarray(area)
            ImageDraw.Draw(border).line([*polygon, polygon[0]], fill=1)
        mask[inside | np.asarray(border)] = value
    return mask


def read_rows(path: Path, issues: DatasetIssues, otherwise: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a table with their lines, as far as it can be read.

    Args:
        path: the CSV.
        issues: gets what keeps it from being read.
        otherwise: what a user can do instead of repairing it, for messages.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        issues.add(f"{path}: cannot be opened ({error.strerror})")
        return []
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        issues.add(f"{path}: line {line} is not UTF-8; expected a CSV of the VGG Image Annotator, save it as UTF-8")
        return []
    table = csv.DictReader(io.StringIO(text, newline=""))
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        missing = [column for column in _COLUMNS if column not in (table.fieldnames or [])]
        if missing:
            issues.add(
                f"{path}: no column {', '.join(missing)}; expected a CSV of the VGG Image Annotator, in UTF-8 and with "
                "commas"
            )
            return []
        rows.extend((table.line_num, row) for row in table)
    except csv.Error as error:  # a quote that is not closed makes one field of all that follows
        line = rows[-1][0] if rows else 1
        issues.add(
            f"{path}: cannot be read after line {line} ({error}); look for a quote that is not closed, or {otherwise}"
        )
    return rows


def _outline(polygon: Polygon) -> tuple[tuple[int, int], ...]:
    """Return the corners of a polygon from its smallest one on, in the direction that comes first when sorted."""
    corners = [corner for corner, before in zip(polygon, polygon[-1:] + polygon[:-1], strict=True) if corner != before]
    starts = [place for place, corner in enumerate(corners) if corner == min(corners)]
    ways = [corners[start:] + corners[:start] for start in starts]
    return tuple(min([*ways, *([way[0], *way[:0:-1]] for way in ways)], default=polygon))


def parse_object(text: str | None) -> dict[str, Any]:
    """Return the JSON object in a field of a table.

    Raises:
        ValueError: if there is something else.
    """
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"malformed JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object such as {{}}, got {text}")
    return value


def _check_structure(structure: Any, known: Collection[str]) -> None:
    if structure not in known:
        raise ValueError(f"expected the anatomy to be one of {', '.join(known)}, got {structure!r}")


def _corners(shape: Mapping[str, Any]) -> Polygon:
    if shape.get("name") != "polygon":
        raise ValueError(f"expected a polygon, got a region of shape {shape.get('name')!r}")
    columns, rows = shape.get("all_points_x", []), shape.get("all_points_y", [])
    if not all(isinstance(each, list) for each in (columns, rows)):
        raise ValueError(f"expected lists of corners, got all_points_x {columns!r} and all_points_y {rows!r}")
    if len(columns) != len(rows) or len(rows) < 3:
        raise ValueError(f"expected a polygon of at least 3 corners, got {len(columns)} x and {len(rows)} y")
    odd = [each for each in (*columns, *rows) if type(each) not in (int, float) or not abs(each) < math.inf]
    if odd:
        raise ValueError(f"expected the corners of the polygon as numbers, got {odd[0]!r}")
    far = [each for each in (*columns, *rows) if abs(each) > _FARTHEST]
    if far:
        raise ValueError(
            f"expected the corners of the polygon in pixels, got {far[0]!r}, which is outside of any image"
        )
    return [(int(x), int(y)) for x, y in zip(columns, rows, strict=True)]
