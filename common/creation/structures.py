"""What images and structures look like: sizes, colours, and how wide structures are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from scipy import ndimage

from common.datasets.outlines import Outlined

_MOST_PIXELS = 2048  # a side on which widths are measured


@dataclass(frozen=True)
class Structures:
    """What was measured on a sample.

    Attributes:
        num_images: in the sample.
        sizes: width and height of each image.
        grey: the places in the sample of images in which all channels are equal.
        widths: of each structure by name, the median over images that have it, in pixels of an image that is resized to
            1 pixel a side; a structure that no image has is missing.
        shares: of each structure by name, its mean share of the pixels.
        num_with: of each structure by name, in how many images it is.
        num_cornered: of each structure by name, in how many images it has all four corners, as background has.
        num_lacking: images that lack at least one structure.
        num_outlined: of each structure whose outline alone most images have, in how many; others are missing.
    """

    num_images: int
    sizes: tuple[tuple[int, int], ...]
    grey: tuple[int, ...]
    widths: dict[str, float]
    shares: dict[str, float]
    num_with: dict[str, int]
    num_cornered: dict[str, int]
    num_lacking: int
    num_outlined: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Median width and height."""
        return tuple(round(median(side)) for side in zip(*self.sizes, strict=True))

    @property
    def smallest_side(self) -> int:
        """The shortest side of any image."""
        return min(min(size) for size in self.sizes)

    def thinnest(self) -> tuple[str, float] | None:
        """Return the structure that is thinnest and its width; None where no image has any structure."""
        return min(self.widths.items(), key=lambda item: item[1], default=None)


def measure(pairs: Iterable[tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> Structures:
    """Measure a sample of labelled images.

    Args:
        pairs: images ``(H, W, C)``, uint8, and class ids ``(H, W)``.
        class_names: by id, background first.
    """
    sizes: list[tuple[int, int]] = []
    grey: list[int] = []
    num_lacking, outlined = 0, Outlined(class_names)
    widths: dict[str, list[float]] = {name: [] for name in class_names[1:]}
    shares: dict[str, list[float]] = {name: [] for name in class_names[1:]}
    num_cornered = dict.fromkeys(class_names[1:], 0)
    for image, ids in pairs:
        height, width = ids.shape
        outlined.add(str(len(sizes)), ids)
        sizes.append((width, height))
        step = -(-max(ids.shape) // _MOST_PIXELS)
        image, ids = image[::step, ::step], ids[::step, ::step]
        if (image == image[..., :1]).all():
            grey.append(len(sizes) - 1)
        lacks = False
        for index, name in enumerate(class_names[1:], start=1):
            mask = ids == index
            shares[name].append(float(mask.mean()))
            num_cornered[name] += has_corners(mask)
            if mask.any():
                widths[name].append(typical_width(mask) / float(np.sqrt(mask.size)))
            else:
                lacks = True
        num_lacking += lacks
    return Structures(
        num_images=len(sizes),
        sizes=tuple(sizes),
        grey=tuple(grey),
        widths={name: median(each) for name, each in widths.items() if each},
        shares={name: float(np.mean(each)) if each else 0.0 for name, each in shares.items()},
        num_with={name: len(each) for name, each in widths.items()},
        num_cornered=num_cornered,
        num_lacking=num_lacking,
        num_outlined={name: len(labels) for name, labels in outlined.found().items()},
    )


def has_corners(mask: np.ndarray) -> bool:
    """Tell whether a mask ``(H, W)`` has all four corners, as background has in most images."""
    return bool(mask[:: max(len(mask) - 1, 1), :: max(mask.shape[1] - 1, 1)].all())


def typical_width(mask: np.ndarray) -> float:
    """Return how wide the structures of a mask ``(H, W)`` are in pixels: about the width of a strip.

    The mean distance to the border of a strip is a quarter of its width, that of a disc a third of its radius.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("expected a mask with a structure, got an empty one")
    distances = ndimage.distance_transform_edt(np.pad(mask, 1))
    return 4 * (float(distances[distances > 0].mean()) - 0.5)
