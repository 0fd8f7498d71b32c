"""Known class ids, written in each of the ways that people and tools store labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.datasets.source import Source

CLASSES = ("background", "wound", "scar")
COLOURS = {"background": (0, 0, 0), "wound": (255, 0, 0), "scar": (0, 128, 255)}
SIZE = (16, 12)  # width and height

IDS = np.zeros(SIZE[::-1], np.uint8)
IDS[2:6, 3:9] = 1
IDS[7:11, 10:15] = 2
# The corners of these rectangles as tools have them: on the outermost pixels, or between pixels.
ON_PIXELS = {"wound": [(3, 2), (8, 2), (8, 5), (3, 5)], "scar": [(10, 7), (14, 7), (14, 10), (10, 10)]}
BETWEEN = {"wound": [(3, 2), (9, 2), (9, 6), (3, 6)], "scar": [(10, 7), (15, 7), (15, 11), (10, 11)]}


def source(label_format: str, classes: Sequence[str] = CLASSES, **more: Any) -> Source:
    return Source.from_config(
        {"images": "photos", "labels": "masks", "classes": list(classes), "label_format": label_format, **more}
    )


def save(path: Path, pixels: np.ndarray, **options: Any) -> str:
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def in_colours(ids: np.ndarray) -> np.ndarray:
    """Return class ids as ``(H, W, 3)``."""
    return np.array(list(COLOURS.values()), np.uint8)[ids]


def via_region(corners: Sequence[tuple[float, float]], **attributes: Any) -> dict[str, Any]:
    columns, rows = zip(*corners, strict=True)
    shape = {"name": "polygon", "all_points_x": list(columns), "all_points_y": list(rows)}
    return {"shape_attributes": shape, "region_attributes": attributes}


def via_project(regions: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a project of the VGG Image Annotator by image."""
    images = {
        f"{name}99": {"filename": name, "size": 99, "regions": own, "file_attributes": {}}
        for name, own in regions.items()
    }
    return {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {"region": {}, "file": {}}}


def write_via_table(path: Path, regions: Mapping[str, list[dict[str, Any]]]) -> Path:
    """Write the annotator's CSV: a row for each region, and one for each image without any."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ["filename", "file_size", "region_count", "region_id", "region_shape_attributes", "region_attributes"]
        )
        for name, own in regions.items():
            for number, region in enumerate(own or [{"shape_attributes": {}, "region_attributes": {}}]):
                parts = (json.dumps(region[key]) for key in ("shape_attributes", "region_attributes"))
                table.writerow([name, 99, len(own), number, *parts])
    return path


def coco(annotations: Sequence[Mapping[str, Any]], names: Sequence[str] = ("a.png",), size=SIZE) -> dict[str, Any]:
    """Return the content of a file in the format of COCO; annotations name their ``image`` and ``category``."""
    images = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]} for number, name in enumerate(names)
    ]
    own = [
        {
            "id": number,
            "image_id": names.index(each.get("image", names[0])),
            "category_id": CLASSES.index(each["category"]),
            "segmentation": each["segmentation"],
            "iscrowd": 0,
        }
        for number, each in enumerate(annotations, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES) if number]
    return {"images": images, "annotations": own, "categories": categories}


def labelme(shapes: Sequence[Mapping[str, Any]], image: str = "a.png", size=SIZE) -> dict[str, Any]:
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": None,
        "imageHeight": size[1],
        "imageWidth": size[0],
    }


def labelme_shape(label: str, points: Sequence[Sequence[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": [list(each) for each in points], "shape_type": kind, "flags": {}, **more}


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def runs_of(inside: np.ndarray) -> list[int]:
    """Return a mask ``(H, W)`` as runs of pixels down the columns, which start with one outside."""
    flat = np.concatenate([[False], inside.T.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *changes, inside.size]).tolist()


def compress(runs: Sequence[int]) -> str:
    """Return runs as the text that pycocotools writes (``rleToString``)."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr(bits + 32 * more + 48)
    return text
