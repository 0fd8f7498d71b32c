"""Labels as class ids, whether a dataset's owners drew them or an annotator at a server did."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from common.datasets.readers.affines import is_placed
from common.datasets.readers.file_kinds import PICTURE, kind_of
from common.datasets.readers.label_pictures import DARKEST_WHITE, label_values, read_label_picture
from common.datasets.readers.nifti import is_volume_file, read_volume
from common.datasets.readers.pictures import explain_sizes, read_stored
from common.datasets.readers.slice_labels import is_of_series, read_slice_labels
from common.errors import InputError


class LoadLabeld(MapTransform):
    """Reads a label: ``(1, W, H)`` class ids, or ``(1, W, H, D)`` of a volume, x first as in MONAI's own readers.

    A label is an image of class ids, or of black and one brighter shade where there are two classes; or a file of class
    ids such as 3D Slicer sends to a server, NIfTI or NRRD. Those of volumes must lie on their images, whichever way
    their own axes run, and are turned as these are; an entry with a ``"slice"`` takes that slice. Those of pictures,
    whose files have no patient axes, stay as they are.

    Args:
        keys: where the file's path is, and where the label goes.
        num_classes: ids are below it; None takes any.
        image_key: an image ``(C, W, H[, D])`` that was read before must be of the label's size.
        allow_missing_keys: whether to leave alone what has no label.
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        num_classes: int | None = None,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.num_classes = num_classes
        self.image_key = image_key

    def read_values(self, label: Any, image: Any, index: int | None) -> np.ndarray:
        """Return the values of a label, ``(W, H[, D])``, turned as its image is.

        Args:
            label: what the entry has.
            image: as it was read, ``(C, W, H[, D])``; None if it was not.
            index: of the slice, where the image is one of a volume.
        """
        return read_volume_label(label, image, index) if is_volume_file(label) else self.read_own(label)

    def read_own(self, label: Any) -> np.ndarray:
        """Return the pixels ``(W, H)`` of a label that is not NIfTI or NRRD; datasets may override this."""
        return label_values(read_label_picture(label).image, label).T

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the data with the label read.

        Raises:
            InputError: if the file cannot be read, has an id that the model does not have, or not its image's size or
                place.
        """
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            label, image = loaded[key], loaded.get(self.image_key)
            values = self.read_values(label, image, loaded.get("slice"))
            seen = tuple(image.shape[1:]) if isinstance(image, torch.Tensor) else values.shape
            if values.shape != seen:
                sizes = (" x ".join(map(str, shape)) for shape in (values.shape, seen))
                why = _explain_sizes(label, _source(image))
                raise InputError("{}: is {} pixels, but its image is {}{}".format(label, *sizes, why))
            ids = np.array(self._as_ids(values, label), np.float32)
            # A label lies where its image does, as far as the image says: distances in millimetres go by that.
            affine = image.affine if isinstance(image, MetaTensor) else None
            loaded[key] = MetaTensor(torch.from_numpy(ids[None]), affine=affine)
        return loaded

    def _as_ids(self, values: np.ndarray, label: Any) -> np.ndarray:
        if self.num_classes is None:
            return values
        found = np.unique(values).tolist()
        unknown = [value for value in found if value not in range(self.num_classes)]
        if not unknown:
            return values
        if self.num_classes == 2 and unknown[0] >= DARKEST_WHITE and found in ([0, *unknown[:1]], unknown[:1]):
            return values > 0
        raise InputError(
            f"{label}: has pixels of class {', '.join(f'{value:g}' for value in unknown[:5])}, which the model does "
            f"not have; expected class ids from 0 to {self.num_classes - 1}"
        )


def read_volume_label(label: str | os.PathLike, image: Any, index: int | None) -> np.ndarray:
    """Return a label in a NIfTI or NRRD file, in DICOM SEG or a folder of pictures, turned as its image is.

    Args:
        label: the file or folder.
        image: as it was read, ``(C, W, H[, D])``; None if it was not.
        index: of the slice, where the image is one of a volume.
    """
    source = _source(image)
    volume = read_slice_labels(label, source) if is_of_series(label) else read_volume(label)
    if index is not None:
        if source is None:
            return volume.in_lps().values[..., index]
        whole = read_volume(source).in_lps()
        return volume.on_image(source, whole.placed_affine(), whole.values.shape).values[..., index]
    is_volume = isinstance(image, torch.Tensor) and image.ndim == 4
    if is_volume:
        if source is None:
            return volume.in_lps().values
        return volume.on_image(source, image.affine.numpy(), image.shape[1:]).values
    if source is not None and is_placed(image.affine.numpy()):
        return volume.on_image(source, image.affine.numpy(), (*image.shape[1:], 1)).values[..., 0]
    return volume.values[..., 0] if volume.values.shape[2:] == (1,) else volume.values


def _source(image: Any) -> str | None:
    """Return the file that an image was read from, as far as it knows."""
    return image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None


def _explain_sizes(label: Any, source: str | None) -> str:
    """Return what to add to the message that sizes differ, where both are pictures."""
    paths = [Path(each) for each in (label, source) if isinstance(each, (str, os.PathLike))]
    if len(paths) < 2 or any(kind_of(path) != PICTURE for path in paths):
        return ""
    return explain_sizes(read_stored(paths[1]), read_label_picture(paths[0]))
