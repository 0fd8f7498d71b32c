"""Taps on hidden layers: any network, by module name, always as a grid."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from monai.networks.nets import UNet
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from common.distillation.features import FeatureTaps, as_grid, feature_shapes, feature_widths
from common.files.weights import unwrap
from common.students.vit import ViTSegmenter
from common.teachers.sam import SamTeacher


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 4, stride=4))


class Pair(nn.Module):
    def forward(self, images):
        return 2 * images, "not a feature"


# Taps


def test_tap_keeps_exactly_what_the_layer_puts_out():
    network = convolutions()
    taps = FeatureTaps(network, ["0", "2"])
    images = torch.rand(2, 3, 16, 8)
    output = network(images)
    features = taps.pop((16, 8))
    assert list(features) == ["0", "2"]
    assert torch.equal(features["0"], network[0](images))
    assert torch.equal(features["2"], output)


def test_taps_are_part_of_the_graph():
    network = convolutions()
    taps = FeatureTaps(network, ["0"])
    network(torch.rand(1, 3, 8, 8))
    taps.pop((8, 8))["0"].sum().backward()
    assert network[0].weight.grad.any()


def test_latest_forward_pass_counts_and_is_forgotten_when_taken():
    network = convolutions()
    taps = FeatureTaps(network, ["2"])
    network(torch.rand(1, 3, 8, 8))
    latest = network(torch.rand(1, 3, 8, 8))
    assert torch.equal(taps.pop((8, 8))["2"], latest)
    assert taps.pop((8, 8)) == {}


def test_closed_taps_leave_no_hook_behind():
    network = convolutions()
    taps = FeatureTaps(network, ["0", "1"])
    taps.close()
    network(torch.rand(1, 3, 8, 8))
    assert taps.pop((8, 8)) == {}
    assert not any(module._forward_hooks for module in network.modules())


def test_first_of_a_tuple_is_the_feature():
    network = nn.Sequential(Pair())
    taps = FeatureTaps(network, ["0"])
    images = torch.rand(1, 3, 8, 8)
    network(images)
    assert torch.equal(taps.pop((8, 8))["0"], 2 * images)


def test_unknown_layer_is_named_beside_layers_that_come_close():
    network = ViTSegmenter(hidden_size=8, depth=1, num_heads=1)
    with pytest.raises(ValueError, match=r"ViTSegmenter has no layer 'encoder\.nrom'; it has \['encoder\.norm'"):
        FeatureTaps(network, ["encoder.nrom"])


def test_taps_see_through_distributed_data_parallel(tmp_path):
    dist.init_process_group("gloo", init_method=(tmp_path / "rendezvous").as_uri(), rank=0, world_size=1)
    try:
        network = convolutions()
        parallel = DistributedDataParallel(network)
        taps = FeatureTaps(parallel, ["2"])
        output = parallel(torch.rand(1, 3, 8, 8))
        assert unwrap(parallel) is network
        assert torch.equal(taps.pop((8, 8))["2"], output)
    finally:
        dist.destroy_process_group()


# Grids


@pytest.mark.parametrize("image_size", [(64, 64), (64, 96), (96, 32)])
def test_all_layouts_become_the_same_grid(image_size):
    rows, columns = image_size[0] // 16, image_size[1] // 16
    grid = torch.randn(2, 5, rows, columns)
    channels_last = grid.permute(0, 2, 3, 1)
    tokens = channels_last.reshape(2, rows * columns, 5)
    with_class_token = torch.cat([torch.full((2, 1, 5), 99.0), tokens], dim=1)
    for feature in (grid, channels_last, tokens, with_class_token):
        assert torch.equal(as_grid(feature, image_size), grid)


@pytest.mark.parametrize("shape", [(2, 7, 4), (2, 4, 7, 5), (2, 8), (2, 1, 2, 3, 4)])
def test_features_that_are_no_grid_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match=f"{shape}".replace("(", r"\(").replace(")", r"\)") + ".*64x64"):
        as_grid(torch.zeros(shape), (64, 64))


# Widths


def test_widths_of_teacher_student_and_any_monai_network(tiny_sam_config):
    teacher = SamTeacher(tiny_sam_config, num_classes=2)
    layers = ["encoder.layers.0", "encoder.neck"]
    assert feature_widths(teacher, layers, (3, 64, 96)) == [32, 32]
    assert feature_shapes(teacher, layers, (3, 64, 96)) == [(32, 4, 6), (32, 4, 6)]
    student = ViTSegmenter(1, hidden_size=12, depth=2, num_heads=2, conv_channels=(4, 8))
    layers = ["encoder.norm", "encoder.blocks.1", "encoder", "conv_quarter", "stem"]
    assert feature_widths(student, layers, (1, 32, 48)) == [12, 12, 12, 8, 4]
    unet = UNet(2, 1, 2, (4, 8, 12), (2, 2))
    assert feature_widths(unet, ["model.1.submodule.1.submodule", "model.0"], (1, 32, 48)) == [12, 4]


def test_asking_for_widths_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert feature_widths(network, ["1"], (1, 8, 8)) == [4]
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    for name, value in network.state_dict().items():
        assert_close(value, before[name])
