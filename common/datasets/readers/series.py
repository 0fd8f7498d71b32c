"""DICOM series for MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from common.datasets.readers.dicom import Slice
from common.datasets.readers.dicom_series import (
    affine_of,
    affine_of_slice,
    find_issues,
    read_series,
    read_series_values,
)
from common.errors import InputError

__all__ = [
    "SeriesReader",
    "affine_of",
    "affine_of_slice",
    "find_issues",
    "geometry_meta",
    "read_series",
    "volume_meta",
]


def volume_meta(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return what MONAI wants to know of a volume without a channel axis."""
    return geometry_meta(affine_of(slices), (slices[0].columns, slices[0].rows, len(slices)))


def geometry_meta(affine: np.ndarray, shape: Sequence[int]) -> dict[str, Any]:
    """Return what MONAI wants to know of a volume without a channel axis, of an affine to RAS and a shape."""
    return {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.array(shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
    }


class SeriesReader(ImageReader):
    """Reads a folder of DICOM slices as one volume ``(columns, rows, slices)``, for MONAI's ``LoadImage``.

    MONAI's own PydicomReader skips the files of a folder that it cannot read and stacks the others by InstanceNumber:
    where a slice is missing, or the numbers are wrong, the volume comes out distorted. Negative values in less than the
    allocated bits come out positive. This one stacks by position, refuses what is not one volume, and reads values as
    :func:`read_pixels` does.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Tell whether this is a folder."""
        return all(Path(name).is_dir() for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
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
            InputError: as :func:`read_series_values` does. It is raised here and not in :meth:`read`,
                because there ``LoadImage`` would try MONAI's reader next.
        """
        values, affine = read_series_values(img)
        return values, geometry_meta(affine, values.shape)
