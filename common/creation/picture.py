"""The picture of labelled images that is drawn before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.pictures.overlay import draw_mask
from common.pictures.sheets import draw_sheet

PICTURE = "docs/labels.png"  # in the bundle
NUM_SHOWN = 4
_SIDE = 480  # pixels of the longer side of an image


def draw_labels(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    class_names: Sequence[str],
    title: str,
    enlarged: bool = False,
) -> Image.Image:
    """Draw labelled images beside themselves, so that a person sees whether labels lie where they should.

    Args:
        pairs: images ``(H, W, C)``, uint8, and class ids ``(H, W)``.
        names: of the images.
        class_names: by id, background first.
        title: above the picture.
        enlarged: whether structures are so thin that images must stay large.
    """
    small = pairs if enlarged else [smaller(image, ids) for image, ids in pairs]
    pictures = [draw_mask(image, ids, class_names) for image, ids in small]
    return draw_sheet(pictures, list(names), title, columns=2)


def most_telling(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], kinds: Sequence[tuple[Any, ...]], count: int = NUM_SHOWN
) -> list[int]:
    """Return the places of those to show: of those with the most classes, from small structures to large ones.

    Args:
        pairs: images ``(H, W, C)`` and class ids ``(H, W)``.
        kinds: what is known of each image, such as its stratum and its patient: those shown differ in it if they can.
        count: how many to show.
    """
    numbers = [len(np.unique(ids)) for _, ids in pairs]
    least = sorted(numbers, reverse=True)[min(count, len(numbers)) - 1]
    fitting = [index for index, number in enumerate(numbers) if number >= least]
    fitting.sort(key=lambda index: float((pairs[index][1] > 0).mean()))
    seen: Counter[tuple[int, Any]] = Counter()
    shown = []
    for array in np.array_split(fitting, min(count, len(fitting))):
        part = array.tolist()
        middle = len(part) // 2
        in_turn = sorted(range(len(part)), key=lambda place: abs(place - middle))
        best = min(in_turn, key=lambda place: [seen[each] for each in enumerate(kinds[part[place]])])
        shown.append(part[best])
        seen.update(enumerate(kinds[part[best]]))
    return shown


def smaller(image: np.ndarray, ids: np.ndarray, side: int = _SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and class ids whose longer side is at most so many pixels."""
    height, width = ids.shape
    factor = side / max(height, width)
    if factor >= 1:
        return image, ids
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    shrunk = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).resize(size, Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(shrunk)), np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of files to write above their pictures."""
    return [Path(path).name for path in paths]
