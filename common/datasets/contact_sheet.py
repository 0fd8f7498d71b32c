"""Labelled images on one sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from common.datasets.base import SegmentationDataset
from common.pictures.palette import class_colours
from common.pictures.sheets import draw_sheet

SIZE = 12  # images on a sheet

_COLUMNS = 3
_SIDE = 256  # longest side of an image, in pixels


class Case(NamedTuple):
    """An image and its label, as far as the report needs them."""

    entry: Mapping[str, Any]
    split: str
    group: str | None  # patient or exam, None if unknown
    size: tuple[int, int]  # width and height
    pixels: np.ndarray  # of each class, by id


def draw_contact_sheet(dataset: SegmentationDataset, cases: Sequence[Case]) -> Image.Image:
    """Draw some images, each beside itself with its label marked on it, a title, and a legend of the classes.

    Args:
        dataset: reads the images.
        cases: of all images.
    """
    pixels, groups = np.array([case.pixels for case in cases]), [case.group or case.entry["image"] for case in cases]
    shown = [cases[index] for index in choose_cases(pixels, groups, SIZE)]
    tiles = [_draw_tile(*dataset.load(case.entry)) for case in shown]
    captions = []
    for case in shown:
        group = [] if dataset.group == "image" or case.group is None else [f"{dataset.group} {case.group}"]
        part = [f"slice {case.entry['slice'] + 1}"] if "slice" in case.entry else []
        captions.append(", ".join([case.split, *group, Path(case.entry["image"]).name, *part]))
    title = f"{dataset.title}: {len(shown)} of {len(cases)} labelled images, each beside itself with its label"
    names = [name for _, name in sorted(dataset.classes.items())]
    legend = dict(zip(names[1:], class_colours(len(names))[1:], strict=True))
    return draw_sheet(tiles, captions, title, legend, _COLUMNS)


def choose_cases(pixels: np.ndarray, groups: Sequence[str], count: int) -> list[int]:
    """Return the indices of images for a contact sheet, so that each class and each group is shown about equally often.

    Args:
        pixels: ``(cases, classes)``, the number of pixels, background first.
        groups: patient or exam of each case.
        count: how many to choose; fewer if no more have anything but background.
    """
    present = pixels[:, 1:] > 0
    remaining = [index for index in np.random.default_rng(0).permutation(len(present)) if present[index].any()]
    classes_shown = np.zeros(present.shape[1])
    groups_shown: Counter[str] = Counter()
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


def mark_label(picture: Image.Image, label: Image.Image) -> Image.Image:
    """Return a picture on which every structure is tinted and has a border, in the colour of its class.

    MONAI's ``blend_images`` scales colours by the highest id of each label, so that a class would change its colour
    from image to image, and draws no borders.

    Args:
        picture: RGB.
        label: class ids, mode L; background is left as it is.
    """
    inside = label.point(lambda value: 255 * (value > 0))
    border = ImageChops.difference(label.filter(ImageFilter.MaxFilter(3)), label.filter(ImageFilter.MinFilter(3)))
    border = border.point(lambda value: 255 * (value > 0))
    strength = ImageChops.lighter(inside.point(lambda value: 0.4 * value), ImageChops.darker(inside, border))
    coloured = label.copy()
    coloured.putpalette([channel for colour in class_colours(256) for channel in colour])
    return Image.composite(coloured.convert("RGB"), picture, strength)


def _draw_tile(image: np.ndarray, label: np.ndarray) -> Image.Image:
    """Return the image, and beside it the image with its label, drawn at twice the size for smooth borders."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    picture = ImageOps.contain(picture, (2 * _SIDE, 2 * _SIDE))
    marked = mark_label(picture, Image.fromarray(label).resize(picture.size, Image.Resampling.NEAREST))
    tile = Image.new("RGB", (2 * picture.width, picture.height))
    tile.paste(picture, (0, 0))
    tile.paste(marked, (picture.width, 0))
    return tile.reduce(2)
