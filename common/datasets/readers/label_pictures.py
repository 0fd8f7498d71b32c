"""Labels that are stored as pictures."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from common.datasets.readers.pictures import StoredPicture, is_opaque, read_stored, to_grey, to_rgb
from common.errors import InputError

DARKEST_WHITE = 128  # that means "inside" in a mask of black and white; what is darker is a class id

LOSSY_FORMATS = ("AVIF", "JPEG", "JPEG2000", "MPO", "WEBP")


def read_label_picture(path: str | os.PathLike) -> StoredPicture:
    """Return the picture of a label.

    Raises:
        InputError: as :func:`open_label_picture`, or if a lossy format may have altered its class ids.
    """
    stored = open_label_picture(path)
    if stored.image.format in LOSSY_FORMATS:
        grey = np.asarray(to_grey(stored.image))
        if ((grey > 0) & (grey < DARKEST_WHITE)).any():
            raise InputError(
                f"{path}: is a label stored as {stored.image.format}, which alters class ids; save the original as PNG"
            )
    return stored


def open_label_picture(path: str | os.PathLike) -> StoredPicture:
    """Return the picture of a label, whatever its format.

    Raises:
        InputError: if it cannot be read, holds several images, or has pixels that are not opaque, so that nobody has
            seen their colours.
    """
    stored = read_stored(path, ".png")  # JPEG would alter a label
    if stored.num_pages > 1:
        raise InputError(f"{path}: holds {stored.num_pages} images; expected a label of one, save each as its own file")
    if not is_opaque(stored.image):
        raise InputError(f"{path}: has pixels that are not opaque; expected a label without transparency, flatten it")
    return stored


def label_values(picture: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """Return the class ids, or black and white, of a label's picture: ``(H, W)``.

    Args:
        picture: palettes count by their indices, colours by their brightness.
        path: for the message.

    Raises:
        InputError: if colours are so dark that their brightness would pass for a class id.
    """
    if picture.mode in ("1", "L", "P", "I", "I;16"):
        return np.asarray(picture)
    grey, colours = np.asarray(to_grey(picture)), np.asarray(to_rgb(picture))
    strange = (colours != colours[..., :1]).any(axis=-1) & (grey < DARKEST_WHITE)
    if strange.any():
        colour = tuple(map(int, colours[strange][0]))
        raise InputError(
            f"{path}: has the colour {colour}, which is no class; expected class ids as shades of grey or in a "
            "palette, or black and white"
        )
    return grey
