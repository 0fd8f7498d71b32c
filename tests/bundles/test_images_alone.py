"""Distillation on labelled images alone and on synthetic ones alone, in each kind of bundle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from integration import (
    BUNDLE,
    BUNDLES,
    load_stage,
    read_state,
    refused,
    run_stage,
    with_method,
    write_teacher,
    write_transfer,
)

from common.configs.checks import check
from common.datasets import find_dataset
from common.errors import InputError
from common.files.provenance import read_provenance

KINDS = [BUNDLES / f"{name}_segmentation" for name in ("drive", "ph2", "chaos")]
each_kind = pytest.mark.parametrize("bundle", KINDS, ids=lambda path: path.name)


@pytest.fixture
def keys(bundle, tiny_phantoms, tmp_path) -> dict[str, Any]:
    name = bundle.name.removesuffix("_segmentation")
    return {
        "bundle": bundle, "dataset_dir": tiny_phantoms(name), "output_dir": tmp_path, "num_labels": 1,
        "num_validation": 1, "input_scale": 1,
    }  # fmt: skip


def content(part: str, method: str, **values: Any) -> Any:
    return load_stage("distill", with_method(method), **values).parser.get_parsed_content(part)


@each_kind
class TestEachKind:
    def test_labelled_images_are_repeated_and_nothing_else_is_read(self, keys):
        inputs = content("train::inputs", "labelled_images", **keys, labelled_length=3)
        assert [each["labelled"] for each in inputs] == [True] * 3
        assert all(each["label"].any() for each in inputs)
        assert content("loss::terms::supervised::weight", "labelled_images", **keys) == 1, "all have a label"
        assert not (keys["output_dir"] / "transfer").exists()

    def test_synthetic_images_are_repeated_and_no_label_is_read(self, keys, bundle):
        channels = find_dataset(bundle.name.removesuffix("_segmentation")).in_channels
        write_transfer(keys["output_dir"], count=2, channels=channels)
        inputs = content("train::inputs", "synthetic_images", **keys, transfer_length=5)
        assert [each["labelled"] for each in inputs] == [False] * 5
        assert not any(each["label"].any() for each in inputs)


@pytest.mark.parametrize("bundle", [BUNDLE], ids=["drive"])
class TestTraining:
    @pytest.mark.parametrize("method", ["labelled_images", "synthetic_images"])
    def test_the_student_learns_and_says_by_which_method(self, method, keys):
        write_teacher(keys["output_dir"])
        if method == "synthetic_images":
            write_transfer(keys["output_dir"], count=2)
        values = {"labelled_length": 4} if method == "labelled_images" else {"transfer_length": 4}
        start = load_stage("distill", with_method(method), **keys, **values).parser.get_parsed_content("student_def")
        run_stage("distill", with_method(method), **keys, **values, learning_rate=0.01)
        end = read_state(keys["output_dir"] / "distilled.pt")
        assert any(not torch.equal(value, end[name]) for name, value in start.state_dict().items())
        assert read_provenance(keys["output_dir"] / "distilled.pt")["method"] == method

    def test_synthetic_images_alone_miss_a_transfer_set(self, keys):
        write_teacher(keys["output_dir"])
        with refused("there is no transfer set in .*: run synthesize first"):
            run_stage("distill", with_method("synthetic_images"), **keys)


@pytest.mark.parametrize("wrong", [0, -3, 1.5, None, "all"])
def test_the_number_of_labelled_images_is_checked(wrong):
    with pytest.raises(InputError, match=r"^labelled_length: expected"):
        check(labelled_length=wrong)
