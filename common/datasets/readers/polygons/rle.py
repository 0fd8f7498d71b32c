"""Masks as COCO stores them: runs of pixels, and polygons between pixels, exactly as pycocotools reads them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_SCALE = 5  # pycocotools traces outlines on a grid five times as fine


def counts_from_text(text: str) -> list[int]:
    """Return the lengths of runs that a compressed mask has in its text.

    Each number is stored in groups of five bits, lowest first, from the character "0" on; a sixth bit says that more
    follow. From the third run on, it is the difference from the run before the last one of its kind.

    Raises:
        ValueError: if this is no such text.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64:
            raise ValueError(f"expected compressed runs of pixels, got the character {letter!r}")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value, shift = 0, 0
    if shift:
        raise ValueError("expected compressed runs of pixels, got a text that was cut off")
    return counts


def mask_from_counts(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return the mask ``(H, W)`` of runs of pixels, which go down the columns and start with one outside.

    Args:
        counts: lengths of the runs.
        size: width and height.

    Raises:
        ValueError: if the runs are not those of such a mask.
    """
    width, height = size
    if any(type(count) is not int or count < 0 for count in counts) or sum(counts) != width * height:
        raise ValueError(f"expected runs of pixels that add up to {width} x {height}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def mask_from_polygon(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    """Return the mask ``(H, W)`` of a polygon whose corners lie between pixels: (0, 0) is the corner of the first one.

    Args:
        corners: x and y, at least three, none of them far outside of the image.
        size: width and height.
    """
    width, height = size
    points = (np.array([*corners, corners[0]], float) * _SCALE + 0.5).astype(int)
    edges = [_trace(start, end) for start, end in pairwise(points)]
    columns, rows = np.concatenate(edges, axis=1)
    moved = np.flatnonzero(np.diff(columns)) + 1
    left = np.minimum(columns[moved], columns[moved - 1])
    places = (left + 0.5) / _SCALE - 0.5
    tops = (np.minimum(rows[moved], rows[moved - 1]) + 0.5) / _SCALE - 0.5
    tops = np.ceil(np.clip(tops, 0, height)).astype(int)
    kept = (places == np.floor(places)) & (places >= 0) & (places <= width - 1)
    crossings, counts = np.unique(places[kept].astype(int) * height + tops[kept], return_counts=True)
    changes = crossings[counts % 2 == 1].tolist()
    runs = np.diff([0, *changes, width * height]).tolist()
    return mask_from_counts(runs, size)


def _trace(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the points of a straight line on the grid, ``(2, N)`` columns and rows, ends included."""
    longer = int(abs(end[0] - start[0]) < abs(end[1] - start[1]))
    # Pycocotools walks every line in the direction of growing coordinates, which decides how halves are rounded.
    flip = start[longer] > end[longer]
    first, last = (end, start) if flip else (start, end)
    length = int(last[longer] - first[longer])
    steps = np.arange(length + 1)
    slope = (last[1 - longer] - first[1 - longer]) / length if length else 0.0
    line = np.empty((2, length + 1), int)
    line[longer] = first[longer] + steps
    line[1 - longer] = (first[1 - longer] + slope * steps + 0.5).astype(int)
    return line[:, ::-1] if flip else line
