"""Polygons as the VGG Image Annotator writes them, and the masks that are drawn from them."""

from __future__ import annotations

import csv
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
_COLUMNS = ("filename", SHAPE, ATTRIBUTES)


def read_polygons(
    path: Path, structures: Collection[str], issues: DatasetIssues
) -> dict[str, dict[str, list[Polygon]]]:
    """Return the polygons of a table, by file name and by structure, which is the attribute "Anatomy".

    A row without a shape says that an image has been looked at. A shape without a structure is left out.

    Args:
        path: the CSV.
        structures: the names that are known.
        issues: gets every row that cannot be understood.
    """
    polygons: dict[str, dict[str, list[Polygon]]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        table = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (table.fieldnames or [])]
        if missing:
            issues.add(
                f"{path}: no column {', '.join(missing)}; expected a CSV of the VGG Image Annotator, in UTF-8 and with "
                "commas"
            )
            return {}
        line = table.line_num
        try:
            for row in table:
                line = table.line_num
                shapes = polygons.setdefault(row["filename"], {})
                try:
                    shape, attributes = _parse_object(row[SHAPE]), _parse_object(row[ATTRIBUTES])
                    structure = attributes.get("Anatomy")
                    if shape and structure:
                        _check_structure(structure, structures)
                        shapes.setdefault(structure, []).append(_corners(shape))
                except ValueError as error:
                    where = f"{path}: line {line}, {row['filename']}"
                    issues.add(f"{where}: {error}; repair the row in the VGG Image Annotator, or use the mask PNGs")
        except csv.Error as error:  # a quote that is not closed makes one field of all that follows
            issues.add(
                f"{path}: cannot be read after line {line} ({error}); look for a quote that is not closed, or use the "
                "mask PNGs"
            )
    return polygons


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


def _parse_object(text: str | None) -> dict[str, Any]:
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
    return [(int(x), int(y)) for x, y in zip(columns, rows, strict=True)]
