"""Single slices of volumes, as a student of slices is trained on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from common.datasets.readers.dicom import read_pixels
from common.datasets.readers.dicom_series import affine_of_slice
from common.datasets.readers.nifti import is_nifti, is_volume_file, read_volume
from common.datasets.readers.nifti_header import geometry_remark

logger = logging.getLogger(__name__)


class LoadSliced(MapTransform):
    """Reads a DICOM slice, or the slice of a NIfTI volume that the entry's ``"slice"`` says: ``(1, W, H)``.

    Args:
        keys: where the path is, and where the slice goes.
    """

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the data with the slice read.

        Raises:
            InputError: if a file cannot be read, or does not say where it lies.
        """
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            path = Path(loaded[key])
            if "slice" in loaded:
                values, affine = np.array(read_volume(path).in_lps().values[..., loaded["slice"]]), None
            else:
                where, values = read_pixels(path)
                affine = torch.from_numpy(affine_of_slice(where))
            meta = {ImageMetaKey.FILENAME_OR_OBJ: str(path)}
            loaded[key] = MetaTensor(torch.from_numpy(values[None]), affine=affine, meta=meta)
        return loaded


class SliceDataset(CacheDataset):
    """A ``CacheDataset`` for :class:`LoadSliced`, in which a NIfTI volume stands for all its slices.

    Args:
        data: a MONAI datalist of slices, of volumes, or of both.
        options: what ``CacheDataset`` takes.

    Raises:
        InputError: as :func:`split_volume` does.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], **options: Any) -> None:
        super().__init__([each for entry in data for each in split_volume(entry)], **options)
        volumes = {entry["image"]: None for entry in self.data if "slice" in entry}
        for remark in filter(None, map(geometry_remark, filter(is_nifti, volumes))):
            logger.warning(remark)

    def _fill_cache(self, indices: Sequence[int] | None = None) -> list[Any]:
        """Read the slices volume by volume, whatever their order, so that each volume is read once."""
        indices = range(self.cache_num) if indices is None else indices
        places = [(str(self.data[index]["image"]), self.data[index].get("slice", 0)) for index in indices]
        order = sorted(range(len(places)), key=places.__getitem__)
        read = dict(zip(order, super()._fill_cache([indices[place] for place in order]), strict=True))
        return [read[place] for place in range(len(places))]


def split_volume(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry for each slice if its image is a NIfTI volume, else the entry, as of one that is a slice already.

    Raises:
        InputError: if the volume cannot be read, has not three axes or does not say where it lies, or its label, a
            volume too, does not lie there.
    """
    image, label = entry["image"], entry.get("label")
    if "slice" in entry or not is_volume_file(image):
        return [dict(entry)]
    volume = read_volume(image).in_lps()
    if label is not None and is_volume_file(label):
        read_volume(label).on_image(image, volume.placed_affine(), volume.values.shape)
    return [{**entry, "slice": index} for index in range(volume.values.shape[-1])]
