"""Borders of structures, and whether a structure is thin."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

_THIN_WIDTH = 0.03  # of the shorter side of the image
_THIN_OUTLINE = 6  # times the outline of a disc of the same area, squared


def borders(ids: np.ndarray, width: int) -> np.ndarray:
    """Return class ids ``(H, W)`` with the inside of each structure taken out; the rim of the image is no border.

    Args:
        ids: class ids ``(H, W)`` uint8, background 0.
        width: of the borders in pixels, which lie inside their structures.
    """
    highest, lowest = _spread(ids, width), _spread(ids, width, ImageFilter.MinFilter)
    return np.where(highest != lowest, ids, 0).astype(np.uint8)


def around(marked: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels ``(H, W)`` that are at most ``width`` from marked ones, and not marked themselves."""
    return (_spread(marked.astype(np.uint8), width) > 0) & ~marked


def is_thin(structure: np.ndarray) -> bool:
    """Say whether a structure, such as a tree of vessels, is thin beside the image and long, so that a border hides it.

    Args:
        structure: ``(H, W)`` bool.
    """
    area = int(structure.sum())
    if not area:
        return False
    outline = int(borders(structure.astype(np.uint8), 1).astype(bool).sum())
    if outline == 0:
        return False
    mean_width = 2 * area / outline
    return mean_width < _THIN_WIDTH * min(structure.shape) and outline**2 > _THIN_OUTLINE * 4 * math.pi * area


def _spread(
    ids: np.ndarray, width: int, kind: type[ImageFilter.MaxFilter | ImageFilter.MinFilter] = ImageFilter.MaxFilter
) -> np.ndarray:
    """Return the highest or lowest id within a square of ``2 * width + 1`` pixels around each pixel."""
    picture = Image.fromarray(np.ascontiguousarray(ids, np.uint8))
    for _ in range(width):
        picture = picture.filter(kind(3))
    return np.asarray(picture)
