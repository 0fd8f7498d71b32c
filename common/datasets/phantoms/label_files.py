"""Labels of phantoms, drawn in the way that a source says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from common.datasets.folder_files.names import join_suffixes, with_suffix
from common.datasets.phantoms.shapes import Polygon
from common.datasets.source import Source


class LabelWriter:
    """Writes labels; polygons that are in one file for all images when :meth:`finish` is called.

    Args:
        source: says how labels are drawn, and how their files are called.
        root: folder of the dataset.
    """

    def __init__(self, source: Source, root: Path) -> None:
        self.source = source
        self.root = root
        self._regions: dict[str, tuple[tuple[int, int], dict[int, Polygon]]] = {}  # of each image, with its size

    def write_picture(
        self, name: str, image: Path, ids: np.ndarray, outlines: dict[int, Polygon], folder: Path
    ) -> dict[str, str]:
        """Write the label of a picture and return its columns of a datalist.

        Args:
            name: of the image.
            image: its file.
            ids: class ids ``(H, W)``.
            outlines: of each class, for polygons.
            folder: of labels; or the file that has all polygons.
        """
        if self.source.label_format == "polygons":
            return {"label": self._add_polygons(name, image, ids.shape[::-1], outlines, folder)}
        return self._write(name, folder, ids, ".png", lambda path, values: Image.fromarray(values).save(path))

    def write_volume(self, name: str, image: Path, ids: np.ndarray, folder: Path) -> dict[str, str]:
        """Write the label ``(H, W, D)`` of a volume where the volume lies, and return its columns of a datalist."""
        volume: Any = nibabel.load(image)
        affine = volume.affine

        def save(path: Path, values: np.ndarray) -> None:
            nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(1, 0, 2)), affine), path)

        return self._write(name, folder, ids, ".nii.gz", save)

    def finish(self) -> None:
        """Write what all images share."""
        if self._regions:
            assert self.source.labels is not None  # they are for this file
            path = self.root / self.source.labels
            path.parent.mkdir(parents=True, exist_ok=True)
            (_write_via if path.suffix.lower() == ".csv" else _write_coco)(path, self._regions, self._called())

    def _write(self, name: str, folder: Path, ids: np.ndarray, suffix: str, save: Any) -> dict[str, str]:
        source = self.source
        if source.is_datalist and source.labels is None:
            folder = self.root / "labels"
        values = {"label": (folder / f"{with_suffix(name, source.label_suffix)}{suffix}", self._values(ids))}
        if source.label_format == "file_per_class":
            values = {}
            for each, text in (source.class_files or {}).items():
                part, ending = (text, "") if text.endswith("/") else ("", text)
                path = folder / part / f"{with_suffix(name, join_suffixes(ending, source.label_suffix))}{suffix}"
                values[each] = (path, (ids == source.id_of(each)).astype(np.uint8) * 255)
        columns = {}
        for column, (path, pixels) in values.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, pixels)
            columns[column] = path.relative_to(self.root).as_posix()
        return columns if source.labels is None or not source.is_datalist else {}

    def _values(self, ids: np.ndarray) -> np.ndarray:
        source = self.source
        if source.label_format == "black_white":
            return (ids > 0).astype(np.uint8) * 255
        if source.label_format == "colours":
            colours = source.colours or {}
            return np.array([colours.get(name, (0, 0, 0)) for name in source.classes], np.uint8)[ids]
        greys = {index: grey for grey, index in reversed((source.values or {}).items())}
        return np.array([greys.get(index, index) for index in range(len(source.classes))], np.uint8)[ids]

    def _called(self) -> dict[int, str]:
        """Return what each class is called in files of polygons."""
        return {
            index: (self.source.polygons or {}).get(name, name)
            for index, name in enumerate(self.source.classes)
            if index > 0
        }

    def _add_polygons(
        self, name: str, image: Path, size: tuple[int, int], outlines: dict[int, Polygon], folder: Path
    ) -> str:
        if self.source.labels is not None and Path(self.source.labels).suffix.lower() in (".csv", ".json"):
            self._regions[image.name] = (size, outlines)
            return self.source.labels
        if self.source.is_datalist and self.source.labels is None:
            folder = self.root / "labels"
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        called = self._called()
        content: dict[str, Any] = {
            "version": "5.0.0",
            "shapes": [
                {"label": called[index], "points": outline, "shape_type": "polygon", "flags": {}, "group_id": None}
                for index, outline in outlines.items()
            ],
            "imagePath": image.name,
            "imageData": None,
            "imageWidth": size[0],
            "imageHeight": size[1],
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path.relative_to(self.root).as_posix()


def _write_via(path: Path, regions: dict[str, tuple[Any, dict[int, Polygon]]], called: dict[int, str]) -> None:
    """Write polygons as the VGG Image Annotator exports them."""
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        for name, (_, outlines) in regions.items():
            for number, (index, outline) in enumerate(outlines.items()):
                xs, ys = ([round(point[axis]) for point in outline] for axis in (0, 1))
                shape = json.dumps({"name": "polygon", "all_points_x": xs, "all_points_y": ys})
                writer.writerow([name, 0, "{}", len(outlines), number, shape, json.dumps({"name": called[index]})])


def _write_coco(path: Path, regions: dict[str, tuple[Any, dict[int, Polygon]]], called: dict[int, str]) -> None:
    images = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]}
        for number, (name, (size, _)) in enumerate(regions.items(), start=1)
    ]
    annotations: list[dict[str, Any]] = []
    for image, (_, outlines) in zip(images, regions.values(), strict=True):
        for index, outline in outlines.items():
            flat = [value for point in outline for value in point]
            annotation = {"image_id": image["id"], "category_id": index, "segmentation": [flat], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **annotation})
    categories = [{"id": index, "name": name} for index, name in called.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
