"""Volumes of a folder dataset, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.transforms import ScaleIntensityRangePercentiles

from common.datasets.readers.dicom import list_slices
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.nifti_header import affine_of, open_nifti
from common.datasets.readers.slices import LoadSliced
from common.datasets.source import Source
from common.errors import InputError

_TO_HEAD = 2  # the axis of RAS that axial slices follow


def count_slices(volume: Path) -> int:
    """Return the number of axial slices in a volume, by the names of DICOM files or the header of a NIfTI file.

    Raises:
        InputError: if the header is damaged, has not three axes, or does not say where the volume lies.
        OSError: if a file of a folder cannot be opened.
    """
    if volume.is_dir():
        return len(list_slices(volume))
    image = open_nifti(volume)
    shape = image.shape
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise InputError(f"{volume}: expected a volume of three axes, got shape {shape}; save each volume by itself")
    axes = nibabel.io_orientation(affine_of(volume, image))[:, 0]
    return int(shape[axes.tolist().index(_TO_HEAD)])


def read_slice_for_the_eye(entry: Mapping[str, Any], source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice ``(H, W, 1)`` from its 1st to its 99th percentile, and its class ids ``(H, W)``, both uint8.

    Args:
        entry: with paths as strings, and the number of the "slice".
        source: what labels mean.

    Raises:
        InputError: if a file cannot be read, or the label is faulty or does not lie on its image.
    """
    loaded = LoadSliced("image")(entry)
    loaded = LoadFolderLabeld("label", source=source.to_config())(loaded)
    scale = ScaleIntensityRangePercentiles(1, 99, 0, 255, clip=True, dtype=np.uint8)
    values = np.asarray(scale(loaded["image"][0].numpy()))
    return values.T[..., None], loaded["label"][0].numpy().T.astype(np.uint8)
