"""DICOM slices, a file each: where they lie in the patient, and their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from common.datasets.readers.dicom_files import check_is_slice, numbers_of, open_dicom, value_of
from common.datasets.readers.dicom_pixels import read_format, read_values
from common.datasets.readers.dicom_signature import is_dicom
from common.errors import InputError

_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")


class Slice(NamedTuple):
    """One slice and where it lies, in millimetres and in DICOM's axes: to the left, to the back, to the head."""

    path: Path
    rows: int
    columns: int
    spacing: tuple[float, ...]  # from row to row, from column to column
    along_row: tuple[float, ...]  # unit vector from column to column
    along_column: tuple[float, ...]  # unit vector from row to row
    position: tuple[float, ...]  # of the first pixel
    series: str  # SeriesInstanceUID

    @property
    def depth(self) -> float:
        """Position along the normal of the slice."""
        return float(np.dot(np.cross(self.along_row, self.along_column), self.position))

    @property
    def plane(self) -> tuple[float, ...]:
        """What all slices of a volume have in common."""
        return (self.rows, self.columns, *self.spacing, *self.along_row, *self.along_column)


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Return a key that sorts ``slice10`` after ``slice9``, whatever the number of digits."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def list_slices(folder: Path) -> list[Path]:
    """Return the DICOM files of a folder, sorted naturally by name.

    Taken are files named ``.dcm``, whatever is in them, and those that begin as DICOM files do, whatever their names;
    not hidden files, nor the index of a disc.

    Raises:
        OSError: if a file whose name does not tell cannot be opened.
    """
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted((path for path in files if path.suffix.lower() == ".dcm" or is_dicom(path)), key=natural_key)


def read_slice(path: Path) -> Slice:
    """Read where a slice lies.

    Raises:
        InputError: if the file is empty, is not DICOM, has several frames or colours, or does not say where it lies or
            how its values are stored.
    """
    return _locate(open_dicom(path, stop_before_pixels=True), path)


def read_pixels(path: Path) -> tuple[Slice, np.ndarray]:
    """Read where a slice lies, and its values.

    Returns:
        The slice, and its rescaled values (Hounsfield units in CT), float32 of shape ``(columns, rows)``: the axis
        order of MONAI's readers, PILReader and PydicomReader among them.

    Raises:
        InputError: as :func:`read_slice` and :func:`common.datasets.readers.dicom_pixels.read_values` do.
    """
    dataset = open_dicom(path)
    return _locate(dataset, path), np.ascontiguousarray(read_values(dataset, path).T)


def modality_of(path: Path) -> str:
    """Return what a slice says that it was taken with, such as "CT", "MR" or "PT"; empty where it does not say.

    Raises:
        InputError: if the file cannot be read.
    """
    return str(value_of(open_dicom(path, stop_before_pixels=True), "Modality", path) or "")


def _locate(dataset: pydicom.Dataset, path: Path) -> Slice:
    check_is_slice(dataset, path)
    missing = [name for name in _GEOMETRY if value_of(dataset, name, path) is None]
    if missing:
        detector = missing == ["PixelSpacing"] and value_of(dataset, "ImagerPixelSpacing", path) is not None
        hint = " (its ImagerPixelSpacing is that of the detector, not of the patient)" if detector else ""
        copy = ", copy it again if it is cut off" if "Rows" in missing else ""
        raise InputError(
            f"{path}: has no {', '.join(missing)}{hint}; expected an image slice that says where it lies{copy}"
        )
    layout = read_format(dataset, path)
    spacing = numbers_of(dataset, "PixelSpacing", 2, path)
    directions = numbers_of(dataset, "ImageOrientationPatient", 6, path)
    position = numbers_of(dataset, "ImagePositionPatient", 3, path)
    if min(spacing) <= 0:
        raise InputError(f"{path}: its PixelSpacing is damaged; expected positive numbers, got {spacing}")
    axes = np.reshape(directions, (2, 3))
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise InputError(
            f"{path}: its ImageOrientationPatient is damaged; expected two unit vectors at a right angle, got "
            f"{directions}"
        )
    series = str(value_of(dataset, "SeriesInstanceUID", path) or "")
    return Slice(path, layout.rows, layout.columns, spacing, directions[:3], directions[3:], position, series)
