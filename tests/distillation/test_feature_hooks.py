"""Feature hooks: any network, by module name, always as a grid."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from monai.networks.nets import UNet
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from common.distillation.feature_hooks import FeatureHooks, as_grid
from common.students.vit import ViTSegmenter
from common.teachers.base import FeatureLayout


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 4, stride=4))


class Pair(nn.Module):
    def forward(self, images):
        return 2 * images, "not a feature"


class ChannelsLast(nn.Module):
    """A network of one layer that puts out a feature for each pixel, channels last."""

    def __init__(self, **declared) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        if declared:
            self.feature_layers = {"layer": FeatureLayout(**declared)}

    def forward(self, images):
        return self.layer(images.permute(0, 2, 3, 1))


class TestHooks:
    def test_they_keep_exactly_what_the_layer_puts_out(self):
        network = convolutions()
        hooks = FeatureHooks(network, ["0", "2"])
        images = torch.rand(2, 3, 16, 8)
        output = network(images)
        features = hooks.pop((16, 8))
        assert list(features) == ["0", "2"]
        assert torch.equal(features["0"], network[0](images))
        assert torch.equal(features["2"], output)

    def test_features_are_part_of_the_graph(self):
        network = convolutions()
        hooks = FeatureHooks(network, ["0"])
        network(torch.rand(1, 3, 8, 8))
        hooks.pop((8, 8))["0"].sum().backward()
        assert network[0].weight.grad.any()

    def test_the_latest_forward_pass_counts_and_is_forgotten_when_taken(self):
        network = convolutions()
        hooks = FeatureHooks(network, ["2"])
        network(torch.rand(1, 3, 8, 8))
        latest = network(torch.rand(1, 3, 8, 8))
        assert torch.equal(hooks.pop((8, 8))["2"], latest)
        assert hooks.pop((8, 8)) == {}

    def test_closed_hooks_leave_nothing_behind(self):
        network = convolutions()
        hooks = FeatureHooks(network, ["0", "1"])
        hooks.close()
        network(torch.rand(1, 3, 8, 8))
        assert hooks.pop((8, 8)) == {}
        assert not any(module._forward_hooks for module in network.modules())

    def test_the_first_of_a_tuple_is_the_feature(self):
        network = nn.Sequential(Pair())
        hooks = FeatureHooks(network, ["0"])
        images = torch.rand(1, 3, 8, 8)
        network(images)
        assert torch.equal(hooks.pop((8, 8))["0"], 2 * images)

    def test_an_unknown_layer_is_named_beside_layers_that_come_close(self):
        network = ViTSegmenter(hidden_size=8, depth=1, num_heads=1)
        with pytest.raises(ValueError, match=r"ViTSegmenter has no layer 'encoder\.nrom'; it has \['encoder\.norm'"):
            FeatureHooks(network, ["encoder.nrom"])

    def test_they_see_through_distributed_data_parallel(self, tmp_path):
        dist.init_process_group("gloo", init_method=(tmp_path / "rendezvous").as_uri(), rank=0, world_size=1)
        try:
            parallel = DistributedDataParallel(convolutions())
            hooks = FeatureHooks(parallel, ["2"])
            output = parallel(torch.rand(1, 3, 8, 8))
            assert torch.equal(hooks.pop((8, 8))["2"], output)
        finally:
            dist.destroy_process_group()


class TestLayouts:
    """A layer has the layout that is declared, whatever its sizes."""

    @pytest.mark.parametrize("image_size", [(64, 64), (64, 96), (96, 32)])
    @pytest.mark.parametrize("channels", [2, 4, 5, 6])  # some of which are as many as rows or columns
    def test_all_layouts_become_the_same_grid(self, channels, image_size):
        rows, columns = image_size[0] // 16, image_size[1] // 16
        grid = torch.randn(2, channels, rows, columns)
        channels_last = grid.permute(0, 2, 3, 1)
        tokens = channels_last.reshape(2, rows * columns, channels)
        assert torch.equal(as_grid(grid, image_size), grid)
        assert torch.equal(as_grid(grid, image_size, FeatureLayout("channels_first")), grid)
        assert torch.equal(as_grid(channels_last, image_size, FeatureLayout("channels_last")), grid)
        assert torch.equal(as_grid(tokens, image_size), grid)
        for count in (0, 1, 5):
            prefixed = torch.cat([torch.full((2, count, channels), 99.0), tokens], dim=1)
            assert torch.equal(as_grid(prefixed, image_size, FeatureLayout("tokens", count)), grid)

    def test_a_channels_last_map_as_wide_as_it_has_channels_is_not_taken_for_channels_first(self):
        network = ChannelsLast(kind="channels_last")
        hooks = FeatureHooks(network, ["layer"])
        output = network(torch.rand(1, 3, 4, 4))
        assert output.shape == (1, 4, 4, 4), "no size tells the layouts apart"
        assert torch.equal(hooks.pop((4, 4))["layer"], output.permute(0, 3, 1, 2))

    @pytest.mark.parametrize("layout", [{"kind": "channels_last"}, FeatureLayout("channels_last")])
    @pytest.mark.parametrize("declared", [{}, {"kind": "channels_first"}])
    def test_a_config_goes_before_what_the_network_declares(self, declared, layout):
        network = ChannelsLast(**declared)
        hooks = FeatureHooks(network, ["layer"], {"layer": layout, "a layer of another network": layout})
        output = network(torch.rand(1, 3, 8, 8))
        assert torch.equal(hooks.pop((8, 8))["layer"], output.permute(0, 3, 1, 2))

    @pytest.mark.parametrize("shape", [(2, 7, 4), (2, 4, 7, 5), (2, 8), (2, 1, 2, 3, 4)])
    def test_features_that_are_no_grid_are_refused_with_their_shape(self, shape):
        with pytest.raises(ValueError, match=f"{shape}".replace("(", r"\(").replace(")", r"\)") + ".*64x64"):
            as_grid(torch.zeros(shape), (64, 64))

    @pytest.mark.parametrize(
        ("shape", "layout"),
        [
            ((2, 4, 4, 5), FeatureLayout("channels_first")),
            ((2, 5, 4, 4), FeatureLayout("channels_last")),
            ((2, 17, 5), FeatureLayout("tokens")),
            ((2, 16, 5), FeatureLayout("tokens", 1)),
            ((2, 5, 4, 4), FeatureLayout("tokens")),
            ((2, 16, 5), FeatureLayout("channels_first")),
            ((2, 2, 5), FeatureLayout("tokens", 5)),
        ],
    )
    def test_features_of_another_layout_are_refused_with_what_to_declare(self, shape, layout):
        expected = f"read as {layout.kind} with {layout.prefix_tokens} prefix tokens.* in feature_layouts"
        with pytest.raises(ValueError, match=expected):
            as_grid(torch.zeros(shape), (64, 64), layout)


class TestUpright:
    def test_grids_are_turned_back_as_the_logits_are(self, make_teacher):
        teacher, images = make_teacher(), torch.rand(1, 3, 64, 96)
        hooks = FeatureHooks(teacher, ["encoder.layers.0", "encoder.neck"])
        with torch.no_grad():
            teacher(images)
            grids = hooks.pop((64, 96))
            neck = teacher.encode(teacher.normalise(images.mT)).mT
        assert teacher.upright
        assert_close(grids["encoder.neck"], neck)
        assert grids["encoder.layers.0"].shape[2:] == (4, 6)


class TestShapes:
    def test_those_of_teacher_student_and_any_monai_network(self, make_teacher):
        layers = ["encoder.layers.0", "encoder.neck"]
        assert FeatureHooks(make_teacher(), layers).shapes((3, 64, 96)) == dict.fromkeys(layers, (32, 4, 6))
        student = ViTSegmenter(1, hidden_size=12, depth=2, num_heads=2, conv_channels=(4, 8))
        widths = {"encoder.norm": 12, "encoder.blocks.1": 12, "encoder": 12, "path.1": 8, "path.0": 4}
        shapes = FeatureHooks(student, widths).shapes((1, 32, 48))
        assert {layer: shape[0] for layer, shape in shapes.items()} == widths
        assert shapes["encoder.norm"] == (12, 2, 3)
        unet = UNet(2, 1, 2, (4, 8, 12), (2, 2))
        shapes = FeatureHooks(unet, ["model.1.submodule.1.submodule", "model.0"]).shapes((1, 32, 48))
        assert [shape[0] for shape in shapes.values()] == [12, 4]

    def test_the_network_stays_as_it_was(self):
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)).train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        hooks = FeatureHooks(network, ["1"])
        assert hooks.shapes((1, 8, 8)) == {"1": (4, 8, 8)}
        assert network.training
        assert hooks.pop((8, 8)) == {}
        for name, value in network.state_dict().items():
            assert_close(value, before[name])
