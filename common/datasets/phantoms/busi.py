"""Phantoms of BUSI: procedural breast ultrasound images in the official layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.datasets.phantoms.breast import KINDS, draw_breast
from common.datasets.phantoms.folder import phantom_folder


def write_phantoms(
    folder: str | os.PathLike,
    num_images: Sequence[int] = (27, 13, 8),
    image_size: tuple[int, int] = (380, 460),
    seed: int = 0,
) -> Path:
    """Write procedural images of benign and malignant lesions and of normal breasts, in the layout and formats of BUSI.

    Every ninth benign image has two lesions, in a mask each. Masks have one bit; the second ones are stored as RGBA,
    those of normal breasts as RGB. All are in the folder ``Dataset_BUSI_with_GT``.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_images: benign, malignant and normal ones.
        image_size: height and width in pixels, which vary by a quarter.
        seed: the same seed writes the same pixels.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    with phantom_folder(folder) as partial:
        for index, (kind, count) in enumerate(zip(KINDS, num_images, strict=True)):
            place = partial / "Dataset_BUSI_with_GT" / kind
            place.mkdir(parents=True)
            for number in range(1, count + 1):
                rng = np.random.default_rng((seed, index, number))
                height, width = (round(length * rng.uniform(0.75, 1.25)) for length in image_size)
                image, masks = draw_breast(
                    rng, (height, width), kind, num_lesions=2 if kind == "benign" and number % 9 == 4 else 1
                )
                image.convert("RGB").save(place / f"{kind} ({number}).png")
                for mask, name in zip(_as_stored(masks, image.size), ("_mask", "_mask_1"), strict=False):
                    mask.save(place / f"{kind} ({number}){name}.png")
    return Path(folder)


def _as_stored(masks: list[Image.Image], size: tuple[int, int]) -> list[Image.Image]:
    """Return the masks of an image as BUSI has them, one of none for a normal breast."""
    if not masks:
        return [Image.new("RGB", size)]
    return [masks[0], *(mask.convert("RGBA") for mask in masks[1:])]
