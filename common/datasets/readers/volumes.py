"""Whole volumes, in a folder of DICOM slices or in a NIfTI file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from common.datasets.readers.nifti import is_nifti
from common.datasets.readers.series import SeriesReader, geometry_meta
from common.datasets.readers.volume_values import check_volume, read_volume_values

__all__ = ["LoadVolumed", "VolumeReader", "check_volume"]


class VolumeReader(ImageReader):
    """Reads a folder of DICOM slices, or a NIfTI file, as one volume ``(W, H, D)``, for MONAI's ``LoadImage``.

    What is read, and where it lies, is told by :func:`read_volume_values`.
    """

    def __init__(self) -> None:
        self._series = SeriesReader()

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Tell whether this is a folder or a NIfTI file."""
        return self._series.verify_suffix(filename) or all(map(is_nifti, ensure_tuple(filename)))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the path, which is read by :meth:`get_data`: errors of this method make MONAI try other readers."""
        (path,) = ensure_tuple(data)
        return Path(path)

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the values, float32, and the geometry.

        Raises:
            InputError: as :func:`read_volume_values` does.
        """
        values, affine = read_volume_values(img)
        return values, geometry_meta(affine, values.shape)


class LoadVolumed(LoadImaged):
    """Reads a volume ``(1, W, H, D)`` with :class:`VolumeReader` alone, and says what is wrong with one that it cannot.

    Args:
        keys: where the path is, and where the volume goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        reader: Any = VolumeReader()  # MONAI takes one, though its hints say a class
        super().__init__(keys, reader=reader, ensure_channel_first=True)
