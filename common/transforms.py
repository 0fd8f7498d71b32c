"""Transforms that MONAI does not have."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    Invertd,
    MapTransform,
    Randomizable,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
    Transform,
)
from monai.utils import GridSamplePadMode, MetaKeys
from torch import Tensor

from common.fingerprints import tensor_digest

CROP_KEYS = ("image", "second_crop")
IMAGE_ID_KEY = "image_id"


class FillMissingd(MapTransform):
    """Gives an image without a label, or without a field-of-view mask, one of a constant value.

    Args:
        keys: what may be missing.
        values: the constant for each key; what is filled in is shaped ``(1, *image.shape[1:])``.
        image_key: where the image ``(C, ...)`` is.
    """

    def __init__(self, keys: KeysCollection, values: list[float], image_key: str = "image") -> None:
        super().__init__(keys, allow_missing_keys=True)
        if len(self.keys) != len(values):
            raise ValueError(f"values must be one for each key, got {len(values)} for {len(self.keys)}")
        self.values = values
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with every key in place."""
        filled = dict(data)
        image = filled[self.image_key]
        for key, value in zip(self.keys, self.values, strict=True):
            if key not in filled:
                filled[key] = torch.full((1, *image.shape[1:]), float(value))
        return filled


class TwoCropsd(Randomizable, Transform):
    """Makes two crops of an image, each by itself: the random transform is applied twice.

    Beside them, under ``IMAGE_ID_KEY``, goes a whole number that is the same for the same image only: an image that
    comes several times in an epoch is no other image to be told apart from itself.

    Args:
        transform: from the data of an image to a crop, and whatever else changes its look.
        keys: where the image is, and where its two crops go.
    """

    def __init__(self, transform: Transform, keys: tuple[str, str] = CROP_KEYS) -> None:
        self.transform = transform
        self.keys = keys

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> TwoCropsd:
        """Seed the transform."""
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the two crops and the image's number, and nothing else."""
        image_key = self.keys[0]
        digest = tensor_digest(torch.as_tensor(data[image_key]))
        crops = {key: self.transform(dict(data))[image_key] for key in self.keys}
        return {**crops, IMAGE_ID_KEY: int.from_bytes(digest[:8], "little", signed=True)}


