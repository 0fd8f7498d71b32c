"""Phantoms of Autooral: procedural photographs of mouths in the official layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openpyxl

from common.datasets.phantoms.folder import phantom_folder
from common.datasets.phantoms.mouth import draw_mouth


def write_phantoms(
    folder: str | os.PathLike,
    num_training: int = 8,
    num_validation: int = 10,
    num_test: int = 4,
    image_size: tuple[int, int] = (384, 512),
    seed: int = 0,
) -> Path:
    """Write procedural photographs with exact ulcer masks, in the layout and formats of Autooral.

    Patients have one to three training images each, as the workbook says.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_training: images in ``Train``.
        num_validation: images in ``Val``.
        num_test: images in ``Test``.
        image_size: height and width in pixels, which vary by a quarter.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    with phantom_folder(folder) as partial:
        counts = {"Train": num_training, "Val": num_validation, "Test": num_test}
        for index, (part, count) in enumerate(counts.items()):
            folders = [partial / part / f"{kind}_{part.lower()}" for kind in ("data", "mask")]
            for each in folders:
                each.mkdir(parents=True)
            for number in range(1, count + 1):
                rng = np.random.default_rng((seed, index, number))
                height, width = (round(length * rng.uniform(0.75, 1.25)) for length in image_size)
                for each, picture in zip(folders, draw_mouth(rng, (height, width)), strict=True):
                    picture.save(each / f"{number:04d}.png")
        _write_workbook(partial / "Training Set disease classification.xlsx", num_training)
    return Path(folder)


def _write_workbook(path: Path, num_images: int) -> None:
    """Write patients with one, two and three images in turn."""
    workbook = openpyxl.Workbook()
    workbook.active.append(["Patient ID", "Image Number"])
    patients = [patient for patient in range(1, num_images + 1) for _ in range(1 + (patient - 1) % 3)]
    for number, patient in enumerate(patients[:num_images], start=1):
        workbook.active.append([patient, number])
    workbook.save(path)
