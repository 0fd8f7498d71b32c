"""Labels in which each class has a colour of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from common.datasets.readers.label_formats.values import name_values
from common.datasets.readers.label_pictures import LOSSY_FORMATS, open_label_picture
from common.datasets.readers.pictures import to_rgb
from common.errors import InputError

Colour = tuple[int, int, int]

BLACK = (0, 0, 0)


def read_colours(path: str | os.PathLike, colours: Mapping[str, Colour], classes: Mapping[str, int]) -> np.ndarray:
    """Return the class ids of a picture, uint8 ``(H, W)``.

    Args:
        path: the picture; palettes count by what they show.
        colours: red, green and blue by class; where background is missing, it is black.
        classes: ids by class.

    Raises:
        InputError: if the picture cannot be read, is stored in a format that alters colours, or has colours that are no
            class, such as those of a smoothed border: they are counted, never guessed.
    """
    stored = open_label_picture(path)
    if stored.image.format in LOSSY_FORMATS:
        raise InputError(
            f"{path}: is a label stored as {stored.image.format}, which alters colours; save the original as PNG"
        )
    numbers = colour_numbers(stored.image, path)
    meaning = {_number_of(colour): classes[name] for name, colour in colours.items()}
    if 0 not in meaning.values():
        meaning.setdefault(_number_of(BLACK), 0)
    ids, known = np.zeros(numbers.shape, np.uint8), np.zeros(numbers.shape, bool)
    for number, index in meaning.items():
        where = numbers == number
        known |= where
        if index:
            ids[where] = index
    if not known.all():
        found, counts = np.unique(numbers[~known], return_counts=True)
        unknown = {colour_of(number): int(count) for number, count in zip(found.tolist(), counts, strict=True)}
        expected = ", ".join(f"{name} {tuple(colour)}" for name, colour in colours.items())
        smooth = "; save it without smoothed borders" if len(unknown) > len(meaning) else ""
        raise InputError(f"{path}: has {name_values(unknown, 'colours')}; expected {expected}{smooth}")
    return ids


def colour_numbers(picture: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """Return the colours of a picture as numbers, ``(H, W)``.

    Raises:
        InputError: if it has more than 8 bits a channel.
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        raise InputError(f"{path}: has more than 8 bits a channel (Pillow mode {picture.mode}); expected colours of 8")
    pixels = np.asarray(to_rgb(picture))
    numbers = pixels[..., 0].astype(np.int32)
    for channel in (1, 2):
        numbers <<= 8
        numbers |= pixels[..., channel]
    return numbers


def colour_of(number: int) -> Colour:
    """Return red, green and blue of a colour's number."""
    return number // 65536, number // 256 % 256, number % 256


def _number_of(colour: Colour) -> int:
    red, green, blue = colour
    return red * 65536 + green * 256 + blue