class ScaleSlicesd(MapTransform):
    """Scales slices ``(1, W, H)``, or every slice of volumes ``(1, W, H, D)`` by itself, to [0, 1].

    A slice gets the same values alone and in its volume, so that a network trained on slices can be used on volumes.

    Args:
        keys: what to scale.
        modality: "ct" takes the window, any other the percentiles.
        window: Hounsfield units that become 0 and 1.
        percentiles: of a slice, that become 0 and 1.
    """

    def __init__(
        self, keys: KeysCollection, modality: str, window: Sequence[float], percentiles: Sequence[float]
    ) -> None:
        super().__init__(keys)
        if modality == "ct":
            self.scale = ScaleIntensityRange(*window, 0, 1, clip=True)
        else:
            self.scale = ScaleIntensityRangePercentiles(*percentiles, 0, 1, clip=True, channel_wise=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with scaled images."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            volume = scaled[key].ndim == 4
            slices = scaled[key].transpose(0, -1) if volume else scaled[key]  # (D, W, H, 1): slices as channels
            result = self.scale(slices).clamp(0, 1)  # MONAI leaves values as they are where the percentiles are equal
            scaled[key] = result.transpose(0, -1) if volume else result
        return scaled


class ClassIdsd(Invertd):
    """Turns one-hot classes ``(C, ...)`` into class ids ``(1, ...)``, uint8: the mask that is written.

    It is an ``Invertd``, of the one-hot encoding, because MONAI Label leaves out each ``Invertd`` when it scores what a
    student with dropout doubts: it needs to see how often each class was chosen, and ids cannot be averaged.

    Args:
        keys: what to turn.
    """

    def __init__(self, keys: KeysCollection) -> None:
        MapTransform.__init__(self, keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with class ids."""
        written = dict(data)
        for key in self.key_iterator(written):
            written[key] = written[key].argmax(dim=0, keepdim=True).to(torch.uint8)
        return written


class LosslessLabeld(Transform):
    """Lets MONAI Label write the label of a JPEG as PNG: JPEG alters class ids.

    Its writer takes the extension that a client asks for, or else that of the image. Without a server nothing changes.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data, with ``result_extension`` where the server's image is a JPEG and the client named none."""
        written = dict(data)
        suffix = Path(written.get("image_path") or "").suffix.lower()
        if suffix in (".jpg", ".jpeg") and not written.get("result_extension"):
            written["result_extension"] = ".png"
        return written


def track_moves(image: Tensor) -> MetaTensor:
    """Return an image ``(C, H, W)`` whose affine notes, from here on, where MONAI's transforms take each pixel from."""
    size = torch.tensor(image.shape[1:])
    return MetaTensor(image.as_subclass(Tensor), affine=torch.eye(3), meta={MetaKeys.SPATIAL_SHAPE: size})


class FollowImaged(MapTransform):
    """Moves maps of an image, such as a teacher's features, as the image was moved since :func:`track_moves`.

    A map ``(C, h, w)`` of any resolution covers the image as it was then; it comes to cover the image as it is now.
    Flips and quarter turns are exact; any other moves, however many, cost one bilinear interpolation.

    Args:
        keys: the maps.
        image_key: where the image is.
        padding_mode: what lies outside a map, as in ``torch.nn.functional.grid_sample``.
        allow_missing_keys: whether a map may be missing.

    Raises:
        TypeError: if there is a map, but the image does not say where it was.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        padding_mode: str = GridSamplePadMode.BORDER,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.padding_mode = GridSamplePadMode(padding_mode).value

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with every map where its image is."""
        moved = dict(data)
        image = moved[self.image_key]
        for key in self.key_iterator(moved):
            if not isinstance(image, MetaTensor) or MetaKeys.SPATIAL_SHAPE not in image.meta:
                raise TypeError(f"'{key}' cannot follow '{self.image_key}': it did not go through track_moves")
            moved[key] = self._move(moved[key], image)
        return moved

    def _move(self, values: Tensor, image: MetaTensor) -> Tensor:
        size_before, size_now = image.meta[MetaKeys.SPATIAL_SHAPE], torch.tensor(image.shape[1:])
        theta = _relative(image.affine, size_before.double(), size_now.double())
        whole = theta.round()
        if torch.allclose(theta, whole, atol=1e-6) and (whole.abs().sum(1) == 1).all() and not whole[:, 2].any():
            turned = values.flip([axis + 1 for axis in (0, 1) if whole[axis].sum() < 0])
            return turned.transpose(1, 2).contiguous() if whole[0, 1] else turned
        sizes = zip(values.shape[1:], size_now.tolist(), size_before.tolist(), strict=True)
        shape = [round(number * now / before) for number, now, before in sizes]
        # PyTorch counts x, along the last axis, before y.
        theta = theta[[1, 0]][:, [1, 0, 2]].to(torch.float32)
        grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=False)
        sampled = F.grid_sample(values[None].float(), grid, padding_mode=self.padding_mode, align_corners=False)
        return sampled[0].to(values.dtype)


def _relative(affine: Tensor, size_before: Tensor, size_now: Tensor) -> Tensor:
    """Return an affine of pixels as one ``(2, 3)`` of relative coordinates, from -1 to 1 between the image's edges."""
    linear, shift = affine[:2, :2].double(), affine[:2, -1].double()
    scaled = linear * size_now / size_before[:, None]
    offset = (linear @ (size_now - 1) + 2 * shift + 1) / size_before - 1
    return torch.cat([scaled, offset[:, None]], dim=1)
