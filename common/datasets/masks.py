"""What a mask may look like."""

from __future__ import annotations

import numpy as np
from PIL import Image

from common.datasets.readers.label_pictures import DARKEST_WHITE


def mask_issue(mask: Image.Image, colour: bool = False, fill: bool = False) -> str | None:
    """Return what keeps an image from being a mask of background 0 and one other value, if anything does.

    Args:
        mask: the image.
        colour: accept several channels if the three colours agree; all pixels are opaque.
        fill: accept a structure that fills the image.
    """
    if colour and mask.mode in ("RGB", "RGBA", "LA"):
        channels = np.asarray(mask.convert("RGB"))
        if (channels != channels[..., :1]).any():
            return "expected shades of grey, got colours"
        mask = mask.convert("RGB").getchannel(0)
    if mask.mode not in ("1", "L", "P"):
        return f"expected one grey channel, got Pillow mode {mask.mode}"
    indices = np.asarray(mask)
    values = _values_in(indices)
    if len(values) > 2:
        return f"expected two grey values, 0 and one above, got {len(values)} from {values[0]} to {values[-1]}"
    if len(values) == 1:
        if fill and values[0] > 0:
            return _shade_issue(values[0])
        return f"expected background 0 and a foreground above, but every pixel is {values[0]}"
    if values[0] != 0:
        return f"expected background 0, but the values are {values[0]} and {values[1]}"
    grey = np.asarray(mask.convert("L"))
    if grey[indices > 0].mean() < grey[indices == 0].mean():
        return "its palette is inverted: value 0 is shown brighter than the foreground; save it as plain grey"
    return _shade_issue(values[1])


def class_id_issue(mask: Image.Image, highest: int) -> str | None:
    """Return what keeps an image from being a mask with class ids from 0 to ``highest``, if anything does."""
    if mask.mode not in ("1", "L", "P"):
        return f"expected one grey channel, got Pillow mode {mask.mode}"
    values = [value for value in _values_in(np.asarray(mask)) if value > highest]
    if values:
        return f"expected grey values from 0 to {highest}, got {', '.join(map(str, values[:5]))}"
    return None


def _values_in(pixels: np.ndarray) -> list[int]:
    """Return the values that 8-bit pixels have; ``np.unique``, which sorts them all, takes ten times as long."""
    return np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist()


def _shade_issue(foreground: int) -> str | None:
    if foreground == 1 or foreground >= DARKEST_WHITE:
        return None
    return f"expected 1 or white (at least {DARKEST_WHITE}) for the foreground, got {foreground}, a class of its own"
