"""Masks, grey pictures for a student of coloured ones, or the reverse: a student has never been shown such."""

from __future__ import annotations

import logging

import numpy as np
from PIL import Image

from common.datasets.readers.pictures import to_rgb

logger = logging.getLogger(__name__)

_LOOKED_AT = 64  # pixels a side, enough to see whether a picture has colours
_GREY, _COLOURED = 12, 40  # of 255, between the channels of a pixel: JPEG's own is below, a stain or skin above
_BLACK = 48  # of 255, which JPEG makes of black beside white
_NO_SHARE, _SHARE = 0.01, 0.1  # of the pixels: a mark or a scale in colour makes no coloured picture


class Colours:
    """Counts masks, and pictures that are grey where a student has learned colours, or coloured where it learned grey.

    Args:
        in_channels: of the student.
    """

    def __init__(self, in_channels: int) -> None:
        self.learned, self.other = ("colour", "grey") if in_channels == 3 else ("grey", "coloured")
        self.seen = 0
        self.unlike: list[str] = []
        self.masks: list[str] = []

    def add(self, name: str, image: Image.Image) -> None:
        """Look at a picture, by the name that a user knows it by."""
        self.seen += 1
        if is_like_a_mask(image):
            self.masks.append(name)
        elif is_grey(image) if self.learned == "colour" else is_coloured(image):
            self.unlike.append(name)

    def warn(self) -> None:
        """Say in a line how many there are of each kind."""
        if self.masks:
            logger.warning(
                f"{self._count(self.masks)} grey with two values, as masks are: are these masks? First {self.masks[0]}"
            )
        if self.unlike:
            logger.warning(
                f"{self._count(self.unlike)} {self.other}, and the student has learned {self.learned} images, so their "
                f"masks may mean nothing: first {self.unlike[0]}"
            )

    def _count(self, names: list[str]) -> str:
        return f"{len(names)} of {self.seen} images {'is' if len(names) == 1 else 'are'}"


def is_like_a_mask(image: Image.Image) -> bool:
    """Tell whether a picture is grey and has two values, or is black and white as JPEG stores these."""
    pixels = np.asarray(_small(image).convert("L"))
    black, white = float((pixels <= _BLACK).mean()), float((pixels >= 255 - _BLACK).mean())
    is_black_white = min(black, white) > 0 and black + white >= 1 - _NO_SHARE
    return (len(np.unique(pixels)) == 2 or is_black_white) and is_grey(image)


def is_grey(image: Image.Image) -> bool:
    """Tell whether a picture has no colours, however it is stored."""
    return float((_spread(image) > _GREY).mean()) <= _NO_SHARE


def is_coloured(image: Image.Image) -> bool:
    """Tell whether a good part of a picture has a colour."""
    return float((_spread(image) > _COLOURED).mean()) >= _SHARE


def _spread(image: Image.Image) -> np.ndarray:
    """Return how far the channels of some pixels are apart."""
    pixels = np.asarray(_small(image)).astype(np.int16)
    return pixels.max(-1) - pixels.min(-1)


def _small(image: Image.Image) -> Image.Image:
    size = min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)
    return to_rgb(image.resize(size, Image.Resampling.NEAREST))
