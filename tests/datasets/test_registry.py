"""Datasets by name and by config, and what it takes to add one: a file and a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, ImageDraw

from common import datasets
from common.datasets import DATASETS, build_dataset, dataset_class, dataset_keys, find_dataset
from common.datasets.base import Entry, SegmentationDataset
from common.datasets.check_report import check_dataset
from common.datasets.issues import DatasetIssues
from common.datasets.phantoms.folder import phantom_folder
from common.datasets.roots import list_images
from common.errors import InputError
from common.files.phantom_mark import are_phantoms

# What follows, up to the next comment, is a whole dataset.


class SpotsDataset(SegmentationDataset):
    """Bright spots on a dark ground, in images/<name>.png and masks/<name>.png."""

    name = "spots"
    title = "Spots"
    in_channels = 3
    class_names = ("background", "spot")
    landmarks = ("images",)
    layout = "Spots, with images/000.png and masks/000.png"

    def find_files(self, issues: DatasetIssues) -> dict[str, Entry]:
        found = {}
        for image in list_images(self.folder / "images", (".png",)):
            found[image.stem] = {"image": image}
            label = self.folder / "masks" / image.name
            if label.is_file():
                found[image.stem]["label"] = label
            else:
                issues.add(f"images/{image.name}: no label, expected masks/{image.name}")
        return found

    @classmethod
    def write_phantoms(cls, folder: str | Path, num_images: int = 16, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        with phantom_folder(folder) as partial:
            for kind in ("images", "masks"):
                (partial / kind).mkdir()
            for number in range(num_images):
                left, top = rng.integers(10, 60, 2).tolist()
                image, label = Image.new("RGB", (128, 96), (60, 40, 30)), Image.new("L", (128, 96))
                ImageDraw.Draw(image).ellipse((left, top, left + 40, top + 30), fill=(200, 180, 90))
                ImageDraw.Draw(label).ellipse((left, top, left + 40, top + 30), fill=255)
                image.save(partial / "images" / f"{number:03d}.png")
                label.save(partial / "masks" / f"{number:03d}.png")
        return Path(folder)


# Its file and its line.


@pytest.fixture
def spots(monkeypatch) -> type[SegmentationDataset]:
    module = ModuleType("common.datasets.spots")
    module.SpotsDataset = SpotsDataset
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(DATASETS, "spots", "common.datasets.spots:SpotsDataset")
    return SpotsDataset


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that has imported nothing yet."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


CONFIG = {
    "dataset_dir": "/data",
    "output_dir": "/runs",
    "num_validation": "$1 + @more",
    "more": 2,
    "num_labels": None,
    "split_seed": 4,
    "data": {
        "_target_": "common.datasets.spots.SpotsDataset",
        "root": "@dataset_dir",
        "num_validation": "@num_validation",
        "num_labels": "@num_labels",
        "seed": "$@split_seed + 1",
        "manifest": "$@output_dir + '/dataset_manifest.json'",
    },
}


class TestSixthDataset:
    def test_is_found_by_its_name(self, spots):
        assert find_dataset("spots") is spots

    def test_is_found_by_the_class_that_a_config_names(self, spots):
        assert dataset_class(CONFIG) is spots

    def test_writes_phantoms_that_pass_its_check(self, spots, tmp_path):
        folder = find_dataset("spots").write_phantoms(tmp_path / "phantoms")
        assert are_phantoms(folder)
        assert spots(root=folder).check() == {"training": 10, "validation": 2, "test": 4}

    def test_is_reported_on(self, spots, tmp_path):
        folder = find_dataset("spots").write_phantoms(tmp_path / "phantoms")
        summary = check_dataset(build_dataset(CONFIG, folder), tmp_path / "out")
        assert summary["splits"]["validation"]["images"] == 3
        assert summary["classes"][1]["name"] == "spot"
        assert summary["classes"][1]["training_images"] == 9
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check.json", "check.png"]

    def test_raises_all_its_issues_at_once(self, spots, tmp_path):
        folder = find_dataset("spots").write_phantoms(tmp_path / "phantoms")
        (folder / "masks" / "000.png").unlink()
        (folder / "images" / "001.png").write_bytes(b"")
        Image.new("L", (128, 96)).save(folder / "masks" / "002.png")
        with pytest.raises(InputError) as caught:
            spots(root=folder, num_labels=99).check()
        message = str(caught.value)
        assert message.startswith(f"Spots in {folder}: 4 issues\n")
        for part in ("000.png: no label", "001.png: the file is empty", "002.png: expected background 0", "num_labels"):
            assert part in message


class TestNames:
    @pytest.mark.parametrize("name", DATASETS)
    def test_are_those_of_the_classes(self, name):
        assert find_dataset(name).name == name

    def test_unknown_ones_are_refused_with_the_known_ones(self):
        with pytest.raises(InputError, match="there is no dataset 'drive_segmentation'; the datasets are drive, kid"):
            find_dataset("drive_segmentation")

    def test_a_class_that_is_not_there_is_named(self, monkeypatch):
        monkeypatch.setitem(datasets.DATASETS, "lung", "common.datasets.lung:LungDataset")
        with pytest.raises(InputError, match=r"the dataset common\.datasets\.lung\.LungDataset cannot be imported"):
            find_dataset("lung")

    def test_the_package_imports_no_dataset(self):
        code = (
            "import sys, common.datasets; "
            "print(sorted(name for name in sys.modules if name.startswith(('common.datasets.', 'monai', 'torch'))))"
        )
        assert run_code(code).stdout.strip() == "['common.datasets.registry']"

    def test_no_dataset_needs_more_than_a_released_student_has(self):
        missing = ["openpyxl", "transformers", "diffusers", "peft", "pandas", "common.datasets.phantoms"]
        some_need = {"scipy": ("busi", "folder", "folder_volumes"), "pydicom": ("chaos", "folder_volumes")}
        done = run_code(
            f"import sys; sys.modules.update(dict.fromkeys({[*missing, *some_need]})); "
            "from common.datasets import DATASETS, find_dataset; "
            f"others = {sorted({name for names in some_need.values() for name in names})}; "
            "found = [find_dataset(name) for name in DATASETS if name not in others]; "
            f"[sys.modules.pop(name) for name in {[*some_need]}]; "
            "print(len([*found, *map(find_dataset, others)]))"
        )
        assert done.stdout.strip() == str(len(DATASETS)), done.stderr


class Elsewhere(SpotsDataset):
    """A third party's dataset."""

    own_settings: ClassVar = ("scanner",)

    def __init__(self, *, scanner: str = "old", **common) -> None:
        super().__init__(**common)
        self.scanner = scanner


