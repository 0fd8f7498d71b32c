"""DICOM series: the slices of one volume, a file each, put in order by where they lie in the patient."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from common.errors import InputError

_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")


_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


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
    """Tell whether a file has DICOM's preamble; the index of a disc has it too but is no image."""
    if path.name.upper() == "DICOMDIR":
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_slice(path: Path) -> Slice:
    """Read where a slice lies.

    Raises:
        InputError: if the file is empty, is no DICOM, has several frames or colours, or does not say where it lies.
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


def find_faults(slices: Sequence[Slice]) -> list[str]:
    """Return what keeps slices from being the slices of one volume: others mixed in, missing ones, extra ones.

    What counts is where the slices lie; SeriesInstanceUID and InstanceNumber are not looked at, because anonymisation
    tends to overwrite them. A first or last slice that is missing leaves no gap and cannot be found this way.
    """
    if len(slices) < 2:
        return [f"expected the slices of a volume, found {len(slices)}"]
    common = Counter(tuple(np.round(each.plane, 3)) for each in slices).most_common(1)[0][0]
    usual = next(each for each in slices if np.allclose(each.plane, common, atol=1e-3))
    others = [each for each in slices if not np.allclose(each.plane, usual.plane, atol=2e-3)]
    if others:
        return [
            f"mixed series: {len(others)} of {len(slices)} slices have another size, spacing or orientation, first "
            f"{_describe(others[0])} against {_describe(usual)}; keep one series in the folder"
        ]
    return _gap_faults(sorted(slices, key=lambda each: each.depth))


def _describe(where: Slice) -> str:
    directions = " ".join(f"{value:.3g}" for value in where.along_row + where.along_column)
    row_spacing, column_spacing = where.spacing
    return (
        f"{where.path.name} ({where.columns} x {where.rows} pixels of {column_spacing:.4g} x {row_spacing:.4g} mm, "
        f"orientation {directions})"
    )


def _gap_faults(slices: Sequence[Slice]) -> list[str]:
    """Return the faults of slices that lie in the same orientation, sorted by depth."""
    depths = np.array([each.depth for each in slices])
    gaps = np.diff(depths)
    if gaps.max() < 0.01:
        return [f"all {len(slices)} slices lie in the same place; expected the slices of a volume"]
    step = np.median(gaps[gaps >= 0.01])  # of mixed series with the same positions, half of the gaps are none
    faults = []

    def pairs(which: np.ndarray) -> list[tuple[str, str, int]]:
        return [(slices[i].path.name, slices[i + 1].path.name, i) for i in np.flatnonzero(which)]

    for before, after, index in pairs(gaps > 1.5 * step):
        missing = round(gaps[index] / step) - 1
        what = "1 slice is" if missing == 1 else f"{missing} slices are"
        faults.append(f"{what} missing between {before} and {after} ({gaps[index]:.4g} mm apart, others {step:.4g} mm)")
    extra = pairs(gaps < 0.5 * step)
    if extra:
        before, after, index = extra[0]
        faults.append(
            f"{len(extra)} extra {'slice' if len(extra) == 1 else 'slices'}: {before} and {after} are "
            f"{gaps[index]:.4g} mm apart, others {step:.4g} mm; a slice is there twice, or two series are mixed"
        )
    # A tilted gantry shifts each slice by the same amount, which is no fault: the slices still lie on a line.
    positions = np.array([each.position for each in slices])
    line = positions[0] + np.outer((depths - depths[0]) / (depths[-1] - depths[0]), positions[-1] - positions[0])
    shifts = np.linalg.norm(positions - line, axis=1)
    normal_part = np.abs((positions - line) @ np.cross(slices[0].along_row, slices[0].along_column))
    sideways = np.sqrt(np.maximum(shifts**2 - normal_part**2, 0))
    worst = int(sideways.argmax())
    if sideways[worst] > min(slices[0].spacing):
        faults.append(
            f"mixed series: {slices[worst].path.name} lies {sideways[worst]:.4g} mm beside the line through the others"
        )
    return faults


def read_series(folder: Path) -> list[Slice]:
    """Return the slices of a folder, sorted by where they lie, from the one at the lowest depth on.

    Raises:
        InputError: if the folder has no DICOM files, or they are not the slices of one volume.
    """
    files = list_slices(folder)
    if not files:
        raise InputError(f"{folder}: no DICOM files here; expected the slices of one volume")
    slices = [read_slice(path) for path in files]
    faults = find_faults(slices)
    if faults:
        raise InputError(f"{folder}: {'; '.join(faults)}")
    return sorted(slices, key=lambda each: each.depth)


def affine_of(slices: Sequence[Slice]) -> np.ndarray:
    """Return the affine ``(4, 4)`` from indices ``(column, row, slice)`` to millimetres, in the RAS axes of NIfTI.

    See "DICOM affine formula", https://nipy.org/nibabel/dicom/dicom_orientation.html.

    Args:
        slices: of one volume, sorted by depth.
    """
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.along_row, first.spacing[1])
    affine[:3, 1] = np.multiply(first.along_column, first.spacing[0])
    affine[:3, 2] = np.subtract(last.position, first.position) / (len(slices) - 1)
    affine[:3, 3] = first.position
    return _LPS_TO_RAS @ affine


def volume_meta(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return what MONAI wants to know of a volume without a channel axis."""
    affine = affine_of(slices)
    return {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.array([slices[0].columns, slices[0].rows, len(slices)]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
    }


class SeriesReader(ImageReader):
    """Reads a folder of DICOM slices as one volume ``(columns, rows, slices)``, for MONAI's ``LoadImage``.

    MONAI's own PydicomReader is right for single slices. Of a folder it skips the files that it cannot read and stacks
    the others by InstanceNumber: where a slice is missing, or the numbers are wrong, the volume comes out distorted.
    This one stacks by position and refuses what is not one volume.
    """

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Tell whether this is a folder."""
        return all(Path(name).is_dir() for name in ensure_tuple(filename))

    def read(self, data: Sequence[str] | str, **kwargs) -> Path:
        """Return the folder.

        Raises:
            InputError: if it is none; ``LoadImage`` then turns to its next reader, so that a NIfTI file gets read.
        """
        folder, *more = (Path(name) for name in ensure_tuple(data))
        if more or not folder.is_dir():
            raise InputError(f"{folder}: expected one folder of DICOM slices")
        return folder

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the values, float32, and the geometry.

        Raises:
            InputError: as :func:`read_series` and :func:`read_pixels` do. It is raised here and not in :meth:`read`,
                because there ``LoadImage`` would try MONAI's reader next.
        """
        slices = read_series(img)
        return np.stack([read_pixels(each.path)[1] for each in slices], axis=-1), volume_meta(slices)
