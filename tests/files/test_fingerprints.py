from pathlib import Path

import pytest
import torch
from torch import nn

from common.files.fingerprints import data_digest, network_fingerprint, tensor_digest


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.1))
    network.register_buffer("mean", torch.zeros(1), persistent=False)
    return network


def change_weight(network):
    network[0].weight.data[0, 0, 0, 0] += 1e-6


def change_buffer(network):
    network.mean += 1  # in no state dict


def change_setting(network):
    network[2].negative_slope = 0.2  # likewise


def change_module(network):
    network[2] = nn.ELU(0.1)


def test_networks_made_alike_have_one_fingerprint():
    assert network_fingerprint(make_network()) == network_fingerprint(make_network())


def test_mode_and_memory_format_do_not_matter():
    network = make_network()
    before = network_fingerprint(network)
    assert network_fingerprint(network.eval().to(memory_format=torch.channels_last)) == before


@pytest.mark.parametrize("change", [change_weight, change_buffer, change_setting, change_module])
def test_any_change_of_what_is_computed_changes_the_fingerprint(change):
    network = make_network()
    before = network_fingerprint(network)
    change(network)
    assert network_fingerprint(network) != before


def test_a_tensor_is_told_by_type_shape_and_content():
    value = torch.arange(6.0).reshape(2, 3)
    others = [value.half(), value.reshape(3, 2), value + 1]
    assert tensor_digest(value.clone()) == tensor_digest(value)
    assert tensor_digest(value.T.contiguous().T) == tensor_digest(value)
    assert tensor_digest(value) not in [tensor_digest(other) for other in others]


def write_data(folder: Path, content: str = "image") -> list[dict]:
    folder.mkdir()
    (folder / "a.png").write_text(content)
    return [{"image": str(folder / "a.png"), "labelled": True, "polygons": "x" * 5000, "slice": 3}]


def test_data_is_the_same_wherever_its_files_lie(tmp_path):
    assert data_digest(write_data(tmp_path / "one")) == data_digest(write_data(tmp_path / "other"))


@pytest.mark.parametrize(
    "change", [{"slice": 4}, {"labelled": False}, {"image": "missing.png"}, {"more": torch.ones(2)}]
)
def test_data_of_other_values_is_other_data(change, tmp_path):
    data = write_data(tmp_path / "one")
    assert data_digest([{**data[0], **change}]) != data_digest(data)


def test_data_of_other_content_order_or_length_is_other_data(tmp_path):
    data = [*write_data(tmp_path / "one"), {"image": torch.zeros(2)}]
    digests = {data_digest(entries) for entries in (data, data[::-1], data * 2, data[:1])}
    (tmp_path / "one/a.png").write_text("another image")
    assert len(digests | {data_digest(data)}) == 5
