"""Masks in which white is the structure."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from common.datasets.readers.label_pictures import LOSSY_FORMATS, open_label_picture
from common.datasets.readers.pictures import to_rgb
from common.errors import InputError

_REACH = 6  # pixels to either side of a border that drawing programs may smooth


def read_black_white(path: str | os.PathLike) -> np.ndarray:
    """Return where a mask is white, bool ``(H, W)``.

    White is 1, or the brightest shade there is (255, with 16 bits 65535). Shades between are those of a border that was
    smoothed, and count by whether they are above half.

    Raises:
        InputError: if the picture cannot be read, has colours, nothing that is white though something is not black,
            shades away from any border, or, stored as JPEG or the like, shades that are near neither black nor white.
    """
    stored = open_label_picture(path)
    grey = _shades(stored.image, path)
    return split_shades(grey, path, stored.image.format if stored.image.format in LOSSY_FORMATS else None)


def split_shades(grey: np.ndarray, path: str | os.PathLike, lossy: str | None = None) -> np.ndarray:
    """Return where values are white, bool of the same shape.

    Args:
        grey: shades, of a picture ``(H, W)`` or of a volume.
        path: for messages.
        lossy: the format, where it alters shades.

    Raises:
        InputError: as :func:`read_black_white` does.
    """
    highest = grey.max(initial=0)
    if lossy is None and highest <= 1 and not ((grey > 0) & (grey < 1)).any():
        return grey > 0
    white = 255 if highest <= 255 else 65535
    near_black, near_white = white // 4, white - white // 4
    if 0 < highest < near_white:
        raise InputError(
            f"{path}: has nothing white, its brightest value is {highest:g}; expected 0 and 1, or black and white, "
            "else give label_format ids"
        )
    if lossy is not None:
        strange = (grey > near_black) & (grey < near_white)
        why = f"that are neither black nor white, as {lossy} alters them; save the original mask as PNG"
    else:
        strange = (grey > 0) & (grey < white)
        if strange.any():  # what is there may be a smooth border
            darkest, brightest = (_within(_REACH, grey, choose) for choose in (np.minimum, np.maximum))
            is_flat = _within(1, grey, np.minimum) == _within(1, grey, np.maximum)
            is_between = (grey > near_black) & (grey < near_white)
            strange &= (darkest > near_black) | (brightest < near_white) | (is_flat & is_between)
        why = "away from any border of black and white; expected black and white, else give label_format ids"
    if strange.any():
        values = np.unique(grey[strange])
        shown = f"the values {values[0]:g} to {values[-1]:g}" if len(values) > 1 else f"the value {values[0]:g}"
        raise InputError(f"{path}: has {strange.sum():,} pixels of {shown} {why}")
    return grey > white // 2


def _within(reach: int, grey: np.ndarray, choose: np.ufunc) -> np.ndarray:
    """Return the lowest, or highest, shade that is at most so many pixels away from each pixel, along every axis."""
    for axis in range(grey.ndim):
        line = np.moveaxis(grey, axis, 0)
        chosen = line.copy(order="K")
        for step in range(1, min(reach, len(line) - 1) + 1):
            choose(chosen[step:], line[:-step], out=chosen[step:])
            choose(chosen[:-step], line[step:], out=chosen[:-step])
        grey = np.moveaxis(chosen, 0, axis)
    return grey


def _shades(picture: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """Return the shades of grey of a picture as it is shown, ``(H, W)``."""
    if len(picture.getbands()) == 1 and picture.mode != "P":
        return np.asarray(picture)
    colours = np.asarray(to_rgb(picture))
    coloured = (colours != colours[..., :1]).any(axis=-1)
    if picture.mode == "P":
        indices, grey = np.asarray(picture), colours.mean(axis=-1)
        if indices.max() <= 1 and indices.any():  # one bit, whatever its two colours
            if not indices.all() and grey[indices > 0].mean() < grey[indices == 0].mean():
                raise InputError(
                    f"{path}: its palette is inverted: value 0 is shown brighter than 1; save it as plain grey"
                )
            return indices
    if coloured.any() and picture.format not in LOSSY_FORMATS:
        colour = tuple(map(int, colours[coloured][0]))
        raise InputError(
            f"{path}: has {coloured.sum():,} pixels of colours, first {colour}; expected black and white, else give "
            "label_format colours"
        )
    return np.asarray(picture.convert("L")) if coloured.any() else colours[..., 0]
