"""The eight ways in which a square can lie: four turns, mirrored or not."""

from __future__ import annotations

from torch import Tensor

ORIENTATIONS = 8


def orient(images: Tensor, orientation: int) -> Tensor:
    """Turn or mirror images ``(..., H, W)``.

    Args:
        images: of any size.
        orientation: in [0, 8); bit 2 swaps the axes, then bit 1 flips columns and bit 0 rows.
    """
    if orientation & 4:
        images = images.transpose(-2, -1)
    return images.flip([axis for bit, axis in ((1, -2), (2, -1)) if orientation & bit])


def orient_back(images: Tensor, orientation: int) -> Tensor:
    """Undo :func:`orient`."""
    images = images.flip([axis for bit, axis in ((1, -2), (2, -1)) if orientation & bit])
    return images.transpose(-2, -1) if orientation & 4 else images
