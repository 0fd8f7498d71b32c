"""Regions of the VGG Image Annotator: its projects, and its exports as CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasets.issues import DatasetIssues
from common.datasets.readers.polygons.annotations import VIA, Annotations, Region
from common.datasets.readers.polygons.corners import corners_of, numbers
from common.datasets.readers.polygons.shapes import Ellipse, Outline, Shape
from common.datasets.readers.via import ATTRIBUTES, SHAPE, parse_object, read_rows

_PROJECT = "_via_img_metadata"  # where a project has what an export is alone
_COLUMNS = {"filename", SHAPE, ATTRIBUTES}


def is_via_table(columns: list[str]) -> bool:
    """Tell whether a table with these columns is an export of the annotator."""
    return set(columns) >= _COLUMNS


def is_via(content: Any) -> bool:
    """Tell whether JSON is a project of the annotator, or an export."""
    if not isinstance(content, dict):
        return False
    if _PROJECT in content:
        return True
    return bool(content) and all(
        isinstance(each, dict) and {"filename", "regions"} <= each.keys() for each in content.values()
    )


def read_via_table(path: Path) -> Annotations:
    """Return the regions of a CSV; a row without a shape says that an image has been looked at."""
    issues, found = DatasetIssues("annotations", path.parent), Annotations(VIA, path)
    for line, row in read_rows(path, issues, "export it again"):
        image, where = row["filename"], f"line {line}"
        found.regions.setdefault(image, [])
        try:
            if None in row or None in row.values():
                raise ValueError("has not as many fields as the first row")
            shape = parse_object(row[SHAPE])
            if shape:
                found.add(image, _region(shape, parse_object(row[ATTRIBUTES]), where))
        except ValueError as error:
            found.faults.append(f"{path}: {where}, {image}: {error}")
    found.faults += issues.messages
    return found


def read_via(content: Mapping[str, Any], path: Path) -> Annotations:
    """Return the regions of a project or of an export as JSON.

    Args:
        content: for which :func:`is_via` is true.
        path: for messages.
    """
    found, images = Annotations(VIA, path), content.get(_PROJECT, content)
    if not isinstance(images, dict):
        found.faults.append(f"{path}: expected images by name under {_PROJECT}, got {images!r}")
        return found
    for key, entry in images.items():
        image = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(image, str) or not image:
            found.faults.append(f"{path}: {key}: has no file name; export it again")
            continue
        if image in found.regions:
            found.faults.append(f"{path}: {image}: is there twice; remove one of the two images")
            continue
        found.regions[image] = []
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # as version 1 writes them
        for number, region in enumerate(regions if isinstance(regions, list) else [regions], start=1):
            where = f"region {number}"
            try:
                if not isinstance(region, dict):
                    raise ValueError(f"expected a region, got {region!r}")
                found.add(image, _region(region.get("shape_attributes"), region.get("region_attributes") or {}, where))
            except ValueError as error:
                found.faults.append(f"{path}: {image}, {where}: {error}")
    return found


def _region(shape: Any, attributes: Any, where: str) -> Region:
    if not isinstance(shape, dict) or not isinstance(attributes, dict):
        raise ValueError(f"expected a shape with attributes, got {shape!r} and {attributes!r}")
    named = {attribute: name for attribute, value in attributes.items() if (name := _name_in(attribute, value))}
    return Region(_outline(shape), where, named)


def _outline(shape: Mapping[str, Any]) -> Shape:
    kind = shape.get("name")
    if kind == "polygon":
        columns, rows = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(columns, list) or not isinstance(rows, list):
            raise ValueError(f"expected lists of corners, got all_points_x {columns!r} and all_points_y {rows!r}")
        if len(columns) != len(rows):
            raise ValueError(f"expected a polygon of at least 3 corners, got {len(columns)} x and {len(rows)} y")
        return Outline(corners_of([list(corner) for corner in zip(columns, rows, strict=True)]))
    if kind == "rect":
        x, y, width, height = numbers(*(shape.get(each) for each in ("x", "y", "width", "height")))
        return Outline(((x, y), (x + width, y), (x + width, y + height), (x, y + height)))
    if kind == "circle":
        x, y, radius = numbers(*(shape.get(each) for each in ("cx", "cy", "r")))
        return Ellipse((x, y), (radius, radius))
    if kind == "ellipse":
        x, y, *radii = numbers(*(shape.get(each) for each in ("cx", "cy", "rx", "ry")))
        (turned,) = numbers(shape.get("theta", 0))
        return Ellipse((x, y), (radii[0], radii[1]), turned)
    raise ValueError(f"expected a polygon, rect, circle or ellipse, got a region of shape {kind!r}")


def _name_in(attribute: str, value: Any) -> str:
    """Return what an attribute says: a text, or the one choice of several that is ticked."""
    if isinstance(value, dict):
        ticked = [name for name, is_ticked in value.items() if is_ticked]
        if len(ticked) > 1:
            raise ValueError(f"has {' and '.join(map(repr, ticked))} in {attribute}; a region has one class")
        return ticked[0] if ticked else ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected the attribute {attribute} as a text, got {value!r}")
    return str(value).strip()
