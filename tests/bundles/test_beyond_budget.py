"""Images beyond the label budget, without their labels, in each kind of bundle: crops, whole images and slices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from integration import BUNDLE, BUNDLES, load_stage, refused, with_method
from PIL import Image

from common.configs.checks import check
from common.datasets import build_dataset
from common.errors import InputError
from common.pipeline.configs import stage_config

KINDS = [BUNDLES / f"{name}_segmentation" for name in ("drive", "ph2", "chaos")]
each_kind = pytest.mark.parametrize("bundle", KINDS, ids=lambda path: path.name)
BUDGET = {"num_labels": 1, "num_validation": 1, "input_scale": 1}


@pytest.fixture
def dataset_dir(bundle, tiny_phantoms, tmp_path) -> Path:
    """Phantoms that a test may change."""
    return Path(shutil.copytree(tiny_phantoms(bundle.name.removesuffix("_segmentation")), tmp_path / "data"))


def inputs_of(bundle: Path, dataset_dir: Path, output_dir: Path, **changes: Any) -> list[dict[str, Any]]:
    """Return all that student and teacher are shown."""
    values = {"bundle": bundle, "dataset_dir": dataset_dir, "output_dir": output_dir, **BUDGET, **changes}
    values |= {"crops_per_image": 2} if bundle == BUNDLE else {}
    parser = load_stage("distill", with_method("real_images"), **values).parser
    return parser.get_parsed_content("train::inputs")


def training_of(bundle: Path, dataset_dir: Path) -> list[dict[str, Any]]:
    config = stage_config(bundle, "distill", "demo")
    return build_dataset(config, dataset_dir, num_validation=1, num_labels=None).entries("training")


@each_kind
class TestEachKind:
    def test_the_labels_of_the_images_beyond_the_budget_change_nothing(self, bundle, dataset_dir, tmp_path):
        before = inputs_of(bundle, dataset_dir, tmp_path)
        labelled, *beyond = training_of(bundle, dataset_dir)
        for entry in beyond:
            turn(entry["label"])
        after = inputs_of(bundle, dataset_dir, tmp_path)
        assert len(before) == len(after) > 2
        for first, second in zip(before, after, strict=True):
            assert first["labelled"] == second["labelled"]
            assert torch.equal(first["image"], second["image"])
            assert torch.equal(first["label"], second["label"])
        turn(labelled["label"])
        assert not all(
            torch.equal(first["label"], second["label"])
            for first, second in zip(before, inputs_of(bundle, dataset_dir, tmp_path), strict=True)
        ), "the turned labels of labelled images are seen"

    def test_they_take_the_place_of_the_transfer_set(self, bundle, dataset_dir, tmp_path):
        inputs = inputs_of(bundle, dataset_dir, tmp_path)
        unlabelled = [each for each in inputs if not each["labelled"]]
        crops = 2 if bundle == BUNDLE else 1
        assert len(unlabelled) == crops * (len(training_of(bundle, dataset_dir)) - 1)
        assert len(inputs) == 2 * len(unlabelled), "as many with a label"
        assert not any(each["label"].any() for each in unlabelled)
        assert not (tmp_path / "transfer").exists()

    @pytest.mark.parametrize("length", [1, 5])
    def test_an_epoch_takes_as_many_as_it_is_told(self, length, bundle, dataset_dir, tmp_path):
        inputs = inputs_of(bundle, dataset_dir, tmp_path, unlabelled_length=length)
        assert sum(not each["labelled"] for each in inputs) == length

    def test_a_budget_that_leaves_none_is_refused(self, bundle, dataset_dir, tmp_path):
        count = len(training_of(bundle, dataset_dir))
        for num_labels in (None, count):
            said = (
                f"^num_labels: {'null' if num_labels is None else count} takes all {count} training (images|slices), "
            )
            with refused(f"{said}which leaves none for beyond_budget; give fewer than {count}$"):
                inputs_of(bundle, dataset_dir, tmp_path, num_labels=num_labels)


def turn(label: str) -> None:
    """Turn a label by 180 degrees."""
    with Image.open(label) as picture:
        turned = picture.transpose(Image.Transpose.ROTATE_180)
    turned.save(label)


def test_they_can_be_added_to_the_transfer_set(tiny_phantoms, tmp_path):
    values = {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path, **BUDGET, "crops_per_image": 2}
    parser = load_stage("distill", beyond_budget=True, **values).parser
    found = parser.get_parsed_content("train::unlabelled")
    assert len(found) == 2 * (len(training_of(BUNDLE, values["dataset_dir"])) - 1)
    assert {frozenset(each) for each in found} == {frozenset({"image", "fov"})}, "crops lie within the field of view"
    assert load_stage("distill", **values).parser.get_parsed_content("train::unlabelled") == []


def test_a_length_of_nothing_is_refused(tiny_phantoms, tmp_path):
    with refused("unlabelled_length 4: there are no images without labels; give unlabelled_dir or beyond_budget"):
        values = {"dataset_dir": tiny_phantoms("drive"), "output_dir": tmp_path, **BUDGET}
        load_stage("distill", unlabelled_length=4, **values).parser.get_parsed_content("train::unlabelled")


@pytest.mark.parametrize("wrong", [{"beyond_budget": "yes"}, {"unlabelled_length": 0}])
def test_values_are_checked(wrong):
    [key] = wrong
    with pytest.raises(InputError, match=f"^{key}: expected"):
        check(**wrong)
