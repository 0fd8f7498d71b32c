"""Images reduced to a few pixels a side, where noise and compression matter little, without brightness and contrast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 32  # pixels a side at which images are compared

_FLAT = 1 / 255  # an image of less contrast, as standard deviation, has nothing that could be recognised


def shrink(images: Tensor, factor: float) -> Tensor:
    """Return images ``(..., C, H, W)`` with ``factor`` times as many pixels a side."""
    return resize(images, [round(factor * length) for length in images.shape[-2:]])


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Return images ``(..., C, H, W)`` as float32, with ``size`` as height and width."""
    if list(images.shape[-2:]) == list(size):
        return images.float()
    batch = images.float().reshape(-1, *images.shape[-3:])
    resized = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.reshape(*images.shape[:-2], *size)


def normalise(images: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)`` with the mean of each channel 0 and norm 1, or 0 where there is no contrast."""
    centred = images - images.mean((2, 3), keepdim=True)
    norms = centred.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(norms > least_norm(images.shape[1], images.shape[-1]), centred / norms, 0.0)


def least_norm(channels: int, side: int) -> float:
    """Return the norm, without the mean, up to which a square image counts as having no contrast."""
    return _FLAT * side * channels**0.5
