"""What student and teacher are given is drawn once."""

from __future__ import annotations

import pytest
import torch
from integration import assert_same
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, Flipd, RandSpatialCropd, RandWeightedCropd

from common.distillation.inputs import TrackedInputs, draw_inputs, find_distinct
from common.transforms.motion import FollowImaged


class TestDrawing:
    @pytest.fixture
    def dataset(self) -> CacheDataset:
        generator = torch.Generator().manual_seed(0)
        items = [
            {"image": torch.rand(1, 16, 16, generator=generator), "weight": torch.ones(1, 16, 16)} for _ in range(2)
        ]
        crop = Compose([RandWeightedCropd("image", w_key="weight", spatial_size=(4, 4))])
        return CacheDataset([*items, *items], crop, progress=False)

    def test_crops_are_drawn_once_by_the_seed(self, dataset):
        first, again, other = (draw_inputs(dataset, seed) for seed in (0, 0, 1))
        assert len(first) == 4
        assert_same([each["image"] for each in first], [each["image"] for each in again])
        assert not torch.equal(first[0]["image"], other[0]["image"])

    def test_an_image_that_comes_again_gives_another_crop(self, dataset):
        inputs = draw_inputs(dataset, 0)
        assert not torch.equal(inputs[0]["image"], inputs[2]["image"])

    def test_the_dataset_may_give_one_crop_or_a_list(self):
        images = [{"image": torch.rand(1, 8, 8)} for _ in range(3)]
        inputs = draw_inputs(Dataset(images, RandSpatialCropd("image", roi_size=(4, 4), random_size=False)), 0)
        assert [each["image"].shape for each in inputs] == [(1, 4, 4)] * 3


class TestDistinct:
    def test_equal_images_share_a_row(self):
        first, second = torch.rand(2, 1, 4, 4)
        found = find_distinct([{"image": image} for image in (first, second, first.clone())])
        assert found.rows == [0, 1, 0]
        assert_same(found.images, [first, second])

    def test_the_fingerprint_is_that_of_the_distinct_images_in_their_order(self):
        first, second = torch.rand(2, 1, 4, 4)
        orders = ([first, second], [second, first], [first, second, second], [first])
        prints = [find_distinct([{"image": image} for image in order]).fingerprint for order in orders]
        assert prints[0] == prints[2]
        assert len(set(prints)) == 3


def test_tracked_inputs_can_tell_which_pixels_are_padded():
    """As those of a teacher that runs live must, too."""
    image = torch.rand(1, 4, 6)
    tracked = TrackedInputs([{"image": image, "label": image}])
    [item] = Dataset(tracked, Compose([Flipd("image", 0), FollowImaged("map", allow_missing_keys=True)]))
    assert torch.equal(item["inside"], torch.ones(1, 4, 6))
    assert tracked[0]["label"] is image
