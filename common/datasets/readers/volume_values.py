"""The values of whole volumes, in a folder of DICOM slices or in a NIfTI file, and where they lie."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from common.datasets.readers.dicom_series import read_series_values
from common.datasets.readers.nifti import is_nifti, nifti_values
from common.datasets.readers.nifti_header import affine_of, open_nifti
from common.errors import InputError

logger = logging.getLogger(__name__)


def read_volume_values(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a volume, float32 ``(W, H, D)``, and its affine ``(4, 4)`` to millimetres in RAS.

    A NIfTI file lies where nibabel says. MONAI's NibabelReader puts the qform, or the voxel sizes of pixdim, in the
    place of an sform that they contradict: after a registration, or where a writer filled in the sform alone, masks
    would lie elsewhere than their images.

    Args:
        path: a folder of DICOM slices, or a NIfTI file.

    Raises:
        InputError: if the path is missing, damaged or no volume, the folder has not the slices of one volume, or
            nothing says where the volume lies.
    """
    values, affine = read_series_values(path) if path.is_dir() else _read_nifti(path)
    if values.min() == values.max():
        logger.warning(f"{path}: every voxel is {values.flat[0]:g}: nothing is to be seen, export it again")
    return values, affine


def check_volume(volume: Path) -> None:
    """Read a volume to its last voxel.

    Raises:
        InputError: as :func:`read_volume_values` does.
    """
    read_volume_values(volume)


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.is_file() and not is_nifti(path):
        raise InputError(
            f"{path}: expected a volume, a NIfTI file or a folder of DICOM slices; if it is NIfTI, let its name end in "
            ".nii, or in .nii.gz where it is compressed"
        )
    image = open_nifti(path)
    values = nifti_values(path, image)
    if values.ndim == 4:
        raise InputError(f"{path}: holds {values.shape[3]} volumes, its shape is {image.shape}; save each by itself")
    if values.ndim != 3:
        raise InputError(f"{path}: expected a volume of three axes, got shape {image.shape}")
    return values, affine_of(path, image)
