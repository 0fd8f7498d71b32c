"""What a student is, said in words that build it again, and nothing else."""

from __future__ import annotations

import json

import pytest
import torch
from integration import refused, tiny_student
from monai.networks.nets import AttentionUnet, BasicUNet, SegResNet, UNet
from torch import nn

from common.students.describing import build, describe
from common.students.vit import ViTSegmenter

NETWORKS = {
    "the default student": lambda: ViTSegmenter(1, 4),
    "a student of other sizes": lambda: tiny_student(patch_size=8, conv_channels=(4, 6)),
    "a student whose path is one level deep": lambda: tiny_student(patch_size=2, conv_channels=(4,)),
    "UNet": lambda: UNet(2, 3, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1),
    "UNet of other norms": lambda: UNet(
        2, 1, 5, channels=(4, 8), strides=(2,), norm=("instance", {"affine": True}), act="gelu", dropout=0.1
    ),
    "AttentionUnet": lambda: AttentionUnet(2, 3, 2, channels=(4, 8), strides=(2,)),
    "SegResNet": lambda: SegResNet(2, 8, 3, 2),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_network_built_again_computes_the_same_with_the_same_weights(make):
    network = make().eval()
    again = build(json.loads(json.dumps(describe(network, in_channels=3, out_channels=2)))).eval()
    again.load_state_dict(network.state_dict())
    channels = next(module for module in network.modules() if isinstance(module, nn.Conv2d)).in_channels
    images = torch.rand(1, channels, 32, 64)
    if isinstance(network, ViTSegmenter):
        channels = network.encoder.patch_embed.in_channels
        images = torch.rand(1, channels, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(images), network(images))


def test_default_values_are_said_too_since_they_may_change():
    arguments = describe(ViTSegmenter())["arguments"]
    assert arguments["hidden_size"] == 192
    assert arguments["depth"] == 12
    assert arguments["conv_channels"] == [32, 64, 96]


def test_what_a_network_does_not_keep_is_taken_from_the_hints():
    network = SegResNet(2, 8, in_channels=1, out_channels=3)
    assert describe(network) is None, "it does not keep its number of outputs"
    assert describe(network, in_channels=1, out_channels=3)["arguments"]["out_channels"] == 3


def test_hints_that_are_wrong_describe_nothing():
    assert describe(SegResNet(2, 8, 1, 3), out_channels=4) is None


def test_a_network_whose_arguments_cannot_be_found_is_not_described():
    assert describe(BasicUNet(2, 3, 2, features=(8, 8, 8, 8, 8, 8)), in_channels=3, out_channels=2) is None


@pytest.mark.parametrize("network", [nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(3, 2, 1))])
def test_networks_of_others_are_not_described(network):
    assert describe(network) is None


def test_a_subclass_is_not_taken_for_its_parent():
    class ViTSegmenter(type(tiny_student())):  # of the same name
        pass

    assert describe(ViTSegmenter(hidden_size=24, depth=1, num_heads=2)) is None


def test_describing_leaves_random_numbers_and_the_network_as_they_are():
    """It happens before training, which must not depend on it."""
    network = tiny_student()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    describe(network)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training


class TestDescriptionsFromAnybody:
    @pytest.mark.parametrize(
        "name", ["os.system", "builtins.exec", "monai.bundle.run", "system", "torch.nn.Linear", 3, None]
    )
    def test_nothing_but_networks_is_built(self, name):
        with refused("is not one of this project's or MONAI's networks", "--bundle"):
            build({"_target_": name, "arguments": {}})

    @pytest.mark.parametrize("name", ["Path", "torch", "warnings"])
    def test_names_that_a_module_of_monai_happens_to_have_are_refused(self, name):
        with refused("is not one of"):
            build({"_target_": name, "arguments": {}})

    @pytest.mark.parametrize("arguments", [None, [], {"in_channels": object()}])
    def test_arguments_must_be_plain(self, arguments):
        with refused("are not numbers and names"):
            build({"_target_": "ViTSegmenter", "arguments": arguments})

    @pytest.mark.parametrize("arguments", [{"num_classes": 1}, {"colour": 3}, {"conv_channels": 4}, {"depth": "many"}])
    def test_arguments_that_build_nothing_are_named(self, arguments):
        with refused("ViTSegmenter cannot be built of its arguments", "--bundle"):
            build({"_target_": "ViTSegmenter", "arguments": arguments})
