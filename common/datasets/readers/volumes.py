"""Whole volumes, in a folder of DICOM slices or in a NIfTI file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from common.datasets.readers.nifti import is_nifti, nifti_values
from common.datasets.readers.nifti_header import affine_of, open_nifti
from common.datasets.readers.series import SeriesReader
from common.errors import InputError

logger = logging.getLogger(__name__)


class VolumeReader(ImageReader):
    """Reads a folder of DICOM slices, or a NIfTI file, as one volume ``(W, H, D)``, for MONAI's ``LoadImage``.

    A NIfTI file lies where nibabel says. MONAI's NibabelReader puts the qform, or the voxel sizes of pixdim, in the
    place of an sform that they contradict: after a registration, or where a writer filled in the sform alone, masks
    would lie elsewhere than their images.
    """

    def __init__(self) -> None:
        self._series = SeriesReader()

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Tell whether this is a folder or a NIfTI file."""
        return self._series.verify_suffix(filename) or all(map(is_nifti, ensure_tuple(filename)))

    def read(self, data: Sequence[str] | str, **kwargs) -> Path:
        """Return the path, which is read by :meth:`get_data`: errors of this method make MONAI try other readers."""
        (path,) = ensure_tuple(data)
        return Path(path)

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the values, float32, and the geometry.

        Raises:
            InputError: if the path is missing, damaged or no volume, the folder has not the slices of one volume, or
                nothing says where the volume lies.
        """
        values, meta = self._series.get_data(img) if img.is_dir() else _read_nifti(img)
        if values.min() == values.max():
            logger.warning(f"{img}: every voxel is {values.flat[0]:g}: nothing is to be seen, export it again")
        return values, meta


class LoadVolumed(LoadImaged):
    """Reads a volume ``(1, W, H, D)`` with :class:`VolumeReader` alone, and says what is wrong with one that it cannot.

    Args:
        keys: where the path is, and where the volume goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, reader=VolumeReader(), ensure_channel_first=True)


def check_volume(volume: Path) -> None:
    """Read a volume to its last voxel.

    Raises:
        InputError: as :meth:`VolumeReader.get_data` does.
    """
    VolumeReader().get_data(volume)


def _read_nifti(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
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
    affine = affine_of(path, image)
    return values, {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.array(values.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
    }
