"""Where SAM's weights come from: the hub, folders and original checkpoints, and what is refused with a name."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import SamModel

from common.teachers.base_names import STAND_IN_FOLDER
from common.teachers.sam import SamTeacher
from common.teachers.sam_weights import load_sam

refused = partial(refusal, load_sam)


def test_folder_written_by_save_pretrained_loads(tiny_sam_folder, sam):
    loaded = load_sam(str(tiny_sam_folder))
    for name, value in sam.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_half_precision_weights_are_loaded_as_floats(tmp_path, make_sam):
    make_sam().half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load_sam(tmp_path / "half").parameters()} == {torch.float32}


def test_stand_in_teacher_is_small_and_safe_and_loads():
    files = [path for path in STAND_IN_FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md", ".py"}
    logits = SamTeacher("embedded", num_classes=3).eval()(torch.rand(1, 3, 64, 96))
    assert logits.shape == (1, 3, 64, 96)
    assert logits.isfinite().all()


def test_hub_id_that_cannot_be_found_is_named(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(SamModel, "from_pretrained", unreachable)
    assert "facebook/sam-vit-base" in refused("nobody/no-such-sam")


def test_name_that_is_neither_folder_nor_hub_id_is_named():
    refused("../no/such/folder")


def test_folder_without_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copy(tiny_sam_folder / "config.json", tmp_path)
    assert "model.safetensors" in refused(tmp_path)


def test_empty_folder_is_named(tmp_path):
    refused(tmp_path)


def test_folder_with_truncated_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    weights = tmp_path / "sam" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(tmp_path / "sam")


def test_folder_that_lacks_some_weights_is_named(tmp_path, tiny_sam_folder):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    state = load_file(tmp_path / "sam" / "model.safetensors")
    del state["vision_encoder.pos_embed"]
    save_file(state, tmp_path / "sam" / "model.safetensors", metadata={"format": "pt"})
    assert "vision_encoder.pos_embed" in refused(tmp_path / "sam")


def test_folder_whose_config_does_not_fit_its_weights_is_named(tmp_path, tiny_sam_folder, make_sam_config):
    shutil.copytree(tiny_sam_folder, tmp_path / "sam")
    make_sam_config(hidden_size=48).save_pretrained(tmp_path / "sam")
    refused(tmp_path / "sam")


def test_pickled_weights_in_a_folder_are_not_opened(tmp_path, tiny_sam_folder, trap):
    path, sprung = trap
    folder = tmp_path / "sam"
    folder.mkdir()
    shutil.copy(tiny_sam_folder / "config.json", folder)
    shutil.copy(path, folder / "pytorch_model.bin")
    refused(folder)
    assert not sprung.exists()


@pytest.mark.parametrize("wrap", ["under model", "after module."])
def test_checkpoint_of_a_training_loads_as_the_weights_in_it(original, tmp_path, wrap):
    state = original.state_dict()
    torch.save(state, tmp_path / "plain.pth")
    wrapped = {"model": state, "epoch": 3} if wrap == "under model" else {f"module.{k}": v for k, v in state.items()}
    torch.save(wrapped, tmp_path / "training.pth")
    expected, loaded = (load_sam(tmp_path / name).state_dict() for name in ("plain.pth", "training.pth"))
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_missing_checkpoint_is_named(tmp_path):
    assert "does not exist" in refused(tmp_path / "sam_vit_b.pth")


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_truncated_checkpoint_is_named(original_checkpoint, share):
    content = original_checkpoint.read_bytes()
    original_checkpoint.write_bytes(content[: int(share * len(content))])
    refused(original_checkpoint)


def test_checkpoint_of_another_model_is_named(tmp_path):
    torch.save(nn.Conv2d(3, 8, 3).state_dict(), tmp_path / "other.pth")
    assert "not a checkpoint of segment-anything" in refused(tmp_path / "other.pth")


def test_checkpoint_that_lacks_parts_is_named(original, tmp_path):
    encoder = {name: value for name, value in original.state_dict().items() if name.startswith("image_encoder.")}
    torch.save(encoder, tmp_path / "encoder.pth")
    refused(tmp_path / "encoder.pth")


def test_checkpoint_with_parts_of_its_own_is_named(original, tmp_path):
    torch.save({**original.state_dict(), "image_encoder.adapter.weight": torch.zeros(2)}, tmp_path / "adapted.pth")
    assert "image_encoder.adapter.weight" in refused(tmp_path / "adapted.pth").replace(
        "vision_encoder", "image_encoder"
    )


def test_checkpoint_that_would_run_code_is_refused_and_runs_none(trap):
    path, sprung = trap
    message = refused(path)
    assert "could run code" in message
    assert "weights_only" not in message, "PyTorch's advice to load it unprotected"
    assert not sprung.exists()
