"""The image of a set that another image resembles most, wherever and however it was cropped, turned or mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from common.synthesis.correlation import Scenes, correlate_near
from common.synthesis.orientations import ORIENTATIONS, orient
from common.synthesis.small_images import SIDE, normalise, resize, shrink

COARSE_SIDE = 16  # pixels a side at which the position is searched for; images are compared at SIDE
CENTRE = 0.8  # share of an image's side that is looked for in others: what a small crop leaves
SCALES = (0.9, 1.0, 1.1)  # of that part in the other image, so that a crop resized back is found, and its opposite


class Neighbours(NamedTuple):
    """The nearest reference of each of N images.

    Attributes:
        distances: ``(N,)``, 0 for the same image, 1 for one that has nothing in common.
        rivals: ``(N,)``, distance to the nearest reference of another group than the nearest one's, 1 if there is none.
        indices: ``(N,)``, which reference is nearest, -1 where there was none to compare with.
        boxes: ``(N, 4)``, top, left, height and width in pixels of the part of the reference that matches the whole
            image; it may reach a little over the rim.
        orientations: ``(N,)``, how the image lies in the reference, see :func:`orient`.
    """

    distances: Tensor
    rivals: Tensor
    indices: Tensor
    boxes: Tensor
    orientations: Tensor


@torch.no_grad()
def find_nearest(
    images: Tensor,
    references: Sequence[Tensor],
    groups: Sequence[str] | None = None,
    allowed: Tensor | None = None,
) -> Neighbours:
    """Find the reference that each image resembles most.

    The distance is 1 minus the highest normalised cross-correlation of the central part of the image (0.8 of its side)
    with any part of the reference, over all positions, the eight orientations and scales of 0.9, 1 and 1.1. So a
    crop, a flip, a turn or another brightness or contrast hides no copy. Each channel has its mean subtracted; all
    channels are normalised together. The position is searched for at 16 pixels a side and refined at 32.

    Args:
        images: ``(N, C, S, S)``.
        references: ``(C, H, W)``, at the scale of the images, H and W of at least S; sizes may differ.
        groups: patient or exam of each reference; each is by itself if None.
        allowed: ``(N, len(references))``, which references count for which image; all if None.

    Raises:
        ValueError: if there are no references, images are not square, a reference is smaller than they are or has
            another number of channels.
    """
    _check(images, references)
    device = images.device
    references = [reference.to(device) for reference in references]
    if allowed is None:
        allowed = torch.ones(len(images), len(references), dtype=torch.bool)
    numbers = list(range(len(references))) if groups is None else [groups.index(group) for group in groups]
    allowed, group_ids = allowed.to(device), torch.tensor(numbers, device=device)
    candidates = _find_candidates(images, references, group_ids, allowed)
    found, indices, boxes, orientations = (torch.stack(each, dim=1) for each in zip(*candidates, strict=True))
    rows, best = torch.arange(len(images)), found.argmax(1)
    # In each orientation and scale, one of the two candidates is the best of those outside the group of the nearest.
    inside = group_ids[indices] == group_ids[indices[rows, best]][:, None]
    return Neighbours(
        distances=_to_distance(found[rows, best]),
        rivals=_to_distance(found.masked_fill(inside, -torch.inf).amax(1)),
        indices=torch.where(allowed.any(1), indices[rows, best], -1),
        boxes=boxes[rows, best],
        orientations=orientations[rows, best],
    )


def _find_candidates(
    images: Tensor, references: Sequence[Tensor], groups: Tensor, allowed: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return the best match of each image in each orientation and scale, and the best of another group than that one's.

    Args:
        images: ``(N, C, S, S)``.
        references: R images ``(C, H, W)`` on the same device.
        groups: ``(R,)``, number of the group of each reference.
        allowed: ``(N, R)``.

    Returns:
        correlations ``(N,)``, -inf where no reference is allowed; references ``(N,)``; boxes ``(N, 4)``; orientations
        ``(N,)``.
    """
    side = images.shape[-1]
    coarse_factor, factor = (min(1.0, pixels / side) for pixels in (COARSE_SIDE, SIDE))
    scenes = Scenes([shrink(reference, coarse_factor) for reference in references])
    fine_references = [shrink(reference, factor) for reference in references]
    coarse_images, fine_images = shrink(images, coarse_factor), shrink(images, factor)
    candidates = []
    for scale in SCALES:
        outlines, templates = (normalise(_centre(each, scale)) for each in (coarse_images, fine_images))
        inverse_norms = scenes.inverse_norms(outlines.shape[-1])
        whole = side * scale
        margin = (whole - templates.shape[-1] / factor) / 2
        for orientation in range(ORIENTATIONS):
            scores, corners = scenes.correlate(orient(outlines, orientation), inverse_norms)
            scores = scores.masked_fill(~allowed, -torch.inf)
            first = scores.argmax(1)
            others = scores.masked_fill(groups[first][:, None] == groups, -torch.inf)
            for which, known in ((first, scores), (others.argmax(1), others)):
                start = (corners[torch.arange(len(images)), which] * factor / coarse_factor).round().long()
                nearby = [fine_references[index] for index in which]
                found, start = correlate_near(orient(templates, orientation), nearby, start)
                found = torch.where(known.amax(1) > -torch.inf, found, -torch.inf)
                box = torch.cat([start / factor - margin, torch.full_like(start, 1) * whole], dim=1)
                candidates.append((found, which, box, torch.full_like(which, orientation)))
    return candidates


def _to_distance(correlation: Tensor) -> Tensor:
    return 1 - correlation.clamp(0, 1)


def _centre(images: Tensor, scale: float) -> Tensor:
    """Return the central part of square images ``(N, C, S, S)``, resized by ``scale``."""
    side = images.shape[-1]
    length = round(CENTRE * side)
    start = (side - length) // 2
    part = images[..., start : start + length, start : start + length]
    return resize(part, [round(scale * length)] * 2)


def _check(images: Tensor, references: Sequence[Tensor]) -> None:
    """Refuse what cannot be compared.

    Raises:
        ValueError: as :func:`find_nearest` does.
    """
    if not references:
        raise ValueError("references must not be empty: there is nothing to compare with")
    _, channels, side, width = images.shape
    if side != width:
        raise ValueError(f"images must be square, got {side} x {width}")
    for reference in references:
        if reference.shape[0] != channels or min(reference.shape[1:]) < side:
            raise ValueError(
                f"references must have {channels} channels and {side} pixels a side or more, as the images, got one of "
                f"shape {tuple(reference.shape)}"
            )
