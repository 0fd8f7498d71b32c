"""Masks on their images: a prediction alone, or beside its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from common.pictures.contours import is_thin
from common.pictures.marking import agreement, mark_areas, mark_borders, mark_both_borders, mark_difference
from common.pictures.palette import AGREEMENT, DIFFERENCE, Colour, class_colours
from common.pictures.sheets import draw_sheet
from common.pictures.zoom import fullest_part

STYLES = ("auto", "area", "border")

_LEAST, _MOST = 400, 1600  # pixels of the longer side of a picture
_OPACITY = 0.6  # of structures that are not thin
_MEANING = {
    "both": "label and prediction agree",
    "prediction only": "prediction only",
    "label only": "label only",
    "same": "label and prediction agree",
    "different": "they differ",
}


def draw_mask(
    image: np.ndarray,
    ids: np.ndarray,
    class_names: Sequence[str],
    title: str | None = None,
    style: str = "auto",
) -> Image.Image:
    """Draw an image beside itself with its structures marked, and a legend; thin structures are enlarged in a part.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` uint8, C one or three.
        ids: class ids ``(H, W)``, background 0.
        class_names: by id, background first.
        title: above the picture.
        style: mark the whole ``area`` of structures, or their ``border`` alone, which leaves the inside to be seen;
            ``auto``: the area of thin structures, the border of others.

    Returns:
        RGB; see :func:`common.pictures.sheets.draw_sheet` for its ``info``.

    Raises:
        ValueError: if sizes do not fit, an id is no class, or the style is unknown.
    """
    rgb, ids = _as_rgb(image), _as_ids(ids, len(class_names), image.shape)
    colours = class_colours(len(class_names))
    thin = is_thin(ids > 0)
    style = _chosen(style, thin)

    def mark(part: np.ndarray, part_ids: np.ndarray) -> Image.Image:
        return Image.fromarray(_mark_classes(part, part_ids, colours, style, thin))

    pictures = {"image": Image.fromarray(_scaled(rgb)), "mask": mark(_scaled(rgb), _scaled(ids))}
    if thin:
        pictures |= _zoomed(pictures["mask"], fullest_part(ids > 0), rgb, [ids], mark)
    legend = dict(zip(class_names[1:], colours[1:], strict=True))
    return draw_sheet(list(pictures.values()), list(pictures), title, legend, columns=2)


def draw_comparison(
    image: np.ndarray,
    prediction: np.ndarray,
    label: np.ndarray,
    class_names: Sequence[str],
    title: str | None = None,
    style: str = "auto",
) -> Image.Image:
    """Draw an image beside itself with what prediction and label agree on marked, and what only one of them has.

    Of several structures, label and prediction are shown in the colours of the classes, and where they differ.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` uint8, C one or three.
        prediction: class ids ``(H, W)``, background 0.
        label: class ids ``(H, W)``.
        class_names: by id, background first.
        title: above the picture.
        style: see :func:`draw_mask`.

    Returns:
        RGB; see :func:`common.pictures.sheets.draw_sheet` for its ``info``.

    Raises:
        ValueError: if sizes do not fit, an id is no class, or the style is unknown.
    """
    rgb = _as_rgb(image)
    prediction, label = (_as_ids(ids, len(class_names), image.shape) for ids in (prediction, label))
    colours = class_colours(len(class_names))
    thin = is_thin((label if label.any() else prediction) > 0)
    style = _chosen(style, thin)

    def mark(part: np.ndarray, predicted: np.ndarray, expected: np.ndarray) -> Image.Image:
        if len(class_names) > 2:
            return Image.fromarray(mark_difference(part, predicted, expected))
        if style == "border":
            return Image.fromarray(mark_both_borders(part, predicted, expected))
        kinds = [(0, 0, 0), *AGREEMENT.values()]
        return Image.fromarray(mark_areas(part, agreement(predicted, expected), kinds, 1 if thin else _OPACITY))

    large = _scaled(rgb)
    pictures = {"image": Image.fromarray(large)}
    legend = {_MEANING[name]: colour for name, colour in AGREEMENT.items()}
    if len(class_names) > 2:
        for caption, ids in (("label", label), ("prediction", prediction)):
            pictures[caption] = Image.fromarray(_mark_classes(large, _scaled(ids), colours, style, thin))
        legend = dict(zip(class_names[1:], colours[1:], strict=True))
        legend |= {_MEANING[name]: colour for name, colour in DIFFERENCE.items()}
    pictures["comparison"] = mark(large, _scaled(prediction), _scaled(label))
    if thin:
        part = fullest_part((prediction != label) + 1e-3 * (label > 0))
        pictures |= _zoomed(pictures["comparison"], part, rgb, [prediction, label], mark)
    return draw_sheet(list(pictures.values()), list(pictures), title, legend, columns=2)


def check_style(style: str) -> None:
    """Refuse a style that is unknown, before a long run and not at its end.

    Raises:
        ValueError: if ``style`` is unknown.
    """
    if style not in STYLES:
        raise ValueError(f"overlay_style must be one of {', '.join(STYLES)}, got {style!r}")


def _chosen(style: str, thin: bool) -> str:
    check_style(style)
    if style == "auto":
        return "area" if thin else "border"
    return style


def _mark_classes(image: np.ndarray, ids: np.ndarray, colours: Sequence[Colour], style: str, thin: bool) -> np.ndarray:
    if style == "border":
        return mark_borders(image, ids, colours)
    return mark_areas(image, ids, colours, 1 if thin else _OPACITY)


def _zoomed(
    picture: Image.Image,
    part: tuple[int, int, int, int],
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    mark: Callable[..., Image.Image],
) -> dict[str, Image.Image]:
    """Frame a part of an image in a picture of it, and return it as wide as the picture: as it is, and marked."""
    left, top, right, bottom = part
    scale = picture.width / image.shape[1]
    frame = tuple(round(scale * edge) for edge in part)
    draw = ImageDraw.Draw(picture)
    draw.rectangle([frame[0] - 2, frame[1] - 2, frame[2] + 1, frame[3] + 1], outline=(0, 0, 0), width=1)
    draw.rectangle([frame[0] - 1, frame[1] - 1, frame[2], frame[3]], outline=(255, 255, 255), width=1)
    size = (picture.width, picture.width)
    enlarged = np.asarray(Image.fromarray(image[top:bottom, left:right]).resize(size, Image.Resampling.BICUBIC))
    parts = [Image.fromarray(mask[top:bottom, left:right]).resize(size, Image.Resampling.NEAREST) for mask in masks]
    marked = mark(enlarged, *map(np.asarray, parts))
    return {"framed part of the image": Image.fromarray(enlarged), "framed part": marked}


def _scaled(pixels: np.ndarray) -> np.ndarray:
    """Return an image ``(H, W, 3)`` or class ids ``(H, W)``, larger or smaller, so that the picture can be read.

    Small ones are enlarged by a whole number.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if _LEAST <= longer <= _MOST:
        return pixels
    factor = -(-_LEAST // longer) if longer < _LEAST else _MOST / longer
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    if pixels.ndim == 2:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))
    kind = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, kind))


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Return ``(H, W, 3)``."""
    image = np.asarray(image)
    grey = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 1)
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[-1] == 3)):
        raise ValueError(f"expected an image (H, W), (H, W, 1) or (H, W, 3) in uint8, got {image.shape} {image.dtype}")
    return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2) if grey else np.ascontiguousarray(image)


def _as_ids(ids: np.ndarray, num_classes: int, shape: tuple[int, ...]) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.shape != shape[:2]:
        raise ValueError(f"expected class ids of {shape[0]} x {shape[1]} pixels as the image has, got {ids.shape}")
    if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
        raise ValueError(f"expected class ids from 0 to {num_classes - 1}, got {ids.min()} to {ids.max()}")
    return np.ascontiguousarray(ids, np.uint8)
