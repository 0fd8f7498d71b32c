"""Flips and quarter turns of an image, over which a teacher is averaged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from common.errors import InputError


class Orientation(NamedTuple):
    """How an image is shown to the teacher.

    Attributes:
        mirrored: along the first axis, which for MONAI's readers of pictures is left and right.
        quarters: by how many quarters it is turned after that.
    """

    mirrored: bool
    quarters: int

    def apply(self, images: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` mirrored and turned; H and W change places in odd quarters."""
        return (images.flip(2) if self.mirrored else images).rot90(self.quarters, dims=(2, 3))

    def undo(self, maps: Tensor) -> Tensor:
        """Return maps of such images, ``(B, C, h, w)``, as of the images before."""
        maps = maps.rot90(-self.quarters, dims=(2, 3))
        return maps.flip(2) if self.mirrored else maps


ORIENTATIONS = {
    1: (Orientation(False, 0),),
    2: (Orientation(False, 0), Orientation(True, 0)),
    8: tuple(Orientation(mirrored, quarters) for mirrored in (False, True) for quarters in range(4)),
}


def check_orientations(orientations: int) -> None:
    """Refuse a number of orientations that is not in :data:`ORIENTATIONS`.

    Raises:
        InputError: naming the numbers that are.
    """
    if orientations not in ORIENTATIONS:
        raise InputError(
            "teacher_orientations: expected 1 (as it is), 2 (mirrored as well) or 8 (all flips and quarter turns), got "
            f"{orientations!r}"
        )
