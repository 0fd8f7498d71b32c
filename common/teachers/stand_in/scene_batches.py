"""Batches of procedural scenes, each turned, mirrored and recoloured at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.datasets.phantoms.scenes import MAX_OBJECTS, SceneDataset

# Sides of the scenes as shares of what the network sees, and how many scenes have them. All are enlarged to one size,
# as the bundles enlarge images: SAM decodes at a quarter of its input, so thin structures must be shown larger.
_SIDES = {1 / 4: 0.5, 1 / 2: 0.3, 1: 0.2}

ScenePool = list[Tensor]
"""Images ``(N, 3, h, w)``, the number of each pixel's object ``(N, h, w)``, and each object's kind, all uint8."""


def draw_pools(scenes: int, image_size: int, seed: int, num_workers: int) -> list[ScenePool]:
    """Draw about ``scenes`` scenes at a quarter, half and all of ``image_size``: a pool of each size."""
    return [
        _draw_pool(max(1, round(share * scenes)), round(side * image_size), seed, num_workers)
        for side, share in _SIDES.items()
    ]


def _draw_pool(scenes: int, size: int, seed: int, num_workers: int) -> ScenePool:
    loader = DataLoader(SceneDataset(scenes, size, seed), batch_size=50, num_workers=num_workers)
    title = f"drawing scenes of {size} x {size}"
    return [torch.cat(parts) for parts in zip(*tqdm(loader, desc=title, mininterval=10), strict=True)]


def enlarge(images: Tensor, size: int) -> Tensor:
    """Return images ``(B, C, h, w)`` at ``size`` pixels a side, as floats of the same range."""
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)


def random_batch(
    pools: list[ScenePool], batch_size: int, prompts: int, image_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return an :func:`augmented_batch` of one of the pools, the larger ones more often."""
    pool = pools[int(torch.multinomial(torch.tensor(list(_SIDES.values())), 1))]
    return augmented_batch(pool, batch_size, prompts, image_size)


def augmented_batch(pool: ScenePool, batch_size: int, prompts: int, image_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw scenes from a pool, and turn, mirror and recolour all of the batch alike but for brightness and contrast.

    Args:
        pool: of scenes.
        batch_size: scenes in the batch (B).
        prompts: objects of each scene to prompt for (P); some of them may not be there.
        image_size: height and width (H, W) to enlarge the scenes to.

    Returns:
        Images ``(B, 3, H, W)`` in [0, 1], masks ``(B, P, H, W)`` of the objects, kinds of each pixel ``(B, H, W)``.
    """
    chosen = torch.randint(len(pool[0]), (batch_size,))
    images, objects, kinds = (part[chosen] for part in pool)
    images = enlarge(images, image_size) / 255
    objects = F.interpolate(objects[:, None], size=(image_size, image_size), mode="nearest")[:, 0]
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    images, objects = torch.rot90(images, turns, (2, 3)), torch.rot90(objects, turns, (1, 2))
    if mirrored:
        images, objects = images.flip(3), objects.flip(2)
    images = images[:, torch.randperm(3)]
    contrast, brightness = torch.rand(batch_size, 1, 1, 1) * 0.8 + 0.6, torch.rand(batch_size, 3, 1, 1) * 0.3 - 0.15
    means = images.mean((2, 3), keepdim=True)
    images = ((images - means) * contrast + means + brightness).clamp(0, 1)
    pixel_kinds = kinds.gather(1, objects.flatten(1).long()).view_as(objects)
    numbers = torch.stack([1 + torch.randperm(MAX_OBJECTS)[:prompts] for _ in range(batch_size)])
    masks = (objects[:, None] == numbers[:, :, None, None]).float()
    return images, masks, pixel_kinds
