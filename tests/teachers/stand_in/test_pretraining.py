"""Pre-training the stand-in teacher: weights that load, and how they were made."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import SamModel

from common.errors import InputError
from common.teachers.base_names import STAND_IN_FOLDER
from common.teachers.sam import SamTeacher
from common.teachers.stand_in.initialisation import stand_in_config
from common.teachers.stand_in.pretraining import pretrain_teacher


def test_stand_in_teacher_is_a_sam_of_3_to_4_million_parameters():
    with torch.device("meta"):
        model = SamModel(stand_in_config())
    assert 3e6 < sum(p.numel() for p in model.parameters()) < 4e6


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_in")
    pretrain_teacher(
        str(folder), steps=2, scenes=6, image_size=64, batch_size=3, prompts=4, learning_rate=1e-3, num_workers=0
    )
    return folder


def test_run_writes_a_folder_that_sam_loads(pretrained):
    model, report = SamModel.from_pretrained(pretrained, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    stored = load_file(pretrained / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    images = torch.rand(1, 3, 64, 96)
    assert SamTeacher(pretrained, num_classes=3).eval()(images).shape == (1, 3, 64, 96)


def test_run_keeps_its_settings_and_figures(pretrained):
    training = json.loads((pretrained / "training.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (training["steps"], training["scenes"], training["image_size"], training["seed"]) == (2, 6, 64, 0)
    (last,) = training["history"]
    assert last["step"] == 2
    assert 0 <= last["pixel_accuracy"] <= 1
    assert last["semantic_loss"] > 0


def test_a_second_run_goes_on_from_the_first_and_keeps_its_figures(pretrained, tmp_path):
    first = load_file(pretrained / "model.safetensors")
    patches = "vision_encoder.patch_embed.projection.weight"
    pretrain_teacher(
        str(tmp_path), str(pretrained), steps=1, scenes=6, image_size=64, batch_size=2, learning_rate=1e-9, seed=1,
        num_workers=0,
    )  # fmt: skip
    second = load_file(tmp_path / "model.safetensors")
    assert torch.equal(first[patches], second[patches])
    for name, value in first.items():
        assert_close(second[name], value, rtol=0, atol=1e-4)
    training = json.loads((tmp_path / "training.json").read_text())
    assert training["earlier"] == json.loads((pretrained / "training.json").read_text())
    assert (training["steps"], training["seed"]) == (1, 1)


def test_no_steps_write_the_weights_that_training_would_start_from(tmp_path):
    pretrain_teacher(str(tmp_path), steps=0, scenes=6, image_size=64, num_workers=0)
    stored = load_file(tmp_path / "model.safetensors")
    assert not stored["vision_encoder.layers.0.attn.rel_pos_h"].any()  # zero until trained
    assert stored["vision_encoder.patch_embed.projection.weight"].float().std() > 0.01
    assert json.loads((tmp_path / "training.json").read_text())["history"] == []


def test_going_on_from_a_folder_that_holds_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"initial_dir: there is no training\.json in .*empty"):
        pretrain_teacher(str(tmp_path / "out"), str(tmp_path / "empty"), steps=1)
    assert not (tmp_path / "out").exists()


def test_shipped_weights_are_those_that_the_readme_tells_of():
    digest = hashlib.sha256((STAND_IN_FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (STAND_IN_FOLDER / "README.md").read_text(encoding="utf-8")
    training = json.loads((STAND_IN_FOLDER / "training.json").read_text(encoding="utf-8"))
    assert (training["steps"], training["earlier"]["steps"]) == (2400, 1400)
