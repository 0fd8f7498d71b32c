"""Phantoms of a dataset of one's own: plain shapes in the layout that its source describes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image, ImageDraw

from common.datasets.folder_files.names import with_suffix
from common.datasets.folder_files.places import Place, in_place
from common.datasets.phantoms.folder import phantom_folder
from common.datasets.phantoms.label_files import LabelWriter
from common.datasets.phantoms.own_lists import write_list
from common.datasets.phantoms.shapes import draw_outlines, fill_outlines, paint
from common.datasets.source import FOLDER, Source

_STRATA = ("a", "b")
_VOXEL = (1.5, 1.5, 4.0)  # millimetres
_NUM_SLICES = 10


def write_phantoms(
    folder: str | os.PathLike,
    source: Mapping[str, Any] | Source,
    num_images: int = 16,
    image_size: tuple[int, int] = (120, 160),
    seed: int = 0,
) -> Path:
    """Write images of plain shapes, one of each class, in the layout, channels and label format of a source.

    Names do not follow ``patient`` where it is a regular expression: phantoms have no patients.

    Args:
        folder: new folder to write, which appears only when it is complete.
        source: of the dataset.
        num_images: images, or volumes of ten slices.
        image_size: height and width in pixels.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty, or a key of the source is wrong.
    """
    source = Source.from_config(source)
    with phantom_folder(folder) as partial:
        labels, rows = LabelWriter(source, partial), []
        for index in range(num_images):
            split = ("training", "training", "test", "validation", "training")[index % 5]
            place = in_place(source, partial, split)
            stratum = _STRATA[index % 2]
            folders = [split] if place.split is None and source.split == FOLDER and not source.is_datalist else []
            folders += [stratum] if source.stratum == FOLDER else []
            name = "/".join([*folders, f"{index:03d}"])
            row = _write_image(np.random.default_rng((seed, index)), place, name, image_size, source, labels, partial)
            rows.append({**row, "split": split, "stratum": stratum, "patient": f"P{index:02d}"})
        labels.finish()
        if source.is_datalist:
            write_list(partial / source.images, source, rows)
    return Path(folder)


def _write_image(
    rng: np.random.Generator,
    place: Place,
    name: str,
    image_size: tuple[int, int],
    source: Source,
    labels: LabelWriter,
    root: Path,
) -> dict[str, Any]:
    """Write an image, or a volume, with its label and field of view; return their paths from the root by column."""
    size, num_classes = image_size[::-1], len(source.classes)
    folder = root / "images" if source.is_datalist else place.images
    suffix = ".nii.gz" if source.kind == "volumes" else ".png"
    path = folder / f"{with_suffix(name, source.image_suffix)}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if source.kind == "volumes":
        outlines = draw_outlines(rng, size, num_classes)
        around = np.zeros(image_size, np.uint8)  # the first and the last slice lie beyond the shapes
        middle = [fill_outlines(outlines, size)] * (_NUM_SLICES - 2)
        ids = np.stack([around, *middle, around], axis=-1)
        greys = [paint(rng, ids[..., index], num_classes, 1)[..., 0] for index in range(_NUM_SLICES)]
        write_nifti(path, np.stack(greys, axis=-1).astype(np.int16))
        row = labels.write_volume(name, path, ids, place.labels)
    else:
        outlines = draw_outlines(rng, size, num_classes)
        ids = fill_outlines(outlines, size)
        pixels = paint(rng, ids, num_classes, source.channels)
        if source.field_of_view is not None:
            view = Image.new("L", size)
            ImageDraw.Draw(view).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
            pixels = np.where(np.asarray(view)[..., None] > 0, pixels, 0).astype(np.uint8)
            fov = (root / "fields_of_view" if place.fov is None or source.is_datalist else place.fov) / f"{name}.png"
            fov.parent.mkdir(parents=True, exist_ok=True)
            view.save(fov)
        Image.fromarray(pixels if source.channels == 3 else pixels[..., 0]).save(path)
        row = labels.write_picture(name, path, ids, outlines, place.labels)
        if source.field_of_view is not None:
            row["fov"] = fov.relative_to(root).as_posix()
    return {"image": path.relative_to(root).as_posix(), **row}


def write_nifti(path: Path, values: np.ndarray) -> None:
    """Write a volume ``(H, W, D)`` as axial slices that are seen as they are given."""
    affine = np.diag([-_VOXEL[0], -_VOXEL[1], _VOXEL[2], 1.0])  # x to the left and y to the back, as DICOM has it
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(1, 0, 2)), affine), path)
