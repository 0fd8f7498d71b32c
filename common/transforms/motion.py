"""Move maps of an image, such as features, as the image was moved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    MapTransform,
)
from monai.utils import GridSamplePadMode, MetaKeys
from torch import Tensor


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
