"""Pictures of a case with prediction and label marked on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.data import MetaTensor
from PIL import Image
from torch import Tensor

from common.pictures.overlay import check_style, draw_comparison

__all__ = ["check_style", "dice", "draw_overlay", "take_fullest_slice"]


def take_fullest_slice(image: Tensor, prediction: Tensor, label: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """Return the number of the slice of a volume that has most label, and its image ``(C, W, H)`` and masks ``(W, H)``.

    Args:
        image: ``(C, W, H, D)``.
        prediction: class ids ``(W, H, D)``.
        label: class ids ``(W, H, D)``.
    """
    index = int((label > 0).sum((0, 1)).argmax())
    return index, image[..., index], prediction[..., index], label[..., index]


def draw_overlay(
    image: Tensor,
    prediction: Tensor,
    label: Tensor,
    class_names: Sequence[str],
    title: str | None = None,
    style: str = "auto",
) -> Image.Image:
    """Draw an image beside itself with prediction and label marked on it.

    Args:
        image: ``(C, W, H)`` in [0, 1], C one or three, in the axis order of MONAI's PIL reader.
        prediction: class ids ``(W, H)``.
        label: class ids ``(W, H)``.
        class_names: by id, background first.
        title: above the picture.
        style: see :func:`common.pictures.overlay.draw_comparison`.

    Returns:
        A sheet of pictures; :func:`common.pictures.sheets.save_sheet` writes it.

    Raises:
        ValueError: if ``style`` is unknown.
    """
    pixels = (image.as_tensor() if isinstance(image, MetaTensor) else image).detach().cpu().clamp(0, 1)
    picture = (255 * pixels).round().permute(2, 1, 0).numpy().astype(np.uint8)
    predicted, expected = (np.asarray(ids.cpu()).T.astype(np.uint8) for ids in (prediction, label))
    return draw_comparison(picture, predicted, expected, class_names, title, style)


def dice(prediction: Tensor, label: Tensor) -> float | None:
    """Return the mean Dice of the structures that a label of class ids has; None if it has none."""
    found = []
    for index in label[label > 0].unique():
        predicted, expected = prediction == index, label == index
        found.append(float(2 * (predicted & expected).sum() / (predicted.sum() + expected.sum())))
    return sum(found) / len(found) if found else None
