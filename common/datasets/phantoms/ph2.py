"""Phantoms of PH2: procedural dermoscopic images in the official layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openpyxl

from common.datasets.phantoms.dermoscopy import DIAGNOSES, draw_dermoscopy
from common.datasets.phantoms.folder import phantom_folder


def write_phantoms(
    folder: str | os.PathLike, num_images: int = 12, image_size: tuple[int, int] = (575, 766), seed: int = 0
) -> Path:
    """Write procedural dermoscopic images with exact lesion masks, in the layout and formats of PH2.

    Two in five are common nevi, two in five atypical nevi, one in five melanomas. The first label is stored with 24
    bits, the others with one, and sizes vary by a few pixels.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_images: images from ``IMD002`` on.
        image_size: height and width in pixels, about.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    diagnoses = {f"IMD{2 + index:03d}": DIAGNOSES[(0, 1, 2, 0, 1)[index % 5]] for index in range(num_images)}
    with phantom_folder(folder) as partial:
        for index, (name, diagnosis) in enumerate(diagnoses.items()):
            rng = np.random.default_rng((seed, index))
            height, width = image_size
            size = (height - int(rng.integers(0, 4)), width - int(rng.integers(0, 6)))
            image, label = draw_dermoscopy(rng, size, diagnosis)
            if index == 0:
                label = label.convert("RGB")
            for kind, picture in ((f"{name}_Dermoscopic_Image/{name}", image), (f"{name}_lesion/{name}_lesion", label)):
                path = partial / "PH2 Dataset images" / name / f"{kind}.bmp"
                path.parent.mkdir(parents=True)
                picture.save(path)
        _write_workbook(partial / "PH2_dataset.xlsx", diagnoses)
        _write_text(partial / "PH2_dataset.txt", diagnoses)
    return Path(folder)


def _write_workbook(path: Path, diagnoses: dict[str, str]) -> None:
    """Write the workbook as PH2 has it: a legend, the header in row 13, and the images sorted by diagnosis."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet["F2"] = "Legends"
    sheet["C12"] = "Clinical Diagnosis"
    for column, name in enumerate(("Image Name", "Histological Diagnosis", *DIAGNOSES), start=1):
        sheet.cell(13, column, name)
    for row, name in enumerate(sorted(diagnoses, key=lambda name: DIAGNOSES.index(diagnoses[name])), start=14):
        sheet.cell(row, 1, name)
        sheet.cell(row, 3 + DIAGNOSES.index(diagnoses[name]), "X")
    workbook.save(path)


def _write_text(path: Path, diagnoses: dict[str, str]) -> None:
    """Write the table as PH2 has it, with bars between the fields."""
    lines = ["||   Name || Histological Diagnosis || Clinical Diagnosis ||"]
    lines += [f"|| {name} || {'':22} || {DIAGNOSES.index(diagnoses[name]):18} ||" for name in sorted(diagnoses)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
