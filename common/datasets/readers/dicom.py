"""DICOM slices, a file each: where they lie in the patient, and their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from common.errors import InputError

_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")


class Slice(NamedTuple):
    """One slice and where it lies, in millimetres and in DICOM's axes: to the left, to the back, to the head."""

    path: Path
    rows: int
    columns: int
    spacing: tuple[float, float]  # from row to row, from column to column
    along_row: tuple[float, float, float]  # unit vector from column to column
    along_column: tuple[float, float, float]  # unit vector from row to row
    position: tuple[float, float, float]  # of the first pixel

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
    """Return the DICOM files of a folder, sorted naturally by name; those named ``.dcm`` whatever is in them."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted((path for path in files if path.suffix.lower() == ".dcm" or _is_dicom(path)), key=natural_key)


def _is_dicom(path: Path) -> bool:
    """Tell whether a file has DICOM's preamble; the index of a disc has it too but is not an image."""
    if path.name.upper() == "DICOMDIR":
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_slice(path: Path) -> Slice:
    """Read where a slice lies.

    Raises:
        InputError: if the file is empty, is not DICOM, has several frames or colours, or does not say where it lies.
    """
    return _locate(_open(path, stop_before_pixels=True), path)


def read_pixels(path: Path) -> tuple[Slice, np.ndarray]:
    """Read where a slice lies, and its values.

    Returns:
        The slice, and its rescaled values (Hounsfield units in CT), float32 of shape ``(columns, rows)``: the axis
        order of MONAI's readers, PILReader and PydicomReader among them.

    Raises:
        InputError: as :func:`read_slice` does, and if the pixels are cut off or compressed in a way that none of the
            installed libraries decodes, or the numbers to rescale them with are damaged.
    """
    dataset = _open(path)
    where = _locate(dataset, path)
    try:
        values = dataset.pixel_array
    except Exception as error:  # the decoders raise whatever the damage makes them stumble over
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed:
            raise InputError(
                f"{path}: its pixels are compressed ({syntax.name}) and cannot be decoded here: decompress the files, "
                "for example with gdcmconv --raw, or install pylibjpeg with its plug-ins"
            ) from error
        raise InputError(f"{path}: its pixels cannot be read, copy it again ({error})") from error
    try:
        slope, intercept = (float(dataset.get(*each)) for each in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    except (TypeError, ValueError):  # of an empty value, of a text
        slope = intercept = float("nan")
    if not np.isfinite([slope, intercept]).all():
        raise InputError(f"{path}: its RescaleSlope or RescaleIntercept is damaged; expected numbers")
    return where, np.ascontiguousarray(values.T, np.float32) * np.float32(slope) + np.float32(intercept)


def _open(path: Path, **options) -> pydicom.Dataset:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        return pydicom.dcmread(path, **options)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as DICOM, copy it again ({error})") from error


def _locate(dataset: pydicom.Dataset, path: Path) -> Slice:
    missing = [name for name in _GEOMETRY if dataset.get(name) is None]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; expected an image slice that says where it lies")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{path}: has {dataset.NumberOfFrames} frames; expected one file for each slice")
    if dataset.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        raise InputError(f"{path}: expected grey values (MONOCHROME2), got {dataset.PhotometricInterpretation}")
    try:
        spacing = tuple(float(value) for value in dataset.PixelSpacing)
        directions = tuple(float(value) for value in dataset.ImageOrientationPatient)
        position = tuple(float(value) for value in dataset.ImagePositionPatient)
        where = Slice(path, int(dataset.Rows), int(dataset.Columns), spacing, directions[:3], directions[3:], position)
        axes = np.array([where.along_row, where.along_column])
        valid = len(spacing) == 2 and min(spacing) > 0 and np.allclose(axes @ axes.T, np.eye(2), atol=1e-3)
        valid = valid and bool(np.isfinite(where.depth))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"{path}: its PixelSpacing, ImageOrientationPatient or ImagePositionPatient is damaged")
    return where
