"""Grey pictures for a student of coloured ones, or the reverse: what it makes of them, it has never been shown."""

from __future__ import annotations

import logging

import numpy as np
from PIL import Image

from common.datasets.readers.pictures import to_rgb

logger = logging.getLogger(__name__)

_LOOKED_AT = 64  # pixels a side, enough to see whether a picture has colours
_GREY, _COLOURED = 12, 40  # of 255, between the channels of a pixel: JPEG's own is below, a stain or skin above
_NO_SHARE, _SHARE = 0.01, 0.1  # of the pixels: a mark or a scale in colour makes no coloured picture


class Colours:
    """Counts the pictures that are grey where a student has learned colours, or coloured where it has learned grey.

    Args:
        in_channels: of the student.
    """

    def __init__(self, in_channels: int) -> None:
        self.learned, self.other = ("colour", "grey") if in_channels == 3 else ("grey", "coloured")
        self.seen = 0
        self.unlike: list[str] = []

    def add(self, name: str, image: Image.Image) -> None:
        """Look at a picture, by the name that a user knows it by."""
        self.seen += 1
        if is_grey(image) if self.learned == "colour" else is_coloured(image):
            self.unlike.append(name)

    def warn(self) -> None:
        """Say in one line how many there are."""
        if self.unlike:
            number = f"{len(self.unlike)} of {self.seen} images {'is' if len(self.unlike) == 1 else 'are'}"
            logger.warning(
                f"{number} {self.other}, and the student has learned {self.learned} images, so their masks may mean "
                f"nothing: first {self.unlike[0]}"
            )


def is_grey(image: Image.Image) -> bool:
    """Tell whether a picture has no colours, however it is stored."""
    return float((_spread(image) > _GREY).mean()) <= _NO_SHARE


def is_coloured(image: Image.Image) -> bool:
    """Tell whether a good part of a picture has a colour."""
    return float((_spread(image) > _COLOURED).mean()) >= _SHARE


def _spread(image: Image.Image) -> np.ndarray:
    """Return how far the channels of some pixels are apart."""
    small = image.resize((min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)), Image.Resampling.NEAREST)
    pixels = np.asarray(to_rgb(small)).astype(np.int16)
    return pixels.max(-1) - pixels.min(-1)
