"""Average a teacher over flips and quarter turns of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.distillation.features import FeatureTaps
from common.errors import InputError

# How an image is shown to the teacher, by the number of ways: whether mirrored along the first axis, which for MONAI's
# readers of pictures is left and right, and by how many quarters turned after that.
ORIENTATIONS = {
    1: ((False, 0),),
    2: ((False, 0), (True, 0)),
    8: tuple((mirrored, quarters) for mirrored in (False, True) for quarters in range(4)),
}


@torch.inference_mode()
def ask_teacher(
    teacher: nn.Module, taps: FeatureTaps, images: Tensor, orientations: int = 1
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the teacher's logits, and its features by layer as grids ``(B, C, h, w)``, for images ``(B, C, H, W)``.

    A teacher that was fine-tuned with few labels does not say the same of an image and of its mirror image; the mean of
    what it says is nearer to the truth.

    Args:
        teacher: in eval mode.
        taps: on its layers.
        images: in [0, 1].
        orientations: of each image, over which the answers are averaged, as one of :data:`ORIENTATIONS`.
    """
    turned = [_ask_about_one(teacher, taps, images, *move) for move in ORIENTATIONS[orientations]]
    logits = torch.stack([each[0] for each in turned]).mean(0)
    return logits, {layer: torch.stack([each[1][layer] for each in turned]).mean(0) for layer in turned[0][1]}


def _ask_about_one(
    teacher: nn.Module, taps: FeatureTaps, images: Tensor, mirrored: bool, quarters: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the answers about images that are mirrored and turned, moved back."""

    def back(maps: Tensor) -> Tensor:
        maps = maps.rot90(-quarters, dims=(2, 3))
        return maps.flip(2) if mirrored else maps

    seen = (images.flip(2) if mirrored else images).rot90(quarters, dims=(2, 3))
    logits = teacher(seen)
    return back(logits), {layer: back(grid) for layer, grid in taps.pop(seen.shape[2:]).items()}


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
