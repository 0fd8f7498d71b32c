"""Annotations in the format of COCO: polygons, and masks as runs of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasets.readers.polygons.annotations import COCO, Annotations, Region
from common.datasets.readers.polygons.corners import corners_of
from common.datasets.readers.polygons.rle import counts_from_text
from common.datasets.readers.polygons.shapes import CocoOutlines, Runs, Shape

_LISTS = ("images", "annotations", "categories")


def is_coco(content: Any) -> bool:
    """Tell whether JSON has the lists of COCO."""
    return isinstance(content, dict) and content.keys() >= set(_LISTS[:2])


def read_coco(content: Mapping[str, Any], path: Path) -> Annotations:
    """Return the regions of a file; an image without annotations has none.

    Args:
        content: for which :func:`is_coco` is true.
        path: for messages.
    """
    found = Annotations(COCO, path)
    tables = {name: _by_id(content.get(name), name, path, found.faults) for name in _LISTS}
    images: dict[Any, str] = {}
    for key, image in tables["images"].items():
        name = image.get("file_name")
        size: tuple[Any, Any] = (image.get("width"), image.get("height"))
        if not isinstance(name, str) or not name:
            found.faults.append(f"{path}: image {key}: has no file_name; export it again")
        elif name in found.regions:
            found.faults.append(f"{path}: {name}: is there twice; remove one of the two images")
        elif not all(type(side) is int and side > 0 for side in size):
            found.faults.append(f"{path}: {name}: expected width and height in pixels, got {size[0]!r} and {size[1]!r}")
        else:
            images[key], found.regions[name], found.sizes[name] = name, [], size
    for key, annotation in tables["annotations"].items():
        where = f"annotation {key}"
        try:
            image = _look_up(annotation.get("image_id"), images, "image")
            category = _look_up(annotation.get("category_id"), tables["categories"], "category")
            name = category.get("name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"its category {annotation['category_id']} has no name")
            shape = _shape(annotation.get("segmentation"))
            found.add(image, Region(shape, where, {"category": name}))
        except ValueError as error:
            found.faults.append(f"{path}: {where}: {error}")
    return found


def _by_id(entries: Any, name: str, path: Path, faults: list[str]) -> dict[Any, Mapping[str, Any]]:
    table: dict[Any, Mapping[str, Any]] = {}
    if not isinstance(entries, list):
        faults.append(f"{path}: expected a list of {name}, as in COCO, got {type(entries).__name__}")
        return table
    for entry in entries:
        key = entry.get("id") if isinstance(entry, dict) else None
        if type(key) not in (int, str) or key in table:
            faults.append(f"{path}: {name}: expected an id of its own for each, got {key!r}")
        else:
            table[key] = entry
    return table


def _look_up(key: Any, table: Mapping[Any, Any], what: str) -> Any:
    if type(key) not in (int, str) or key not in table:
        raise ValueError(f"there is no {what} {key!r} in the file")
    return table[key]


def _shape(segmentation: Any) -> Shape:
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"expected a mask with height and width as its size, got {size!r}")
        runs = counts_from_text(counts) if isinstance(counts, str) else counts
        whole = size[0] * size[1]
        if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs) or sum(runs) != whole:
            raise ValueError(f"expected a mask whose runs of pixels add up to {size[1]} x {size[0]}")
        return Runs(tuple(runs), (size[1], size[0]))
    if not segmentation:
        raise ValueError("has no outline, only a box; expected a polygon or a mask")
    polygons = segmentation if isinstance(segmentation, list) else [segmentation]
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError("expected a polygon as a list of x, y, x, y, ...")
    pairs = ([[x, y] for x, y in zip(each[::2], each[1::2], strict=True)] for each in polygons)
    return CocoOutlines(tuple(corners_of(each) for each in pairs))
