"""Whole volumes, in a folder of DICOM slices or in a NIfTI file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.config import KeysCollection
from monai.data import ImageReader, NibabelReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from common.datasets.readers.dicom import read_pixels
from common.datasets.readers.nifti import check_finite, is_nifti
from common.datasets.readers.series import SeriesReader, read_series
from common.errors import InputError


class VolumeReader(ImageReader):
    """Reads a folder of DICOM slices, or a NIfTI file, as one volume, for MONAI's ``LoadImage``."""

    def __init__(self) -> None:
        self._series = SeriesReader()
        self._nifti = NibabelReader()

    def verify_suffix(self, filename: Sequence[str] | str) -> bool:
        """Tell whether this is a folder or a NIfTI file."""
        return self._series.verify_suffix(filename) or self._nifti.verify_suffix(filename)

    def read(self, data: Sequence[str] | str, **kwargs) -> Any:
        """Return what :meth:`get_data` takes."""
        (path,) = ensure_tuple(data)
        return self._series.read(path) if Path(path).is_dir() else self._nifti.read(path, **kwargs)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the values and the geometry.

        Raises:
            InputError: as ``SeriesReader.get_data`` does.
        """
        return (self._series if isinstance(img, Path) else self._nifti).get_data(img)


class LoadVolumed(LoadImaged):
    """Reads a volume ``(1, W, H, D)`` with :class:`VolumeReader` alone, and says what is wrong with one that it cannot.

    Args:
        keys: where the path is, and where the volume goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, reader=VolumeReader(), ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any], reader: Any = None) -> dict[Any, Any]:
        """Return the data with the volume read.

        Raises:
            InputError: if the file is missing, damaged or no volume, or the folder has no slices of one volume.
        """
        for key in self.key_iterator(data):
            check_volume(Path(data[key]))
        return super().__call__(data, reader)


def check_volume(volume: Path) -> None:
    """Read a volume to its last voxel.

    Raises:
        InputError: if that fails, it has not three axes, or not numbers alone.
    """
    if volume.is_dir():
        for each in read_series(volume):
            read_pixels(each.path)
        return
    if not volume.is_file():
        raise InputError(f"{volume}: no such file")
    if volume.stat().st_size == 0:
        raise InputError(f"{volume}: the file is empty, copy it again")
    if not is_nifti(volume):
        raise InputError(f"{volume}: expected a volume, a NIfTI file or a folder of DICOM slices")
    try:
        values = np.asarray(nibabel.load(volume).dataobj)
    except Exception as error:  # on damaged bytes nibabel raises far more than its ImageFileError
        raise InputError(f"{volume}: cannot be read as a NIfTI file, copy it again ({error})") from error
    if values.ndim != 3:
        raise InputError(f"{volume}: expected a volume of three axes, got shape {values.shape}")
    check_finite(volume, values)
