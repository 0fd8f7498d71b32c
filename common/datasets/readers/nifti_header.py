"""What the header of a NIfTI file says of where the voxels lie, and where it contradicts itself."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
from nibabel.openers import ImageOpener

from common.datasets.readers.affines import MAX_DISTANCE, check_affine, corner_distance, voxel_sizes
from common.errors import InputError

_TOLERANCE = 0.01  # relative, between two statements of the voxel size
_MILLIMETRES = (0, 2)  # codes of units: unknown, and millimetres
_UNITS = {1: "metres", 3: "micrometres"}


def open_nifti(path: str | os.PathLike) -> nibabel.Nifti1Image:
    """Open a NIfTI file; its voxels are not read yet.

    Raises:
        InputError: if it is missing, empty or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        image = nibabel.load(path)
    except Exception as error:  # on damaged bytes nibabel raises far more than its ImageFileError
        raise InputError(f"{path}: cannot be read as a NIfTI file, copy or convert it again ({error})") from error
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        raise InputError(f"{path}: is a file of nibabel's {type(image).__name__}; expected a NIfTI volume")
    return image


def affine_of(path: str | os.PathLike, image: nibabel.Nifti1Image) -> np.ndarray:
    """Return the affine ``(4, 4)`` of an image to millimetres in RAS: its sform, else its qform, else its voxel sizes.

    Raises:
        InputError: if it does not say where the voxels lie.
    """
    source = _source(image.header)
    if source != "sform":
        # nibabel takes 1 mm for a voxel size of 0, unless it is asked for the header as it is.
        sizes = _raw_header(path, image)["pixdim"][1:4]
        for axis, (size, count) in enumerate(zip(sizes, image.shape, strict=False), start=1):
            if size == 0 and count > 1:
                raise InputError(
                    f"{path}: its header says that voxels have no length along axis {axis} (pixdim), and there is no "
                    "sform; correct the header, or convert the file again"
                )
    affine = np.array(image.affine, float)
    check_affine(path, affine, source)
    return affine


def geometry_remark(path: str | os.PathLike) -> str | None:
    """Return what a user should know of the geometry in a NIfTI file's header; None where all of it agrees.

    Raises:
        InputError: if the header cannot be read, or does not say where the voxels lie.
    """
    image = open_nifti(path)
    affine_of(path, image)
    header = image.header
    remarks = []
    if _source(header) == "pixdim":
        remarks.append(
            "the header says voxel sizes alone (sform_code and qform_code are 0): position and orientation are made up"
        )
    contradictions = _contradictions(image) if _source(header) == "sform" else []
    if contradictions:
        remarks.append(f"{', and '.join(contradictions)}: the sform counts")
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        stated = _UNITS.get(unit, "an unknown unit")
        remarks.append(f"the header says that lengths are in {stated}: they are read as millimetres")
    return f"{path}: {'; '.join(remarks)}" if remarks else None


def _contradictions(image: nibabel.Nifti1Image) -> list[str]:
    """Return what else the header says than its sform."""
    remarks = []
    header, affine = image.header, image.affine
    stated, sizes = np.array(header["pixdim"][1:4], float), voxel_sizes(affine)
    axes = min(3, image.ndim)
    if not np.allclose(stated[:axes], sizes[:axes], rtol=_TOLERANCE, atol=0):
        both = (" x ".join(f"{size:.4g}" for size in each[:axes]) for each in (sizes, stated))
        remarks.append("voxels measure {} mm by the sform and {} by pixdim".format(*both))
    if header["qform_code"]:
        try:
            qform = header.get_qform()
        except ValueError:  # of a quaternion that is none
            qform = np.full((4, 4), np.nan)
        apart = corner_distance(affine, qform, (*image.shape, 1, 1)[:3])
        if not np.isfinite(qform).all():
            remarks.append("the qform is damaged")
        elif apart > MAX_DISTANCE:
            remarks.append(f"sform and qform are up to {apart:.3g} voxels apart")
    return remarks


def _source(header: nibabel.Nifti1Header) -> str:
    """Return which part of a header the affine comes from."""
    return "sform" if header["sform_code"] else "qform" if header["qform_code"] else "pixdim"


def _raw_header(path: str | os.PathLike, image: nibabel.Nifti1Image) -> nibabel.Nifti1Header:
    """Return the header as it is in the file, without nibabel's repairs."""
    with ImageOpener(str(path)) as file:
        return type(image.header).from_fileobj(file, check=False)
