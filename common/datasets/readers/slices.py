"""Single slices of volumes, as a student of slices is trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import CacheDataset, MetaTensor
from monai.transforms import LoadImage, MapTransform

from common.datasets.readers.nifti import is_volume_file, read_volume
from common.errors import InputError


class LoadSliced(MapTransform):
    """Reads a DICOM slice, or the slice of a NIfTI volume that the entry's ``"slice"`` says: ``(1, W, H)``.

    Args:
        keys: where the path is, and where the slice goes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)
        self._dicom = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the data with the slice read.

        Raises:
            InputError: if a NIfTI file cannot be read.
        """
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            if "slice" in loaded:
                values = np.ascontiguousarray(read_volume(loaded[key])[..., loaded["slice"]])
                loaded[key] = MetaTensor(torch.from_numpy(values[None]))
            else:
                loaded[key] = self._dicom(loaded[key])
        return loaded


class SliceDataset(CacheDataset):
    """A ``CacheDataset`` for :class:`LoadSliced`, in which a NIfTI volume stands for all its slices.

    Args:
        data: a MONAI datalist of slices, of volumes, or of both.
        options: what ``CacheDataset`` takes.

    Raises:
        InputError: if a volume cannot be read, or has not three axes.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], **options: Any) -> None:
        super().__init__([each for entry in data for each in split_volume(entry)], **options)


def split_volume(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry for each slice if its image is a NIfTI volume, else the entry.

    Raises:
        InputError: if the volume cannot be read, or has not three axes.
    """
    if not is_volume_file(entry["image"]):
        return [dict(entry)]
    volume = read_volume(entry["image"])
    if volume.ndim != 3:
        raise InputError(f"{entry['image']}: expected a volume of three axes, got shape {volume.shape}")
    return [{**entry, "slice": index} for index in range(volume.shape[-1])]
