"""Move maps of an image, such as features, as the image was moved, and tell which pixels lie outside it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import GridSamplePadMode, MetaKeys
from torch import Tensor

INSIDE_KEY = "inside"


def track_moves(image: Tensor) -> MetaTensor:
    """Return an image ``(C, H, W)`` whose affine notes, from here on, where MONAI's transforms take each pixel from."""
    size = torch.tensor(image.shape[1:])
    return MetaTensor(image.as_subclass(Tensor), affine=torch.eye(3), meta={MetaKeys.SPATIAL_SHAPE: size})


class FollowImaged(MapTransform):
    """Moves maps of an image, such as a teacher's features, as the image was moved since :func:`track_moves`.

    A map ``(C, h, w)`` of any resolution covers the image as it was then; it comes to cover the image as it is now.
    Flips and quarter turns are exact; any other moves, however many, cost one bilinear interpolation.

    Beside the maps, under ``inside``, goes a map ``(1, H, W)`` of the image as it is now: 1 where a pixel shows the
    image as it was, and 0 where all or part of it is padding.

    Args:
        keys: the maps.
        image_key: where the image is.
        padding_mode: how the image was padded, as in MONAI's spatial transforms. With ``zeros``, padded pixels are not
            inside, and maps are padded by their border. With ``reflection`` or ``border``, maps are padded as the image
            is, so that every pixel is inside.
        allow_missing_keys: whether a map may be missing. An image that was not tracked may then come without any.

    Raises:
        TypeError: if there is a map, but the image does not say where it was.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        padding_mode: str = GridSamplePadMode.ZEROS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.padding_mode = GridSamplePadMode(padding_mode)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with every map where its image is, and with the map of what is inside."""
        moved = dict(data)
        image = moved[self.image_key]
        maps = list(self.key_iterator(moved))
        if not isinstance(image, MetaTensor) or MetaKeys.SPATIAL_SHAPE not in image.meta:
            if not maps:
                return moved
            raise TypeError(f"'{maps[0]}' cannot follow '{self.image_key}': it did not go through track_moves")
        before, now = _two(image.meta[MetaKeys.SPATIAL_SHAPE]), _two(image.shape[1:])
        theta = _relative(image.affine, before, now)
        exact = _is_exact(theta)
        for key in maps:
            moved[key] = _turn(moved[key], theta) if exact else self._sample(moved[key], theta, before, now)
        inside = torch.ones(1, *now)
        if not exact and self.padding_mode == GridSamplePadMode.ZEROS:
            inside[0] = _is_inside(theta, before, now)
        moved[INSIDE_KEY] = inside
        return moved

    def _sample(self, values: Tensor, theta: Tensor, before: tuple[int, int], now: tuple[int, int]) -> Tensor:
        padding_mode = self.padding_mode
        if padding_mode == GridSamplePadMode.ZEROS:
            padding_mode = GridSamplePadMode.BORDER  # a feature beside the border is interpolated with no zeros
        shape = [round(number * new / old) for number, new, old in zip(values.shape[1:], now, before, strict=True)]
        grid = _sources(theta, shape).to(torch.float32)
        sampled = F.grid_sample(values[None].float(), grid, padding_mode=padding_mode.value, align_corners=False)
        return sampled[0].to(values.dtype)


def _two(size: Iterable[int]) -> tuple[int, int]:
    height, width = size
    return int(height), int(width)


def _relative(affine: Tensor, before: tuple[int, int], now: tuple[int, int]) -> Tensor:
    """Return an affine of pixels as one ``(2, 3)`` of relative coordinates, from -1 to 1 between the image's edges."""
    size_before, size_now = torch.tensor(before).double(), torch.tensor(now).double()
    linear, shift = affine[:2, :2].double(), affine[:2, -1].double()
    scaled = linear * size_now / size_before[:, None]
    offset = (linear @ (size_now - 1) + 2 * shift + 1) / size_before - 1
    return torch.cat([scaled, offset[:, None]], dim=1)


def _is_exact(theta: Tensor) -> bool:
    """Say whether an affine of relative coordinates is made of flips and quarter turns alone."""
    whole = theta.round()
    is_whole = torch.allclose(theta, whole, atol=1e-6)
    return is_whole and bool((whole.abs().sum(1) == 1).all()) and not whole[:, 2].any()


def _turn(values: Tensor, theta: Tensor) -> Tensor:
    whole = theta.round()
    turned = values.flip([axis + 1 for axis in (0, 1) if whole[axis].sum() < 0])
    return turned.transpose(1, 2).contiguous() if whole[0, 1] else turned


def _sources(theta: Tensor, shape: list[int] | tuple[int, int]) -> Tensor:
    """Return where each point of a map of ``shape`` comes from, ``(1, *shape, 2)``, as PyTorch has it: x before y."""
    theta = theta[[1, 0]][:, [1, 0, 2]]
    return F.affine_grid(theta[None], [1, 1, *shape], align_corners=False)


def _is_inside(theta: Tensor, before: tuple[int, int], now: tuple[int, int]) -> Tensor:
    """Return which pixels ``(H, W)`` are interpolated from pixels of the image alone."""
    outermost = 1 - 1 / torch.tensor([before[1], before[0]]).double()  # the centres of the pixels at the edges
    return (_sources(theta, now)[0].abs() <= outermost + 1e-6).all(dim=-1)
