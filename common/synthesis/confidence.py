"""How confident a teacher is about a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.utils import eval_mode
from torch import Tensor, nn

_BATCH_SIZE = 8  # the teacher is far larger than the diffusion model


def measure_confidence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return how sure a segmentation is of its structures, and the share of pixels that it takes for structures.

    The confidence is the soft Dice confidence (Borges et al., 2024, arXiv 2402.10665), averaged over the classes that
    are found: the Dice between the probabilities of a class and the pixels that get it. Background, most of a medical
    image and easy to recognise, does not count, while every doubtful pixel does. Where nothing is found it is 0.

    Args:
        logits: ``(B, K, H, W)``, background first.

    Returns:
        confidence and share, each ``(B,)`` in [0, 1].
    """
    probabilities = logits.float().softmax(1)[:, 1:].flatten(2)
    classes = logits.argmax(1).flatten(1)
    found = torch.stack([classes == index for index in range(1, logits.shape[1])], dim=1).float()
    dice = 2 * (probabilities * found).sum(2) / (probabilities.sum(2) + found.sum(2))
    present = found.any(2)
    confidence = (dice * present).sum(1) / present.sum(1).clamp(min=1)
    return confidence, (classes > 0).float().mean(1)


@torch.no_grad()
def teacher_confidence(
    teacher: nn.Module, images: Tensor, transform: Callable[[Tensor], Tensor] | None = None
) -> tuple[list[float], list[float]]:
    """Return the teacher's confidence of each image, and the share of pixels that it takes for structures.

    Args:
        teacher: returns logits ``(B, K, h, w)``; left in the mode (train or eval) that it came in.
        images: ``(B, C, W, H)`` in [0, 1], on the device of the teacher.
        transform: applied to each image before the teacher gets it, None for nothing.

    Returns:
        confidences and shares, one of each per image, in [0, 1].
    """
    if transform is not None:
        images = torch.stack([torch.as_tensor(transform(image)) for image in images])
    confidences, shares = [], []
    with eval_mode(teacher):
        for batch in images.split(_BATCH_SIZE):
            confidence, share = measure_confidence(teacher(batch))
            confidences += confidence.tolist()
            shares += share.tolist()
    return confidences, shares
