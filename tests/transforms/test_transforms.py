"""Transforms that MONAI does not have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import (
    Affined,
    AsDiscreted,
    Compose,
    Flipd,
    RandAffined,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropd,
    Rotate90d,
)
from scipy.ndimage import map_coordinates

from common.transforms.crops import CROP_KEYS, TwoCropsd
from common.transforms.intensity import ScaleSlicesd
from common.transforms.masks import ClassIdsd, LosslessLabeld
from common.transforms.missing import FillMissingd
from common.transforms.motion import FollowImaged, track_moves


def test_missing_keys_are_filled_in_the_images_size():
    image = torch.rand(3, 5, 7)
    filled = FillMissingd(["label", "fov"], [0, 1])({"image": image})
    assert torch.equal(filled["label"], torch.zeros(1, 5, 7))
    assert torch.equal(filled["fov"], torch.ones(1, 5, 7))
    assert filled["image"] is image


def test_keys_that_are_there_stay_as_they_are():
    label = torch.ones(1, 5, 7)
    data = {"image": torch.rand(3, 5, 7), "label": label, "name": "a"}
    filled = FillMissingd(["label", "fov"], [0, 1])(data)
    assert filled["label"] is label
    assert filled["name"] == "a"
    assert "fov" not in data, "the data given was changed"


def test_filled_labels_fit_into_a_batch_with_real_ones():
    real = {"image": torch.rand(1, 4, 4), "label": torch.rand(1, 4, 4)}
    filled = FillMissingd("label", [0], image_key="image")({"image": torch.rand(1, 4, 4)})
    assert filled["label"].dtype == real["label"].dtype
    assert torch.stack([real["label"], filled["label"]]).shape == (2, 1, 4, 4)


def test_values_must_be_one_for_each_key():
    with pytest.raises(ValueError, match="values must be one for each key, got 1 for 2"):
        FillMissingd(["label", "fov"], [0])


@pytest.mark.parametrize(
    ("request_of", "changes"),
    [
        ({"image_path": "a/b.jpg"}, {"result_extension": ".png"}),
        ({"image_path": "a/b.v2.JPEG", "result_extension": None}, {"result_extension": ".png"}),
        ({"image_path": "a/b.jpg", "result_extension": ".nrrd"}, {}),
        ({"image_path": "a/b.jpg.tif"}, {}),
        ({"image_path": None}, {}),
        ({}, {}),  # no server's
    ],
)
def test_a_server_writes_no_class_ids_as_jpeg(request_of, changes):
    data = {"pred": torch.ones(2), **request_of}
    assert LosslessLabeld()(dict(data)) == {**data, **changes}


def test_one_hot_classes_become_ids_again():
    ids = torch.tensor([[[0, 2, 1], [1, 0, 0]]])
    encode = AsDiscreted("pred", argmax=False, to_onehot=3)
    written = ClassIdsd("pred")(encode({"pred": MetaTensor(ids)}))["pred"]
    assert written.dtype == torch.uint8
    assert torch.equal(written.as_tensor(), ids.to(torch.uint8))


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


@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_a_slice_is_scaled_alike_alone_and_in_its_volume(modality):
    affine = torch.diag(torch.tensor([1.5, 1.5, 6.0, 1.0], dtype=torch.float64))
    levels = torch.tensor([100.0, 1000.0, 10.0])  # slices of one volume differ in brightness
    volume = MetaTensor(torch.rand(1, 20, 30, 3) * levels, affine=affine)
    scale = ScaleSlicesd("image", modality, window=[-160, 240], percentiles=[1, 99])
    scaled = scale({"image": volume})["image"]
    assert scaled.shape == volume.shape
    assert torch.equal(scaled.affine, affine)
    for index in range(3):
        alone = scale({"image": volume[..., index]})["image"]
        assert torch.equal(scaled[..., index].as_tensor(), alone.as_tensor())


def test_ct_is_scaled_by_the_window_and_mr_by_the_percentiles_of_a_slice():
    image = torch.linspace(-1000, 1000, 20 * 30).reshape(1, 20, 30)
    keys = {"window": [-160, 240], "percentiles": [5, 90]}
    ct = ScaleSlicesd("image", "ct", **keys)({"image": image})["image"]
    np.testing.assert_allclose(ct, ((image + 160) / 400).clamp(0, 1), atol=1e-6)
    mr = ScaleSlicesd("image", "t1_in", **keys)({"image": image})["image"]
    low, high = np.percentile(image, (5, 90))
    np.testing.assert_allclose(mr, ((image - low) / (high - low)).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_a_slice_of_one_value_with_a_few_others_stays_in_range(modality):
    image = torch.zeros(1, 64, 64)
    image[0, :5, :5] = 900
    scaled = ScaleSlicesd("image", modality, window=[-160, 240], percentiles=[1, 99])({"image": image})["image"]
    assert scaled[0, :5, :5].min() == 1
    assert scaled[0, 5:].unique().numel() == 1
    assert 0 <= scaled.min() < scaled.max() <= 1


# Maps that follow their image


def example(map_size: tuple[int, int], image_size: tuple[int, int] = (24, 32)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, *image_size, generator=generator)
    return {"image": track_moves(image), "map": torch.rand(3, *map_size, generator=generator)}


@pytest.mark.parametrize("map_size", [(24, 32), (6, 8), (3, 4), (48, 64)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("axes", [[], [0], [1], [0, 1]])
def test_maps_follow_flips_and_turns_exactly(axes, turns, dtype, map_size):
    data = example(map_size)
    data["map"] = data["map"].to(dtype)
    moves = [Flipd("image", spatial_axis=axis) for axis in axes] + [Rotate90d("image", k=turns)] * (turns > 0)
    found = Compose([*moves, FollowImaged("map")])(data)["map"]
    expected = torch.rot90(data["map"].flip([axis + 1 for axis in axes]), turns, (1, 2))
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_maps_follow_any_sequence_of_flips_and_turns_exactly():
    moves = [
        RandFlipd("image", 0.5, 0),
        RandRotate90d("image", 0.8),
        RandFlipd("image", 0.5, 1),
        RandRotate90d("image"),
    ]
    chain = Compose([*moves, FollowImaged("map")])
    data = example((24, 32))
    data["map"] = data["image"].as_tensor().clone()
    for seed in range(20):
        chain.set_random_state(seed)
        moved = chain(data)
        assert torch.equal(moved["map"], moved["image"].as_tensor())


def test_a_map_as_large_as_the_image_follows_as_the_image_itself():
    for padding_mode in ("zeros", "border", "reflection"):
        affine = RandAffined(
            ["image"],
            prob=1,
            rotate_range=1,
            scale_range=(0.3, 0.3),
            shear_range=0.2,
            translate_range=(5, 5),
            padding_mode=padding_mode,
        )
        moves = [RandFlipd("image", 0.5, 0), RandRotate90d("image", 0.8), affine, RandRotate90d("image", 0.5)]
        chain = Compose([*moves, FollowImaged("map", padding_mode=padding_mode)])
        data = example((24, 32))
        data["map"] = data["image"].as_tensor().clone()
        for seed in range(10):
            chain.set_random_state(seed)
            moved = chain(data)
            torch.testing.assert_close(moved["map"], moved["image"].as_tensor(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("map_size", [(24, 32), (12, 16), (6, 8)])
def test_maps_of_any_resolution_are_sampled_where_the_pixels_of_the_image_come_from(map_size):
    """By hand with SciPy: from a map's pixel to the image's, through the affine, and back to a map's."""
    angle, scale, shift = 0.3, 1.2, np.array([2.0, -3.0])
    moves = Affined("image", rotate_params=angle, scale_params=(scale, scale), translate_params=shift.tolist())
    data = example(map_size)
    found = Compose([moves, FollowImaged("map")])(data)["map"].numpy()

    stride = np.array([24, 32]) / map_size
    centre = (np.array([24, 32]) - 1) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pixels = np.stack(np.meshgrid(*map(np.arange, map_size), indexing="ij"), axis=-1)
    in_image = (pixels + 0.5) * stride - 0.5
    origin = ((in_image - centre) * scale + shift) @ turn.T + centre
    in_map = (origin + 0.5) / stride - 0.5
    for channel, values in enumerate(data["map"].numpy()):
        expected = map_coordinates(values, np.moveaxis(in_map, -1, 0), order=1, mode="nearest")
        np.testing.assert_allclose(found[channel], expected, atol=1e-4)


def test_a_map_of_an_image_that_was_not_moved_stays_as_it_is():
    data = example((6, 8))
    assert torch.equal(FollowImaged("map")(data)["map"], data["map"])


def test_maps_that_may_be_missing_ask_nothing_of_the_image():
    image = torch.rand(1, 4, 4)
    assert FollowImaged("map", allow_missing_keys=True)({"image": image}) == {"image": image}


@pytest.mark.parametrize("image", [torch.rand(1, 4, 4), MetaTensor(torch.rand(1, 4, 4))], ids=["plain", "from a file"])
def test_an_image_that_does_not_say_where_it_was_is_refused(image):
    with pytest.raises(TypeError, match="'map' cannot follow 'image': it did not go through track_moves"):
        FollowImaged("map")({"image": image, "map": torch.rand(1, 4, 4)})
