"""Prompts that point out an object: points inside it, points outside it, and boxes around it."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_points(masks: Tensor, count: int) -> Tensor:
    """Draw ``count`` points inside each mask.

    Args:
        masks: ``(B, N, H, W)`` in {0, 1}, none of them empty.
        count: points to draw from each, with repetition.

    Returns:
        ``(B, N, count, 2)``: x and y in pixels.
    """
    width = masks.shape[-1]
    flat = torch.multinomial(masks.flatten(0, 1).flatten(1), count, replacement=True)
    return torch.stack([flat % width, flat // width], dim=-1).reshape(*masks.shape[:2], count, 2).float()


def bounding_boxes(masks: Tensor, jitter: float = 0.1) -> Tensor:
    """Return the boxes ``(B, N, 4)`` (x1, y1, x2, y2) around masks ``(B, N, H, W)``, corners moved at random.

    Args:
        masks: in {0, 1}, none of them empty.
        jitter: standard deviation of the movement, as a share of the box's side, cut off at 20 pixels as in SAM.
    """
    sides = []
    for axis in (-2, -1):  # columns occupied, then rows
        occupied = masks.amax(axis) > 0
        first = occupied.float().argmax(-1)
        last = occupied.shape[-1] - 1 - occupied.flip(-1).float().argmax(-1)
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    boxes = torch.stack([left, top, right, bottom], dim=-1).float()
    extent = torch.stack([right - left, bottom - top] * 2, dim=-1)
    return boxes + (torch.randn_like(boxes) * jitter * extent).clamp(-20, 20)


def prompt_inputs(masks: Tensor, prompt: str) -> dict[str, Tensor]:
    """Return the prompts of objects as transformers' ``SamModel`` takes them.

    Args:
        masks: of the objects, ``(B, N, H, W)`` in {0, 1}, none of them empty.
        prompt: ``point``, ``points`` (three inside, two outside) or ``box``.
    """
    if prompt == "box":
        return {"input_boxes": bounding_boxes(masks)}
    points = sample_points(masks, 1 if prompt == "point" else 3)
    labels = torch.ones(points.shape[:3], dtype=torch.long, device=masks.device)
    if prompt == "points":
        outside = sample_points(1 - masks + 1e-6, 2)
        points = torch.cat([points, outside], dim=2)
        labels = torch.cat([labels, torch.zeros_like(labels[..., :2])], dim=2)
    return {"input_points": points, "input_labels": labels}
