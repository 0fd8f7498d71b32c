"""Labels in which only the outline of a structure is drawn, and its inside is background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from common.datasets.findings import name_some

_SIDE = 512  # pixels at which it is looked for
_FILLED = 3  # times the pixels of an outline are those of what it encloses: a line of a twelfth of a disc's diameter
_RIM = 0.25  # how far, of the way from border to centre, an outline may reach; in vessels 0.33 and more
_FEWEST = 3  # labels, since a structure may be a thin ring indeed


class Outlined:
    """Counts labels in which a structure is but an outline.

    Args:
        classes: names by id, background first.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.drawn = dict.fromkeys(classes[1:], 0)
        self.outlined: dict[str, list[str]] = {name: [] for name in classes[1:]}

    def add(self, label: str, ids: np.ndarray) -> None:
        """Look at class ids ``(H, W)``."""
        for index, name in enumerate(self.classes[1:], start=1):
            mask = ids == index
            if mask.any():
                self.drawn[name] += 1
                if is_outline(mask, ids == 0):
                    self.outlined[name].append(label)

    def found(self) -> dict[str, list[str]]:
        """Return the structures that most labels have the outline of alone, with these labels."""
        return {
            name: labels
            for name, labels in self.outlined.items()
            if len(labels) >= _FEWEST and 2 * len(labels) > self.drawn[name]
        }

    def remarks(self) -> list[str]:
        """Return a line for each of these structures."""
        return [
            f"only the outline of {name} is drawn in {len(labels)} of {self.drawn[name]} labels that have it "
            f"({name_some(labels)}): what it encloses counts as background; where the inside is meant, fill it"
            for name, labels in self.found().items()
        ]


def is_outline(mask: np.ndarray, background: np.ndarray) -> bool:
    """Tell whether a structure is a thin line around background.

    Args:
        mask: of the structure, bool ``(H, W)``.
        background: where no structure is, bool ``(H, W)``: what encloses another structure is a layer, not an outline.
    """
    step = -(-max(mask.shape) // _SIDE)
    mask, background = _smaller(mask, step), background[::step, ::step]
    filled = ndimage.binary_fill_holes(mask)
    if (filled & background).sum() + mask.sum() < _FILLED * mask.sum():
        return False
    depths = ndimage.distance_transform_edt(filled)
    return bool(np.percentile(depths[mask], 90) <= _RIM * depths.max())


def _smaller(mask: np.ndarray, step: int) -> np.ndarray:
    """Return a mask in which each block of pixels is one, so that no line is interrupted."""
    height, width = (-(-side // step) for side in mask.shape)
    whole = np.zeros((height * step, width * step), bool)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    return np.any(whole.reshape(height, step, width, step), axis=(1, 3))
