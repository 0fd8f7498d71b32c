"""Corners of polygons, as annotation files have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Corner = tuple[float, float]  # x and y in pixels

_FARTHEST = 2**16  # pixels from the origin; to fill a polygon takes time by its size


def in_one_order(corners: Sequence[Corner]) -> tuple[Corner, ...]:
    """Return the corners from the smallest one on, in the direction that comes first when sorted, each corner once."""
    before = [*corners[-1:], *corners[:-1]]
    ring = tuple(corner for corner, last in zip(corners, before, strict=True) if corner != last)
    starts = [place for place, corner in enumerate(ring) if corner == min(ring)]
    ways = [ring[start:] + ring[:start] for start in starts]
    return min([*ways, *((way[0], *way[:0:-1]) for way in ways)], default=tuple(corners))


def corners_of(points: Any) -> tuple[Corner, ...]:
    """Return the corners of a polygon that a file has.

    Raises:
        ValueError: unless they are pairs of numbers near an image, at least three.
    """
    if not isinstance(points, list) or len(points) < 3:
        got = f"{len(points)}" if isinstance(points, list) else repr(points)
        raise ValueError(f"expected a polygon of at least 3 corners, got {got}")
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise ValueError(f"expected the corners of the polygon as x and y, got {point!r}")
        numbers(*point)
    return tuple((float(x), float(y)) for x, y in points)


def numbers(*values: Any) -> tuple[float, ...]:
    """Return numbers of a file, which are coordinates in pixels.

    Raises:
        ValueError: if one is no number, not finite, or far outside of any image.
    """
    for value in values:
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise ValueError(f"expected the corners of the polygon as numbers, got {value!r}")
        if abs(value) > _FARTHEST:
            raise ValueError(
                f"expected the corners of the polygon in pixels, got {value!r}, which is outside of any image"
            )
    return tuple(float(value) for value in values)
