"""The shapes that annotation tools save, each as pixels of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from common.datasets.readers.polygons.corners import Corner, in_one_order
from common.datasets.readers.polygons.rle import mask_from_counts, mask_from_polygon

_TOLERANCE = 0.5  # pixels by which exports that count in percent may round a corner out of the image
_SMALLEST = 0.5  # pixels: a circle has at least the pixel in its centre


class Shape(Protocol):
    """A shape of an image; it equals one drawn from another corner or the other way round."""

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels that the shape covers, bool ``(H, W)``, of an image of this width and height."""

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return what of the shape lies outside of an image of this width and height, None where nothing does."""


@dataclass(frozen=True)
class Outline:
    """A polygon as people draw it on pixels: its border belongs to it.

    Attributes:
        corners: at least three.
    """

    corners: tuple[Corner, ...] = field(compare=False)
    _same: tuple[Corner, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_same", in_one_order(self.corners))

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels inside and those of the border, ``(H, W)``."""
        area, corners = Image.new("1", size), list(self.corners)
        drawing = ImageDraw.Draw(area)
        drawing.polygon(corners, fill=1)
        drawing.line([*corners, corners[0]], fill=1)  # Pillow draws no outline in the colour of the area
        return np.array(area)

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return the first corner outside of the image, if there is one."""
        return _corner_outside(self.corners, size)


@dataclass(frozen=True)
class Ellipse:
    """A circle or an ellipse.

    Attributes:
        centre: in pixels.
        radii: along its own axes, in pixels.
        turned: the angle from x to the first of them, in radians.
    """

    centre: Corner
    radii: tuple[float, float]
    turned: float = 0.0

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels whose place is within the ellipse, ``(H, W)``."""
        mask = np.zeros(size[::-1], bool)
        low, high = self._box()
        left, top = (max(0, math.floor(side)) for side in low)
        box = slice(top, math.ceil(high[1]) + 1), slice(left, math.ceil(high[0]) + 1)
        rows, columns = np.indices(mask[box].shape)
        x, y = columns + left - self.centre[0], rows + top - self.centre[1]
        cos, sin = math.cos(self.turned), math.sin(self.turned)
        radii = [max(radius, _SMALLEST) for radius in self.radii]
        mask[box] = ((x * cos + y * sin) / radii[0]) ** 2 + ((y * cos - x * sin) / radii[1]) ** 2 <= 1
        return mask

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return the corner of the box around it that is outside of the image, if one is."""
        return _corner_outside(self._box(), size)

    def _box(self) -> tuple[Corner, Corner]:
        cos, sin = math.cos(self.turned), math.sin(self.turned)
        across = math.hypot(self.radii[0] * cos, self.radii[1] * sin)
        down = math.hypot(self.radii[0] * sin, self.radii[1] * cos)
        x, y = self.centre
        return (x - across, y - down), (x + across, y + down)


@dataclass(frozen=True)
class CocoOutlines:
    """The polygons of one object, united, whose corners lie between pixels.

    Attributes:
        polygons: each of at least three corners.
    """

    polygons: tuple[tuple[Corner, ...], ...] = field(compare=False)
    _same: frozenset[tuple[Corner, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_same", frozenset(in_one_order(each) for each in self.polygons))

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels inside as pycocotools does, ``(H, W)``."""
        return np.any([mask_from_polygon(each, size) for each in self.polygons], axis=0)

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return the first corner outside of the image, if there is one."""
        return _corner_outside([corner for each in self.polygons for corner in each], size)


@dataclass(frozen=True)
class Runs:
    """A mask as runs of pixels down the columns, which start with one outside.

    Attributes:
        counts: lengths of the runs.
        size: width and height of the image that it was drawn on.
    """

    counts: tuple[int, ...]
    size: tuple[int, int]

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the mask ``(H, W)``."""
        return mask_from_counts(self.counts, size)

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return the size of the mask, if it is not that of the image."""
        return None if self.size == tuple(size) else "a mask of {} x {} pixels".format(*self.size)


@dataclass(frozen=True)
class Patch:
    """A mask of a part of the image.

    Attributes:
        pixels: of the part, row by row: 1 inside, 0 outside.
        part: width and height of the part.
        place: column and row of its first pixel.
    """

    pixels: bytes
    part: tuple[int, int]
    place: tuple[int, int]

    def fill(self, size: tuple[int, int]) -> np.ndarray:
        """Return the mask ``(H, W)``."""
        (left, top), (width, height) = self.place, self.part
        mask = np.zeros(size[::-1], bool)
        inside = np.frombuffer(self.pixels, np.uint8).reshape(height, width)
        mask[top : top + height, left : left + width] = inside > 0
        return mask

    def outside(self, size: tuple[int, int]) -> str | None:
        """Return the corner of the mask that is outside of the image, if one is."""
        (left, top), (width, height) = self.place, self.part
        return _corner_outside([(left, top), (left + width, top + height)], size)


def _corner_outside(corners: Sequence[Corner], size: tuple[int, int]) -> str | None:
    for x, y in corners:
        if not all(-_TOLERANCE <= at <= side + _TOLERANCE for at, side in zip((x, y), size, strict=True)):
            return f"the corner ({x:g}, {y:g})"
    return None
