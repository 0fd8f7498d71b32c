"""Sizes that a network does not take are refused before training."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from common.errors import InputError
from common.files.weights import save_weights
from common.training.sizes import check_image_size


class Halving(nn.Module):
    """Takes even sizes and, beside the images, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 1)
        self.calls: list[tuple] = []

    def forward(self, images: Tensor, *inputs: int) -> Tensor:
        self.calls.append((tuple(images.shape), self.training, inputs))
        if images.shape[-1] % 2:
            raise ValueError(f"{images.shape[-1]} must be divisible by 2")
        return self.conv(images)


def test_a_size_that_fits_leaves_the_network_as_it_was():
    network = Halving().train()
    check_image_size(network, 6, 2, inputs=(0,))
    assert network.calls == [((1, 2, 6, 6), False, (0,))]
    assert network.training


@pytest.mark.parametrize("key", ["image_size", "crop_size"])
def test_another_is_refused_by_the_name_that_the_config_has_for_it(key):
    network = Halving().train()
    message = f"{key}: the Halving does not take images of 7 x 7 pixels .7 must be divisible by 2.$"
    with pytest.raises(InputError, match=message):
        check_image_size(network, 7, 2, key=key)
    assert network.training


def test_so_are_channels_that_do_not_fit():
    hint = r"does not take images of 6 x 6 pixels .*; a size that is divisible by 32 suits most networks$"
    with pytest.raises(InputError, match=hint):
        check_image_size(Halving(), 6, 3)


@pytest.mark.parametrize("size", [0, -32, 32.0, "32", True, None])
def test_a_size_that_is_no_whole_number_is_refused_by_its_key(size):
    with pytest.raises(InputError, match=r"^sample_size: expected a whole number of at least 1"):
        check_image_size(nn.Conv2d(3, 1, 1), size, key="sample_size")


def test_weights_are_used_at_the_size_that_they_were_trained_at(tmp_path):
    network = Halving()
    weights = tmp_path / "model.pt"
    save_weights(network, weights, {"image_size": 8})
    check_image_size(network, 8, 2, weights=weights)
    with pytest.raises(InputError, match=r"image_size: .*model\.pt was trained at 8 pixels, but 6 are given"):
        check_image_size(network, 6, 2, weights=weights)


def test_weights_that_record_no_size_are_used_at_any(tmp_path):
    network = Halving()
    save_weights(network, tmp_path / "model.pt", {"method": None})
    check_image_size(network, 6, 2, weights=tmp_path / "model.pt")
