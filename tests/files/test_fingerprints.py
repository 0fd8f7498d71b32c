"""Fingerprints: the same for the same network or data, wherever they are, and other ones for anything else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from folder_sources import OWN_SOURCES
from PIL import Image
from torch import nn

from common.datasets import DATASETS, find_dataset
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
    "change",
    [
        {"slice": 4},
        {"slice": "3"},
        {"labelled": False},
        {"image": "missing.png"},
        {"more": torch.ones(2)},
        {"polygons": ["x" * 5000]},
        {"polygons": {"x": 5000}},
    ],
)
def test_data_of_other_values_is_other_data(change, tmp_path):
    data = write_data(tmp_path / "one")
    assert data_digest([{**data[0], **change}]) != data_digest(data)


def test_data_of_other_content_order_or_length_is_other_data(tmp_path):
    data = [*write_data(tmp_path / "one"), {"image": torch.zeros(2)}]
    digests = {data_digest(entries) for entries in (data, data[::-1], data * 2, data[:1])}
    (tmp_path / "one/a.png").write_text("another image")
    assert len(digests | {data_digest(data)}) == 5


class TestNested:
    """Whatever is in lists, tuples, mappings and arrays counts, and paths in them count by content."""

    @staticmethod
    def write(folder: Path, label: str = "label") -> list[dict[str, Any]]:
        folder.mkdir()
        for name, content in {"a.png": "image", "cortex.png": label, "capsule.png": "capsule"}.items():
            (folder / name).write_text(content)
        files = {"regions": str(folder / "cortex.png"), "capsule": folder / "capsule.png"}
        return [{"image": str(folder / "a.png"), "label": [files, (str(folder / "a.png"), 2)]}]

    def test_a_moved_file_is_the_same_and_a_changed_one_another(self, tmp_path):
        before = data_digest(self.write(tmp_path / "one"))
        assert data_digest(self.write(tmp_path / "moved")) == before
        assert data_digest(self.write(tmp_path / "changed", label="corrected")) != before

    def test_a_folder_counts_by_its_files_and_their_places(self, tmp_path):
        def digest(files: dict[str, str], name: str) -> str:
            for place, content in files.items():
                path = tmp_path / name / "Ground" / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            return data_digest([{"label": str(tmp_path / name / "Ground")}])

        before = digest({"1.png": "a", "more/2.png": "b"}, "one")
        assert digest({"1.png": "a", "more/2.png": "b"}, "moved") == before
        assert digest({"1.png": "b", "more/2.png": "a"}, "swapped") != before
        assert digest({"1.png": "a", "more/2.png": "b", "3.png": ""}, "longer") != before

    def test_where_things_are_nested_matters(self):
        found = {
            data_digest([{"a": value}]) for value in ([1, 2], [[1], 2], [1, [2]], [[1, 2]], {"1": 2}, [2, 1], "1, 2")
        }
        assert len(found) == 7
        assert data_digest([{"a": {"x": 1, "y": 2}}]) == data_digest([{"a": {"y": 2, "x": 1}}])

    def test_every_value_of_a_long_array_counts(self):
        value = np.zeros(5000)
        before = data_digest([{"a": value}])
        value[2500] = 1  # which repr leaves out
        assert data_digest([{"a": value}]) != before

    def test_a_patient_is_not_taken_for_a_folder_of_that_number(self, tmp_path, monkeypatch):
        before = data_digest([{"patient": "12"}])
        (tmp_path / "12").mkdir()
        monkeypatch.chdir(tmp_path)
        assert data_digest([{"patient": "12"}]) == before


OWN_KEYS = {"chaos": {"modality": "t2"}, **OWN_SOURCES}


def entries_of(name: str, root: Path, **keys: Any) -> list[dict[str, Any]]:
    return find_dataset(name)(root=root, num_validation=1, **OWN_KEYS.get(name, {}), **keys).entries("training")


def files_of(value: Any) -> list[Path]:
    """Return the files that a label names, however deep they lie in it."""
    if isinstance(value, dict):
        return [file for item in value.values() for file in files_of(item)]
    if isinstance(value, (list, tuple)):
        return [file for item in value for file in files_of(item)]
    return [Path(value)]


class TestDatasets:
    @pytest.mark.parametrize("name", DATASETS)
    def test_a_moved_dataset_is_the_same_and_one_with_a_changed_label_another(self, name, tiny_phantoms, tmp_path):
        before = data_digest(entries_of(name, tiny_phantoms(name)))
        moved = shutil.copytree(tiny_phantoms(name), tmp_path / "moved" / name)
        entries = entries_of(name, moved)
        assert data_digest(entries) == before
        (label, *_) = [file for file in files_of(entries[0]["label"]) if file != Path(entries[0]["image"])]
        if label.suffix == ".csv":
            label.write_text(label.read_text().replace('all_points_x"":[', 'all_points_x"":[1,', 1))
        elif label.suffix == ".gz":
            volume = nibabel.load(label)
            nibabel.save(nibabel.Nifti1Image(np.asanyarray(volume.dataobj)[::-1], volume.affine), label)
        else:
            Image.fromarray(np.asarray(Image.open(label))[::-1].copy()).save(label)
        assert data_digest(entries) != before

    def test_whole_volumes_of_chaos_count_by_the_files_in_their_folders(self, tiny_phantoms, tmp_path):
        moved = shutil.copytree(tiny_phantoms("chaos"), tmp_path / "chaos")
        dataset = find_dataset("chaos")
        before = data_digest(dataset(root=tiny_phantoms("chaos"), num_validation=1, modality="t2").volumes("training"))
        volumes = dataset(root=moved, num_validation=1, modality="t2").volumes("training")
        assert data_digest(volumes) == before
        ground = next(Path(volumes[0]["label"]).iterdir())
        Image.fromarray(255 - np.asarray(Image.open(ground))).save(ground)
        assert data_digest(volumes) != before
