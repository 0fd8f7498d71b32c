"""Scenes and their labels are turned, mirrored and enlarged together."""

from __future__ import annotations

import torch

from common.datasets.phantoms.scenes import MAX_OBJECTS
from common.teachers.stand_in.scene_batches import augmented_batch


def test_image_masks_and_kinds_are_turned_and_mirrored_together():
    instances = torch.zeros(1, 16, 16, dtype=torch.uint8)
    instances[0, 2:5, 3:12], instances[0, 9:14, 1:4] = 1, 2
    images = (80 + 40 * instances[:, None].float()).expand(-1, 3, -1, -1).to(torch.uint8)
    pool = [images, instances, torch.tensor([[0, 3, 1, 0, 0]], dtype=torch.uint8)]
    turned = set()
    for _ in range(60):
        batch, masks, kinds = augmented_batch(pool, batch_size=2, prompts=MAX_OBJECTS, image_size=16)
        turned.add(tuple(kinds[0].flatten().tolist()))
        for image, objects, kind in zip(batch, masks, kinds, strict=True):
            for structure in (0, 1, 3):
                assert image[:, kind == structure].std(1).max() < 1e-5, "the picture does not fit its labels"
            present = sorted(int(mask.sum()) for mask in objects)
            assert present == [0, 0, 15, 27]
            for mask in objects:
                assert set(kind[mask > 0].tolist()) in ({1}, {3}, set())
        assert batch.min() >= 0
        assert batch.max() <= 1
    assert len(turned) == 8  # four turns, mirrored or not


def test_scenes_are_enlarged_with_their_masks():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    instances = torch.zeros(1, 8, 8, dtype=torch.uint8)
    images[0, :, 2:4, 1:7], instances[0, 2:4, 1:7] = 200, 1
    pool = [images, instances, torch.tensor([[0, 2, 0, 0, 0]], dtype=torch.uint8)]
    batch, masks, kinds = augmented_batch(pool, batch_size=2, prompts=MAX_OBJECTS, image_size=32)
    assert batch.shape == (2, 3, 32, 32)
    assert kinds.shape == (2, 32, 32)
    for image, objects, kind in zip(batch, masks, kinds, strict=True):
        inside = objects.amax(0) > 0
        assert inside.sum() == 12 * 16
        assert torch.equal(inside, kind == 2)
        assert image[:, inside].mean() > image[:, ~inside].mean() + 0.2
