"""Maps that follow their image, and pixels that lie outside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Affined, Compose, Flipd, RandAffined, RandFlipd, RandRotate90d, Rotate90d
from scipy.ndimage import map_coordinates

from common.transforms.motion import FollowImaged, track_moves


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


def random_moves(padding_mode: str) -> list:
    affine = RandAffined(
        ["image"],
        prob=1,
        rotate_range=1,
        scale_range=(0.3, 0.3),
        shear_range=0.2,
        translate_range=(5, 5),
        padding_mode=padding_mode,
    )
    return [RandFlipd("image", 0.5, 0), RandRotate90d("image", 0.8), affine, RandRotate90d("image", 0.5)]


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_a_map_as_large_as_the_image_follows_as_the_image_itself(padding_mode):
    """But for what was padded with zeros."""
    chain = Compose([*random_moves(padding_mode), FollowImaged("map", padding_mode=padding_mode)])
    data = example((24, 32))
    data["map"] = data["image"].as_tensor().clone()
    for seed in range(10):
        chain.set_random_state(seed)
        moved = chain(data)
        inside = moved["inside"].bool()
        assert (padding_mode == "zeros") != bool(inside.all())
        assert inside.float().mean() > 0.3
        torch.testing.assert_close(moved["map"][inside], moved["image"].as_tensor()[inside], rtol=0, atol=2e-5)


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


class TestInside:
    """Which pixels show the image as it was."""

    def test_those_that_no_zero_has_darkened(self):
        """Of a white image: MONAI interpolates between the image and the zeros around it."""
        chain = Compose([*random_moves("zeros"), FollowImaged("map", allow_missing_keys=True)])
        for seed in range(10):
            chain.set_random_state(seed)
            moved = chain({"image": track_moves(torch.ones(1, 24, 32))})
            white = moved["image"].as_tensor() > 1 - 1e-4
            assert moved["inside"].shape == white.shape
            assert moved["inside"].dtype == torch.float32
            assert torch.equal(moved["inside"].bool(), white)

    @pytest.mark.parametrize("move", [Flipd("image", 0), Rotate90d("image"), Compose([])], ids=["flip", "turn", "none"])
    def test_all_of_an_image_that_was_flipped_or_turned(self, move):
        moved = Compose([move, FollowImaged("map", allow_missing_keys=True)])(example((24, 32)))
        assert torch.equal(moved["inside"], torch.ones(1, *moved["image"].shape[1:]))

    @pytest.mark.parametrize("padding_mode", ["border", "reflection"])
    def test_all_of_an_image_whose_padding_the_maps_follow(self, padding_mode):
        moves = Affined("image", translate_params=(3, 0), padding_mode=padding_mode)
        moved = Compose([moves, FollowImaged("map", padding_mode=padding_mode)])(example((24, 32)))
        assert torch.equal(moved["inside"], torch.ones(1, 24, 32))

    def test_a_shift_by_three_rows_leaves_three_rows_outside(self):
        moves = Affined("image", translate_params=(3, 0), padding_mode="zeros")
        moved = Compose([moves, FollowImaged("map")])(example((6, 8)))
        expected = torch.ones(1, 24, 32)
        expected[:, -3:] = 0
        assert torch.equal(moved["inside"], expected)
        assert moved["map"].shape == (3, 6, 8)

    def test_all_of_an_image_that_was_enlarged(self):
        moves = Affined("image", scale_params=(0.5, 0.5), padding_mode="zeros")
        assert Compose([moves, FollowImaged("map", allow_missing_keys=True)])(example((24, 32)))["inside"].all()

    def test_an_image_that_was_not_tracked_and_has_no_maps_says_nothing(self):
        assert "inside" not in FollowImaged("map", allow_missing_keys=True)({"image": torch.rand(1, 4, 4)})


@pytest.mark.parametrize("padding_mode", ["wrap", "constant"])
def test_other_ways_of_padding_are_refused(padding_mode):
    with pytest.raises(ValueError, match=padding_mode):
        FollowImaged("map", padding_mode=padding_mode)
