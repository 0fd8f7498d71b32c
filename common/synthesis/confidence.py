"""How confident a teacher is about a sample."""

from __future__ import annotations

import torch
from torch import Tensor


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
