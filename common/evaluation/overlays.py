"""Pictures of a case with prediction and label marked on it."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

OVERLAY_STYLES = ("area", "border")

# A colour for each kind of agreement. MONAI's blend_images takes its colours from matplotlib, which is not installed
# where a student alone is evaluated.
_COLOURS = {"both": (90, 200, 90), "prediction only": (235, 70, 60), "label only": (70, 120, 245)}
_OPACITY = 0.75
_BORDER_WIDTH = 1 / 200  # of the shorter side of the image


def take_fullest_slice(image: Tensor, prediction: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slice of a volume that has most label: image ``(C, W, H)``, prediction and label ``(W, H)``.

    Args:
        image: ``(C, W, H, D)``.
        prediction: class ids ``(W, H, D)``.
        label: class ids ``(W, H, D)``.
    """
    index = int((label > 0).sum((0, 1)).argmax())
    return image[..., index], prediction[..., index], label[..., index]


def draw_overlay(image: Tensor, prediction: Tensor, label: Tensor, style: str = "area") -> Image.Image:
    """Draw an image beside itself with prediction and label marked on it.

    A pixel is green where prediction and label agree on a structure, red where only the prediction has it or it is of
    another structure, blue where only the label has it.

    Args:
        image: ``(C, W, H)`` in [0, 1], C one or three, in the axis order of MONAI's PIL reader.
        prediction: class ids ``(W, H)``.
        label: class ids ``(W, H)``.
        style: mark the whole ``area`` of each structure, or its ``border`` alone, which leaves the inside to be seen.

    Raises:
        ValueError: if ``style`` is unknown.
    """
    check_style(style)
    picture = np.asarray(image.cpu().expand(3, -1, -1).permute(2, 1, 0).clamp(0, 1)) * 255
    predicted, expected = np.asarray(prediction.cpu()).T, np.asarray(label.cpu()).T
    if style == "border":
        predicted, expected = _borders(predicted), _borders(expected)
    marked = picture.copy()
    agree = (predicted == expected) & (expected > 0)
    where = {
        "both": agree,
        "prediction only": (predicted > 0) & ~agree,
        "label only": (expected > 0) & (predicted == 0),
    }
    for name, pixels in where.items():
        marked[pixels] = (1 - _OPACITY) * marked[pixels] + _OPACITY * np.array(_COLOURS[name])
    return Image.fromarray(np.concatenate([picture, marked], axis=1).round().astype(np.uint8))


def check_style(style: str) -> None:
    """Refuse a style that is unknown, before a long run and not at its end.

    Raises:
        ValueError: if ``style`` is unknown.
    """
    if style not in OVERLAY_STYLES:
        raise ValueError(f"overlay_style must be one of {', '.join(OVERLAY_STYLES)}, got {style!r}")


def _borders(classes: np.ndarray) -> np.ndarray:
    """Return class ids ``(H, W)`` with background inside structures; the image rim is not a border."""
    from scipy.ndimage import binary_erosion  # here because a student is fine-tuned where SciPy is not installed

    width = max(1, round(_BORDER_WIDTH * min(classes.shape)))
    borders = np.zeros_like(classes)
    for value in np.unique(classes[classes > 0]):
        structure = classes == value
        borders[structure & ~binary_erosion(structure, iterations=width, border_value=1)] = value
    return borders
