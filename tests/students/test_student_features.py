"""Features of an image: the mean of what the encoder, or the deepest layer, makes of it."""

from __future__ import annotations

import pytest
import torch
from integration import tiny_student
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from common.students.features import WithFeatures, find_layer


def test_they_are_the_mean_of_the_encoder_of_a_vit(randomise):
    student = randomise(tiny_student())
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        logits, features = WithFeatures(student, find_layer(student, 3, 32)).eval()(images)
        torch.testing.assert_close(features, student.encoder((images - 0.5) / 0.25).mean((2, 3)))
        torch.testing.assert_close(logits, student(images))
    assert features.shape == (2, 24)
    assert (features[0] - features[1]).abs().max() > 1e-3, "a test of nothing"


def test_a_network_without_an_encoder_gives_its_deepest_layer():
    network = BasicUNet(2, 3, 2, features=(4, 4, 8, 8, 16, 4))
    layer = find_layer(network, 3, 32)
    assert layer == "down_4"
    with torch.no_grad():
        assert WithFeatures(network, layer).eval()(torch.rand(1, 3, 32, 32))[1].shape == (1, 16)


def test_a_unet_has_features():
    network = UNet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2)).eval()
    with torch.no_grad():
        features = WithFeatures(network, find_layer(network, 1, 32))(torch.rand(2, 1, 32, 32))[1]
    assert features.ndim == 2
    assert len(features) == 2


def test_a_network_that_keeps_the_size_of_images_has_none():
    assert find_layer(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)), 3, 32) is None


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_layer_changes_nothing(training):
    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.Upsample(scale_factor=2)).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    find_layer(network, 3, 32)
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_no_hook_stays_behind():
    student = tiny_student()
    WithFeatures(student, "encoder")(torch.rand(1, 3, 32, 32))
    assert not any(module._forward_hooks for module in student.modules())
