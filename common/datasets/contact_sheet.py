"""Labelled images on one sheet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import maximum_filter, minimum_filter

CONTACT_SHEET_SIZE = 12


_COLUMNS = 3


_SIDE = 256  # longest side of an image on the contact sheet, in pixels


_LINE = 20  # height of a line of text there


# The colours of Okabe and Ito, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color).
_COLOURS = np.array(
    [(86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178)]
)


class Case(NamedTuple):
    """An image and its label, as far as the report needs them."""

    entry: Mapping[str, Any]
    section: str
    group: str | None  # patient or exam, None if unknown
    size: tuple[int, int]  # width and height
    pixels: np.ndarray  # of each class, by id


def draw_contact_sheet(module: ModuleType, cases: Sequence[Case]) -> Image.Image:
    """Draw some images, each beside itself with its label marked on it, and a legend of the classes.

    Args:
        module: of the dataset.
        cases: of all images.
    """
    pixels, groups = np.array([case.pixels for case in cases]), [case.group or case.entry["image"] for case in cases]
    shown = [cases[index] for index in choose_cases(pixels, groups, CONTACT_SHEET_SIZE)]
    tiles = [_draw_tile(*module.load(case.entry)) for case in shown]
    columns = min(_COLUMNS, len(tiles))
    width, height = 2 * _SIDE + _LINE, max(tile.height for tile in tiles) + _LINE
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height + _LINE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (case, tile) in enumerate(zip(shown, tiles, strict=True)):
        left, top = index % columns * width, index // columns * height
        sheet.paste(tile, (left, top + _LINE))
        group = [] if module.GROUP == "image" or case.group is None else [f"{module.GROUP} {case.group}"]
        caption = ", ".join([case.section, *group, Path(case.entry["image"]).name])
        draw.text((left, top + _LINE // 2), caption, "black", font, anchor="lm")
    left, top = 0, sheet.height - _LINE
    for index, name in module.classes_of(shown[0].entry).items():
        if index > 0:
            draw.rectangle((left, top + 4, left + _LINE, sheet.height - 4), tuple(_colour_of(index).tolist()))
            draw.text((left + 1.5 * _LINE, top + _LINE // 2), name, "black", font, anchor="lm")
            left += 3 * _LINE + round(draw.textlength(name, font))
    return sheet


def choose_cases(pixels: np.ndarray, groups: Sequence[str], count: int) -> list[int]:
    """Return the indices of images for a contact sheet, so that each class and each group is shown about equally often.

    Args:
        pixels: ``(cases, classes)``, the number of pixels, background first.
        groups: patient or exam of each case.
        count: how many to choose; fewer if no more have anything but background.
    """
    present = pixels[:, 1:] > 0
    remaining = [index for index in np.random.default_rng(0).permutation(len(present)) if present[index].any()]
    classes_shown, groups_shown = np.zeros(present.shape[1]), Counter()
    chosen: list[int] = []
    while remaining and len(chosen) < count:
        available = present[remaining].any(axis=0)
        rarest = np.where(available, classes_shown, np.inf).argmin()
        with_it = [index for index in remaining if present[index, rarest]]
        index = min(with_it, key=lambda index: groups_shown[groups[index]])
        remaining.remove(index)
        chosen.append(int(index))
        classes_shown += present[index]
        groups_shown[groups[index]] += 1
    return sorted(chosen) or list(range(min(count, len(present))))


def _draw_tile(image: np.ndarray, label: np.ndarray) -> Image.Image:
    """Return the image, and beside it the image with its label, drawn at twice the size for smooth borders."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    picture = ImageOps.contain(picture, (2 * _SIDE, 2 * _SIDE))
    resized = np.asarray(Image.fromarray(label).resize(picture.size, Image.Resampling.NEAREST))
    pair = np.concatenate([np.asarray(picture), mark_label(np.asarray(picture), resized)], axis=1)
    return Image.fromarray(pair).reduce(2)


def mark_label(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return a picture on which every structure is tinted and has a border, in the colour of its class.

    Args:
        picture: ``(H, W, 3)``, uint8.
        label: class ids ``(H, W)``; background is left as it is.
    """
    border = maximum_filter(label, 3) != minimum_filter(label, 3)
    strength = np.where(border, 1.0, 0.4)[..., None] * (label > 0)[..., None]
    marked = (1 - strength) * picture + strength * _colour_of(label)
    return marked.round().astype(np.uint8)


def _colour_of(class_id: int | np.ndarray) -> np.ndarray:
    """Return the RGB of a class other than background, or of a whole label."""
    return _COLOURS[(np.asarray(class_id, int) - 1) % len(_COLOURS)]
