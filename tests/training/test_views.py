"""Training sets whose random transforms give each entry the same result in every epoch."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.data.utils import set_rnd
from monai.transforms import Compose, Lambdad, RandFlipd, RandScaleIntensityd

from common.datasets.splits import repeat
from common.training.views import TrainingViews

IMAGES = [{"image": torch.arange(12.0).view(1, 3, 4) + 100 * index} for index in range(3)]


def views(fixed: bool, seed: int = 0) -> TrainingViews:
    transform = Compose(
        [
            Lambdad(keys="image", func=torch.clone),
            RandFlipd(keys="image", prob=0.5),
            RandScaleIntensityd(keys="image", prob=1, factors=0.5),
        ]
    )
    return TrainingViews(
        fixed=fixed, seed=seed, data=repeat(IMAGES, 12), transform=transform, hash_as_key=True, progress=False
    )


def epoch(dataset: TrainingViews, seed: int) -> list[torch.Tensor]:
    """Return its images after it was seeded as the trainer seeds it in each epoch."""
    set_rnd(dataset, seed=seed)
    return [dataset[index]["image"] for index in range(len(dataset))]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(*pair) for pair in zip(first, second, strict=True)]


@pytest.mark.parametrize("fixed", [True, False])
def test_each_epoch_has_the_same_images_or_others(fixed):
    dataset = views(fixed)
    assert set(same(epoch(dataset, seed=1), epoch(dataset, seed=2))) == {fixed}


def test_in_any_order_and_in_any_process_they_are_the_same():
    images = epoch(views(True), seed=1)
    dataset = views(True)
    assert all(same([dataset[index]["image"] for index in reversed(range(12))][::-1], images))
    loaded = [batch["image"][0] for batch in DataLoader(views(True), batch_size=1, num_workers=2)]
    assert all(same(loaded, images))


def test_an_image_that_is_repeated_is_changed_in_another_way_each_time():
    images = epoch(views(True), seed=1)
    assert len({tuple(image.flatten().tolist()) for image in images}) == 12


def test_another_seed_gives_others():
    assert not any(same(epoch(views(True), seed=1), epoch(views(True, seed=5), seed=1)))
