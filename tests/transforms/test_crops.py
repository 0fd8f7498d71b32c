"""Two crops of each image, and the number by which images are told apart."""

from __future__ import annotations

import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, RandSpatialCropd

from common.transforms.crops import CROP_KEYS, TwoCropsd


def test_two_crops_are_drawn_each_by_itself_and_anew_for_each_image():
    image = torch.arange(400.0).reshape(1, 20, 20)
    crop = TwoCropsd(Compose([RandSpatialCropd("image", roi_size=(4, 4), random_size=False)])).set_random_state(0)
    data = {"image": image, "label": image}
    drawn = [crop(data) for _ in range(10)]
    assert all(item.keys() == {"image", "second_crop", "image_id"} for item in drawn)
    corners = {int(item[key][0, 0, 0]) for item in drawn for key in CROP_KEYS}
    assert len(corners) > 15, "of twenty crops"
    for item in drawn:
        for found in (item[key] for key in CROP_KEYS):
            row, column = divmod(int(found[0, 0, 0]), 20)
            assert torch.equal(torch.as_tensor(found), image[:, row : row + 4, column : column + 4])
    assert data["image"] is image
    again = Compose([crop]).set_random_state(1)(data), Compose([crop]).set_random_state(1)(data)
    assert all(torch.equal(again[0][key], again[1][key]) for key in CROP_KEYS)


def test_crops_of_one_image_have_its_number_and_those_of_another_have_not():
    crop = TwoCropsd(Compose([RandSpatialCropd("image", roi_size=(4, 4), random_size=False)])).set_random_state(0)
    first, second = torch.rand(2, 3, 8, 8)
    numbers = [crop({"image": image})["image_id"] for image in (first, second, first.clone(), MetaTensor(first))]
    assert numbers[0] == numbers[2] == numbers[3] != numbers[1]
    batch = next(iter(DataLoader([crop({"image": first}), crop({"image": second})], batch_size=2)))
    assert batch["image_id"].tolist() == numbers[:2], "of 64 bits, none of which is lost"
