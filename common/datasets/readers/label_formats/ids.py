"""Labels whose grey values, or palette indices, are class ids or stand for them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from common.datasets.readers.label_formats.values import name_values
from common.datasets.readers.label_pictures import LOSSY_FORMATS, open_label_picture
from common.datasets.readers.pictures import to_rgb
from common.errors import InputError


def read_ids(path: str | os.PathLike, num_classes: int, values: Mapping[int, int] | None = None) -> np.ndarray:
    """Return the class ids of a picture, uint8 ``(H, W)``.

    Args:
        path: the picture.
        num_classes: ids are below it.
        values: class ids by grey value; None where the grey values are the ids. 0 is background, unless it
            says otherwise.

    Raises:
        InputError: if the picture cannot be read, is stored in a format that alters values, has colours, or values that
            are no class: these are counted.
    """
    stored = open_label_picture(path)
    if stored.image.format in LOSSY_FORMATS:
        raise InputError(
            f"{path}: is a label stored as {stored.image.format}, which alters class ids; save the original as PNG"
        )
    picture = stored.image
    grey = np.asarray(picture)
    if len(picture.getbands()) > 1:
        colours = np.asarray(to_rgb(picture))
        coloured = (colours != colours[..., :1]).any(axis=-1)
        if coloured.any():
            colour = tuple(map(int, colours[coloured][0]))
            raise InputError(
                f"{path}: has {coloured.sum():,} pixels of colours, first {colour}; expected class ids as shades of "
                "grey or in a palette, else give label_format colours"
            )
        grey = colours[..., 0]
    return to_ids(grey, path, num_classes, values)


def to_ids(
    grey: np.ndarray, name: str | os.PathLike, num_classes: int, values: Mapping[int, int] | None = None
) -> np.ndarray:
    """Return the class ids that values stand for, uint8 of the same shape.

    Args:
        grey: whole numbers, of any type.
        name: of the file, for messages.
        num_classes: as for :func:`read_ids`.
        values: as for :func:`read_ids`.

    Raises:
        InputError: if there are values that are no class, saying how many.
    """
    meaning = {number: number for number in range(num_classes)} if values is None else {0: 0, **values}
    ids, known = np.zeros(grey.shape, np.uint8), np.zeros(grey.shape, bool)
    for value, number in meaning.items():
        where = grey == value
        known |= where
        if number:
            ids[where] = number
    if not known.all():
        found, counts = np.unique(grey[~known], return_counts=True)
        unknown = dict(zip(found.tolist(), counts.tolist(), strict=True))
        expected = f"class ids from 0 to {num_classes - 1}" if values is None else ", ".join(map(str, sorted(meaning)))
        white = num_classes == 2 and not ids.any() and list(unknown) in ([255], [65535])
        hint = "; where white is the structure, give label_format black_white" if white else ""
        raise InputError(f"{name}: has {name_values(unknown)}; expected {expected}{hint}")
    return ids
