"""Phantoms of KidneyUS: procedural ultrasound images in the official layout, traced by two sonographers."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.datasets.phantoms.folder import phantom_folder
from common.datasets.phantoms.ultrasound import draw_kidney
from common.datasets.readers.kidneyus import VALUES
from common.datasets.readers.via import ATTRIBUTES, SHAPE, Polygon, draw_mask

_HEADER = ["filename", "file_size", "file_attributes", "region_count", "region_id", SHAPE, ATTRIBUTES]


def write_phantoms(
    folder: str | os.PathLike, num_exams: int = 24, image_size: tuple[int, int] = (480, 640), seed: int = 0
) -> Path:
    """Write procedural ultrasound images of kidneys, traced by two sonographers, in the layout and formats of KidneyUS.

    Every exam has a longitudinal view, with all classes. Every second one also has a transverse view, with the capsule
    and the central echo complex alone, which is stored as RGB.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_exams: number of exams; there are one and a half times as many images.
        image_size: height and width in pixels, which vary by a tenth.
        seed: the same seed writes the same bytes.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    with phantom_folder(folder) as partial:
        images = partial / "kidneyUS_images_14_june_2022"
        images.mkdir()
        tables: list[list[list[str | int]]] = [[], []]
        for index in range(num_exams):
            for view in ("Longitudinal", "Transverse")[: 1 + index % 2]:
                rng = np.random.default_rng((seed, index, view == "Transverse"))
                height, width = (round(length * rng.uniform(0.9, 1.1)) for length in image_size)
                image, tracings = draw_kidney(rng, (height, width), view == "Longitudinal")
                name = f"{index + 1}_IM-{rng.integers(1, 999):04d}-{rng.integers(1, 99):04d}_anon.png"
                image = image if view == "Longitudinal" else image.convert("RGB")
                image.save(images / name)
                for number, polygons in enumerate(tracings, start=1):
                    _write_masks(partial / "labels" / f"reviewed_masks_{number}", name, polygons, image.size)
                    tables[number - 1] += _table_rows(name, (images / name).stat().st_size, view, polygons)
        for number, rows in enumerate(tables, start=1):
            path = partial / "labels" / f"reviewed_labels_{number}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([_HEADER, *rows])
    return Path(folder)


def _write_masks(folder: Path, name: str, polygons: dict[str, Polygon], size: tuple[int, int]) -> None:
    for kind, values in VALUES.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        mask = draw_mask({structure: [polygon] for structure, polygon in polygons.items()}, values, size)
        Image.fromarray(mask).save(folder / kind / name)


def _table_rows(name: str, file_size: int, view: str, polygons: dict[str, Polygon]) -> list[list[str | int]]:
    """Return the rows of one image as the VGG Image Annotator writes them."""

    def compact(value: dict[str, Any]) -> str:
        return json.dumps(value, separators=(",", ":"))

    attributes = compact({"Quality": "Fair", "View": view, "Comments": "n/a"})
    rows: list[list[str | int]] = []
    for number, (structure, polygon) in enumerate(polygons.items()):
        columns, lines = zip(*polygon, strict=True)
        shape = compact({"name": "polygon", "all_points_x": columns, "all_points_y": lines})
        rows.append([name, file_size, attributes, len(polygons), number, shape, compact({"Anatomy": structure})])
    return rows
