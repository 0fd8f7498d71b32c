"""Tensors as pictures, and back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.files.atomic import atomic_file


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Turn ``(B, C, W, H)`` in [0, 1], the axis order of MONAI's readers, into grey (C = 1) or RGB (C = 3) pictures."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 3, 2, 1).cpu().numpy()
    return [Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture) for picture in pixels]


def write_png(picture: Image.Image, path: str | os.PathLike) -> None:
    """Write a picture as a PNG file, atomically."""
    with atomic_file(path) as fresh:
        picture.save(fresh, format="PNG")


def read_png(path: str | os.PathLike) -> Tensor:
    """Return what :func:`write_png` wrote as ``(C, W, H)`` in [0, 1]."""
    with Image.open(Path(path)) as picture:
        pixels = torch.tensor(np.asarray(picture), dtype=torch.float32) / 255
    return (pixels[..., None] if pixels.ndim == 2 else pixels).permute(2, 1, 0)