class TestConfigs:
    def test_may_name_a_class_of_a_third_party(self):
        assert dataset_class({"data": {"_target_": f"{__name__}.Elsewhere"}}) is Elsewhere

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (None, "data: expected the dataset of the config, .* got None"),
            ({}, "data::_target_ must be the class of a dataset, .* got None"),
            ({"_target_": "Spots"}, "data::_target_ must be the class of a dataset, .* got 'Spots'"),
            ({"_target_": "no.such.Thing"}, r"the dataset no\.such\.Thing cannot be imported"),
            ({"_target_": "pathlib.Path"}, r"data::_target_: pathlib\.Path is not a SegmentationDataset"),
        ],
    )
    def test_that_name_none_are_refused(self, data, message):
        with pytest.raises(InputError, match=message):
            dataset_class({"data": data})

    def test_have_keys_that_the_split_depends_on(self):
        assert dataset_keys(CONFIG) == ("num_validation", "num_labels", "split_seed")

    def test_build_the_dataset_with_their_values(self, spots, tmp_path):
        dataset = build_dataset(CONFIG, tmp_path, tmp_path / "manifest.json")
        assert dataset.settings == {"num_validation": 3, "num_labels": None, "seed": 5}
        assert (dataset.root, dataset.manifest) == (tmp_path, tmp_path / "manifest.json")

    def test_keys_that_are_given_count_more(self, spots, tmp_path):
        dataset = build_dataset(CONFIG, tmp_path, num_validation=7, num_labels=5, split_seed=0)
        assert dataset.settings == {"num_validation": 7, "num_labels": 5, "seed": 1}

    @pytest.mark.parametrize("key", ["num_label", "seed", "more", "dataset_dir", "output_dir"])
    def test_other_keys_are_refused(self, spots, tmp_path, key):
        with pytest.raises(InputError, match=f"--{key}: there is no such key; .* num_validation, num_labels, split_se"):
            build_dataset(CONFIG, tmp_path, **{key: 1})

    def test_all_unknown_keys_are_named_at_once(self, spots, tmp_path):
        with pytest.raises(InputError, match="--a: there is no such key; --b: there is no such key"):
            build_dataset(CONFIG, tmp_path, a=1, b=2)

    def test_values_of_the_wrong_type_are_refused(self, spots, tmp_path):
        with pytest.raises(InputError, match="num_labels must be a whole number, got 'all'"):
            build_dataset(CONFIG, tmp_path, num_labels="all")
