"""Class ids marked on an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from common.pictures.contours import around, borders
from common.pictures.palette import AGREEMENT, DIFFERENCE, Colour

_DIMMED = 0.45  # of the brightness of an image below filled structures
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)


def mark_areas(image: np.ndarray, ids: np.ndarray, colours: Sequence[Colour], opacity: float = 1) -> np.ndarray:
    """Return an image in dim grey with structures filled and bordered, on which any colour can be read.

    Args:
        image: ``(H, W, 3)`` uint8.
        ids: ``(H, W)`` uint8, 0 where nothing is marked.
        colours: by id.
        opacity: of the filling; the border is opaque.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"), float)
    marked = np.repeat(_DIMMED * grey[..., None], 3, axis=2)
    where, lines = ids > 0, borders(ids, line_width(ids.shape)) > 0
    share = np.where(lines, 1, opacity)[where][:, None]
    marked[where] = (1 - share) * grey[where][:, None] + share * np.asarray(colours, float)[ids[where]]
    return marked.round().astype(np.uint8)


def mark_borders(image: np.ndarray, ids: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
    """Return an image with the border of each structure, between a dark line outside and a light one inside.

    So that it can be seen on any ground, whatever its colour.

    Args:
        image: ``(H, W, 3)`` uint8.
        ids: class ids ``(H, W)`` uint8, background 0.
        colours: by id.
    """
    width = line_width(ids.shape)
    lines = borders(ids, width)
    marked = image.copy()
    marked[around(lines > 0, max(1, width // 2)) & (ids == 0)] = _DARK
    marked[around(lines > 0, 1) & (ids > 0)] = _LIGHT
    marked[lines > 0] = np.asarray(colours, np.uint8)[lines[lines > 0]]
    return marked


def mark_both_borders(image: np.ndarray, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return an image with the borders of prediction and label, between dark lines; where both run they are one.

    Args:
        image: ``(H, W, 3)`` uint8.
        prediction: class ids ``(H, W)`` uint8.
        label: class ids ``(H, W)`` uint8.
    """
    width = line_width(label.shape)
    predicted, expected = borders(prediction, width), borders(label, width)
    lines = agreement(predicted, expected)
    marked = image.copy()
    marked[around(lines > 0, max(1, width // 2))] = _DARK
    colours = np.asarray([(0, 0, 0), *AGREEMENT.values()], np.uint8)
    marked[lines > 0] = colours[lines[lines > 0]]
    return marked


def agreement(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return ``(H, W)`` uint8: 1 where both have the same structure, 2 where only the prediction has one, or another
    one than the label, 3 where only the label has one, and 0 elsewhere."""
    both = (prediction == label) & (label > 0)
    return np.select([both, prediction > 0, label > 0], [1, 2, 3], 0).astype(np.uint8)


def mark_difference(image: np.ndarray, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return an image in dim grey on which structures are filled: white where both have the same, else vermilion.

    For several structures: what only the prediction or only the label has would be of two colours that classes have.

    Args:
        image: ``(H, W, 3)`` uint8.
        prediction: class ids ``(H, W)`` uint8.
        label: class ids ``(H, W)`` uint8.
    """
    kinds = np.minimum(agreement(prediction, label), 2)
    return mark_areas(image, kinds, [(0, 0, 0), *DIFFERENCE.values()])


def line_width(shape: tuple[int, int]) -> int:
    """Return the width of borders in pixels on a picture of this height and width."""
    return max(2, round(min(shape) / 180))
